"""Who may come in, and how often."""

import asyncio
import re
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from starlette.routing import Match
from starlette.types import ASGIApp, Message
from starlette.types import Scope as RequestScope

from durable_orders.api import auth
from durable_orders.api.app import PROTECTED_ROUTERS, PUBLIC_ROUTERS, create_app
from durable_orders.api.auth import ApiKeyCache
from durable_orders.api.dependencies import ApiLimits, Dependencies
from durable_orders.api.rate_limits import RateLimiter, client_address
from durable_orders.domain.operators.api_keys import ApiKey, NoSuchKeyError, Scope, Token
from durable_orders.domain.ports import NoAnswerError
from durable_orders.store.api_keys import PostgresApiKeyRepository
from durable_orders.store.database import Database
from tests.api.api_clients import OPERATOR, a_key, asking_edge, edge_of, is_problem
from tests.fakes.keys import InMemoryKeys
from tests.support.eventually import eventually
from tests.support.shop import Shop

TOKENS = {
    scope: Token.of(f"{scope:_<6.6}".encode(), bytes([n] * 32)) for n, scope in enumerate(Scope)
}
UNKNOWN = Token.of(b"nobody", bytes(32))


@pytest.fixture
async def keys(database: Database) -> PostgresApiKeyRepository:
    """A key of every scope, called like it."""
    kept = PostgresApiKeyRepository(database)
    for scope, token in TOKENS.items():
        if await kept.find(token.key_id) is None:
            await kept.add(a_key(token, scope, scope))
    return kept


@pytest.fixture
def edge(closed_shop: Shop, keys: PostgresApiKeyRepository) -> Dependencies:
    return replace(edge_of(closed_shop), keys=keys)


async def test_every_route_but_the_open_ones_needs_a_key(edge: Dependencies) -> None:
    async with asking_edge(edge, token=None) as http:
        guarded = [route for router, _ in PROTECTED_ROUTERS for route in router.routes]
        for route in guarded:
            path = re.sub(r"\{\w+\}", "1001", getattr(route, "path", ""))
            for method in getattr(route, "methods", ()):
                # Not even what is wrong with a body is told to somebody without a key.
                answer = await http.request(method, path, content=b"{")
                is_problem(answer, 401, "Authorization: Bearer do_")
                assert answer.headers["www-authenticate"] == 'Bearer realm="durable-orders"'
        is_problem(await http.get("/nowhere"), 401, "send a key")
    assert len(guarded) >= 4


async def test_the_open_routes_are_these(edge: Dependencies) -> None:
    """A route that is opened by mistake should be seen here."""
    paths = {getattr(route, "path", "") for router in PUBLIC_ROUTERS for route in router.routes}
    assert paths == {
        "/healthz",
        "/readyz",
        "/problems/{name}",
        "/openapi.json",
        "/docs",
        "/docs/{name}",
        # They look at signatures instead.
        "/webhooks/stripe",
        "/webhooks/warehouse",
        "/webhooks/resend",
    }
    async with asking_edge(edge, token=None) as http:
        for path in ("/healthz", "/readyz", "/problems/no-key", "/openapi.json", "/docs"):
            assert (await http.get(path)).status_code == 200


@pytest.mark.parametrize(
    "path",
    [
        *("/healthz", "/problems/no-key", "/docs/x.css", "/webhooks/stripe"),
        *("/healthz/", "//healthz", "/HEALTHZ", "/healthz/orders", "/orders/healthz", "/healthzz"),
        *("/problems/", "/problems/a/b", "/docs/a/../../orders", "/webhooks/", "", "/"),
        *("/healthz\n", "/healthz\n/orders", "/orders\n/healthz", "/orders|/healthz", "/docs/\n"),
        *("/openapi.json", "/openapixjson", "/problems/(?P<name>", "/orders/1001?x=/healthz"),
    ],
)
@pytest.mark.parametrize("method", ["GET", "POST", "HEAD", "odd"])
async def test_a_path_is_open_if_an_open_route_has_it(
    edge: Dependencies, path: str, method: str
) -> None:
    """By whichever method: a wrong one is told so."""
    scope: RequestScope = {
        "type": "http",
        "method": method,
        "path": path,
        "scheme": "http",
        "headers": [],
        "query_string": b"",
        "client": ("192.0.2.1", 1),
    }
    routes = [route for router in PUBLIC_ROUTERS for route in router.routes]
    is_open = any(route.matches(scope)[0] is not Match.NONE for route in routes)
    assert (await _status_of(create_app(edge), scope) != 401) is is_open


async def _status_of(app: ASGIApp, scope: RequestScope) -> int:
    statuses: list[int] = []

    async def receive() -> Message:
        return {"type": "http.request", "body": b"", "more_body": False}

    async def send(message: Message) -> None:
        if message["type"] == "http.response.start":
            statuses.append(message["status"])

    await app(scope, receive, send)
    return statuses[0]


@pytest.mark.parametrize(
    "presented",
    [
        f"Bearer {UNKNOWN}",
        f"Bearer {replace(TOKENS[Scope.SHOP], secret='0' * 64)}",
        f"Bearer {TOKENS[Scope.SHOP]}0",
        f"Basic {TOKENS[Scope.SHOP]}",
        "Bearer",
        "Bearer do__",
        "Bearer \xe9",
        f"{TOKENS[Scope.SHOP]}",
    ],
)
async def test_what_is_not_a_key_of_ours_is_told_so(edge: Dependencies, presented: str) -> None:
    async with asking_edge(edge, token=None) as http:
        headers = [(b"Authorization", presented.encode("latin-1"))]
        answer = await http.get("/orders/1001", headers=headers)
    is_problem(answer, 401, "not one of ours, or was revoked or has expired")
    assert 'error="invalid_token"' in answer.headers["www-authenticate"]


@pytest.mark.parametrize(
    ("method", "path", "needed"),
    [
        ("GET", "/orders/nobody", Scope.READ),
        ("GET", "/metrics", Scope.READ),
        ("POST", "/checkout", Scope.SHOP),
        ("POST", "/orders/nobody/cancel", Scope.SHOP),
    ],
)
async def test_a_scope_may_do_what_those_before_it_may(
    edge: Dependencies, method: str, path: str, needed: Scope
) -> None:
    body = {"order_id": "nobody"} if path == "/checkout" else None
    async with asking_edge(edge, token=None) as http:
        for scope in Scope:
            key = {"Authorization": f"Bearer {TOKENS[scope]}"}
            answer = await http.request(method, path, json=body, headers=key)
            if scope.includes(needed):
                assert answer.status_code in {200, 404}
            else:
                is_problem(answer, 403, f"needs a key of scope {needed}, and {scope} is of scope")
                assert f'scope="{needed}"' in answer.headers["www-authenticate"]


def test_operator_includes_shop_includes_read() -> None:
    includes = [[one.includes(other) for other in Scope] for one in Scope]
    assert list(Scope) == [Scope.READ, Scope.SHOP, Scope.OPERATOR]
    assert includes == [[True, False, False], [True, True, False], [True, True, True]]


async def test_a_key_works_at_once_and_soon_after_its_end_no_more(
    edge: Dependencies, keys: PostgresApiKeyRepository, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert timedelta(seconds=3) == auth.CACHE_TTL
    remembered = timedelta(seconds=0.5)
    monkeypatch.setattr(auth, "CACHE_TTL", remembered)
    token = Token.of(b"brief!", bytes(32))
    async with asking_edge(edge, token) as http:
        is_problem(await http.get("/orders/nobody"), 401, "not one of ours")
        await keys.add(a_key(token, "brief", Scope.READ))
        assert (await http.get("/orders/nobody")).status_code == 404

        await keys.revoke("brief", datetime.now(UTC))
        began = asyncio.get_running_loop().time()

        async def refused() -> bool:
            return (await http.get("/orders/nobody")).status_code == 401

        await eventually(refused)
    assert asyncio.get_running_loop().time() - began < remembered.total_seconds() + 1
    with pytest.raises(NoSuchKeyError):
        await keys.revoke("brief", datetime.now(UTC))


async def test_a_key_works_until_it_expires_and_no_longer(
    edge: Dependencies, keys: PostgresApiKeyRepository
) -> None:
    token = Token.of(b"short!", bytes(32))
    end = datetime.now(UTC) + timedelta(seconds=1)
    await keys.add(replace(a_key(token, "short", Scope.READ), expires_at=end))
    async with asking_edge(edge, token) as http:
        assert (await http.get("/orders/nobody")).status_code == 404

        # Though the look-up is remembered for longer.
        async def refused() -> bool:
            return (await http.get("/orders/nobody")).status_code == 401

        await eventually(refused)
    assert datetime.now(UTC) >= end
    cache = ApiKeyCache(keys)
    found = await keys.find(token.key_id)
    assert found
    assert not await cache.is_valid(found)
    assert await cache.find(token) is None


async def test_when_a_key_was_used_is_noted(
    edge: Dependencies, keys: PostgresApiKeyRepository
) -> None:
    async with asking_edge(edge, TOKENS[Scope.READ]) as http:
        await http.get("/orders/nobody")
    [key] = [key for key in await keys.listed() if key.name == "read"]
    assert key.last_used_at is not None
    assert datetime.now(UTC) >= key.last_used_at


class TestTheApiKeyCache:
    """What it asks the book, and when."""

    def test_a_key_hides_its_digest_and_a_token_its_secret(self) -> None:
        key = a_key(OPERATOR, "operator", Scope.OPERATOR)
        assert OPERATOR.secret not in repr(OPERATOR)
        assert repr(key.digest) not in repr(key)

    async def test_it_asks_once_in_a_few_seconds(self) -> None:
        now = 0.0
        book = InMemoryKeys(a_key(OPERATOR, "operator", Scope.OPERATOR))
        api_keys = ApiKeyCache(book, now=lambda: now)
        for moment in (0.0, 1.0, 2.9, 3.1):
            now = moment
            assert await api_keys.find(OPERATOR)
        assert book.calls.count("find") == 2

    async def test_a_wrong_secret_is_refused_also_of_a_key_that_is_remembered(self) -> None:
        api_keys = ApiKeyCache(InMemoryKeys(a_key(OPERATOR, "operator", Scope.OPERATOR)))
        assert await api_keys.find(OPERATOR)
        assert await api_keys.find(replace(OPERATOR, secret="0" * 64)) is None

    async def test_a_use_that_cannot_be_noted_turns_nobody_away(self) -> None:
        book = InMemoryKeys(a_key(OPERATOR, "operator", Scope.OPERATOR))
        book.fail_next("note_use", NoAnswerError("away"))
        assert await ApiKeyCache(book).find(OPERATOR)


async def test_while_the_book_of_keys_is_away_the_caller_is_asked_to_come_back(
    closed_shop: Shop,
) -> None:
    book = InMemoryKeys(a_key(OPERATOR, "operator", Scope.OPERATOR))
    book.fail_next("find", NoAnswerError("postgres-7.internal is away"))
    async with asking_edge(replace(edge_of(closed_shop), keys=book)) as http:
        answer = await http.get("/orders/nobody")
        is_problem(answer, 503, "ask again")
        assert "postgres-7" not in answer.text
        assert (await http.get("/orders/nobody")).status_code == 404


async def test_a_key_that_asks_too_often_waits_and_others_need_not(edge: Dependencies) -> None:
    edge = replace(edge, limits=ApiLimits(rate_per_minute=3))
    async with asking_edge(edge, TOKENS[Scope.READ]) as http:
        seen = [(await http.get("/orders/nobody")).status_code for _ in range(3)]
        refused = await http.get("/orders/nobody")
        other = {"Authorization": f"Bearer {TOKENS[Scope.SHOP]}"}
        assert (await http.get("/orders/nobody", headers=other)).status_code == 404
        assert (await http.get("/healthz")).status_code == 200

    assert seen == [404] * 3
    is_problem(refused, 429, "too many requests with the key read: ask again in")
    assert 0 < int(refused.headers["retry-after"]) <= 20


async def test_an_address_that_guesses_waits_and_does_not_lock_out_who_has_a_key(
    edge: Dependencies,
) -> None:
    edge = replace(edge, limits=ApiLimits(failures_per_minute=2))
    async with asking_edge(edge, TOKENS[Scope.READ]) as http:
        assert (await http.get("/orders/nobody")).status_code == 404
        guess = {"Authorization": f"Bearer {UNKNOWN}"}
        seen = [(await http.get("/orders/1", headers=guess)).status_code for _ in range(3)]
        refused = await http.get("/orders/1", headers=guess)
        assert (await http.get("/orders/nobody")).status_code == 404

    assert seen == [401, 401, 429]
    is_problem(refused, 429, "too many requests without a good key")


async def test_a_good_key_is_never_refused_for_anothers_failures(closed_shop: Shop) -> None:
    limited = replace(edge_of(closed_shop), limits=ApiLimits(failures_per_minute=2))
    async with asking_edge(limited, token=None) as http:
        wrong = {"Authorization": f"Bearer {UNKNOWN}"}
        refused = [(await http.get("/orders/1", headers=wrong)).status_code for _ in range(9)]
        assert refused == [401] * 2 + [429] * 7
        # A key that this process has never seen, from the same address.
        good = {"Authorization": f"Bearer {OPERATOR}"}
        assert (await http.get("/orders/1", headers=good)).status_code == 404


class _SlowKeys(InMemoryKeys):
    """Keys whose look-up takes a while, and counts how many there are at once."""

    def __init__(self) -> None:
        super().__init__()
        self.at_once = self.most_at_once = 0

    async def find(self, key_id: str) -> ApiKey | None:
        self.at_once += 1
        self.most_at_once = max(self.most_at_once, self.at_once)
        await asyncio.sleep(0)
        self.at_once -= 1
        return await super().find(key_id)


async def test_guesses_over_the_limit_are_looked_up_few_at_a_time(closed_shop: Shop) -> None:
    book = _SlowKeys()
    limited = replace(edge_of(closed_shop), keys=book, limits=ApiLimits(failures_per_minute=1))
    async with asking_edge(limited, UNKNOWN) as http:
        await http.get("/orders/1")
        book.most_at_once = 0
        answers = await asyncio.gather(*(http.get("/orders/1") for _ in range(30)))
    assert {answer.status_code for answer in answers} == {429}
    assert book.most_at_once == 2


@pytest.mark.parametrize(
    ("host", "address"),
    [
        ("192.0.2.7", "192.0.2.7"),
        ("::ffff:192.0.2.7", "192.0.2.7"),
        ("::ffff:192.0.2.8", "192.0.2.8"),
        ("2001:db8:1:2:3:4:5:6", "2001:0db8:0001:0002"),
        ("a.sock", "a.sock"),
    ],
)
def test_an_address_counts_for_one_client(host: str, address: str) -> None:
    assert client_address({"client": (host, 1)}) == address


class TestTheRateLimiter:
    """A bucket, refilled evenly."""

    def test_it_refills_evenly(self) -> None:
        now = 1000.0
        limiter = RateLimiter(60, now=lambda: now)
        assert [limiter.acquire("a") for _ in range(61)] == [0.0] * 60 + [1.0]
        now += 0.6
        assert limiter.acquire("a") == pytest.approx(0.4)
        now += 0.4
        assert [limiter.acquire("a") > 0 for _ in range(2)] == [False, True]
        now += 1000
        assert [limiter.acquire("a") > 0 for _ in range(61)] == [False] * 60 + [True]

    def test_looking_does_not_count(self) -> None:
        limiter = RateLimiter(1, now=lambda: 0.0)
        assert [limiter.wait_time("a") for _ in range(5)] == [0] * 5
        assert [limiter.acquire("a") > 0 for _ in range(2)] == [False, True]

    def test_it_forgets_who_asked_longest_ago(self) -> None:
        limiter = RateLimiter(1, max_names=2, now=lambda: 0.0)
        assert [limiter.acquire(name) for name in "abc"] == [0, 0, 0]
        assert (limiter.wait_time("a") > 0, limiter.wait_time("c") > 0) == (False, True)


def test_a_key_cannot_be_read_from_what_is_kept() -> None:
    key: ApiKey = a_key(OPERATOR, "operator", Scope.OPERATOR)
    assert bytes.fromhex(OPERATOR.secret) not in key.digest
    assert len(key.digest) == 32
    assert Token.read(str(OPERATOR)) == OPERATOR
