"""Who gets to the operator's pages, and for how long."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import httpx
import pytest
from sqlalchemy import text

from durable_orders.api.app import ADMIN_ROUTERS, create_app
from durable_orders.api.dependencies import ApiLimits, Dependencies
from durable_orders.domain.operators.api_keys import Scope, Token
from durable_orders.domain.operators.sessions import IDLE_TIMEOUT, MAX_AGE, SessionToken
from durable_orders.store.api_keys import PostgresApiKeyRepository
from durable_orders.store.database import Database, connect
from durable_orders.store.sessions import PostgresSessionRepository
from tests.api.admin_pages import (
    FROM_OUR_PAGE,
    HERE,
    Operator,
    Premises,
    cards,
    closed_premises,
    said,
    text_of,
    usual_edge,
    warehouse,
)

__all__ = ["cards", "closed_premises", "usual_edge", "warehouse"]

TLS = "https://shop.example"


def browser(
    premises: Premises, base_url: str = HERE, *, edge: Dependencies | None = None
) -> httpx.AsyncClient:
    """A browser in which nobody has logged in, at this edge or the usual one."""
    transport = httpx.ASGITransport(create_app(edge) if edge else premises.usual_edge)
    return httpx.AsyncClient(transport=transport, base_url=base_url)


async def try_key(http: httpx.AsyncClient, key: object, **fields: str) -> httpx.Response:
    origin = {**FROM_OUR_PAGE, "Origin": str(http.base_url).rstrip("/")}
    return await http.post("/operator/login", data={"key": str(key), **fields}, headers=origin)


async def is_in(http: httpx.AsyncClient) -> bool:
    answer = await http.get("/operator")
    if answer.status_code == 303:
        assert answer.headers["location"].startswith("/operator/login")
        return False
    assert answer.status_code == 200
    return True


async def test_an_operator_logs_in_with_a_key_and_out_again(closed_premises: Premises) -> None:
    name, token = await closed_premises.key()
    async with browser(closed_premises) as http:
        assert not await is_in(http)
        answer = await try_key(http, token)
        assert (answer.status_code, answer.headers["location"]) == (303, "/operator")
        page = await http.get("/operator")
        assert f"Logged in as {name}" in text_of(page.text)

        kept = dict(http.cookies)
        somebody = Operator(http, name, token)
        await somebody.send_to("/operator/logout")
        assert not http.cookies
        http.cookies.update(kept)  # a thief's copy is worth nothing either
        assert not await is_in(http)


async def test_the_cookie_is_for_this_host_and_no_script(closed_premises: Premises) -> None:
    _, token = await closed_premises.key()
    async with browser(closed_premises, TLS) as http:
        over_tls = (await try_key(http, token)).headers["set-cookie"]
    async with browser(closed_premises) as http:
        here = (await try_key(http, token)).headers["set-cookie"]
    assert over_tls.startswith("__Host-operator=")
    assert "; Secure" in over_tls
    assert here.startswith("operator=")
    assert "Secure" not in here
    for cookie in (over_tls, here):
        assert {"HttpOnly", "SameSite=lax", "Path=/", "Max-Age=28800"} <= set(cookie.split("; "))


async def test_a_key_is_not_taken_over_a_way_that_others_can_read(
    closed_premises: Premises,
) -> None:
    _, token = await closed_premises.key()
    async with browser(closed_premises, "http://shop.example") as http:
        for answer in (await http.get("/operator/login"), await try_key(http, token)):
            assert answer.status_code == 403
            assert "log in over https" in answer.text.lower()
            assert "set-cookie" not in answer.headers


async def test_of_a_session_only_a_digest_is_kept(
    closed_premises: Premises, database: Database
) -> None:
    async with closed_premises.operator() as somebody:
        ticket = SessionToken.read(somebody.http.cookies["operator"])
        assert ticket
        async with database.engine.connect() as connection:
            rows = (await connection.execute(text("SELECT digest FROM operator_sessions"))).all()
    assert ticket.digest in [row.digest for row in rows]
    assert ticket.secret not in [row.digest for row in rows]


@pytest.mark.parametrize("scope", [Scope.READ, Scope.SHOP])
async def test_a_key_of_another_scope_opens_nothing(
    closed_premises: Premises, scope: Scope
) -> None:
    name, token = await closed_premises.key(scope)
    async with browser(closed_premises) as http:
        answer = await try_key(http, token)
        assert answer.status_code == 403
        assert f"{name} is of scope {scope}. This page needs one of scope operator" in said(answer)
        assert not await is_in(http)


async def test_failed_logins_count_against_the_address_and_say_when_to_come_back(
    closed_premises: Premises,
) -> None:
    closed_premises.limits = ApiLimits(failures_per_minute=3)
    _, token = await closed_premises.key()
    async with browser(closed_premises, edge=closed_premises.edge()) as http:
        for wrong in ("nonsense", Token.of(b"nobody", bytes(32)), "<b>"):
            assert "no key of ours" in said(await try_key(http, wrong))
        answer = await try_key(http, "nonsense")
        assert answer.status_code == 429
        assert int(answer.headers["retry-after"]) > 0
        # The same count as that of the API: together they are one address.
        assert (await http.get("/orders/1001")).status_code == 429
        # The owner of a good key is not kept out by it.
        assert (await try_key(http, token)).status_code == 303


async def test_logins_are_in_the_log_with_their_address(
    closed_premises: Premises, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    name, token = await closed_premises.key()
    reader, too_little = await closed_premises.key(Scope.READ)
    async with browser(closed_premises) as http:
        for presented in ("nonsense\nforged", too_little, token):
            await try_key(http, presented)
    told = [one.getMessage() for one in caplog.records if one.name.endswith("admin.sessions")]
    assert told == [
        "a login from 127.0.0.1 was refused: with no key of ours",
        f"a login from 127.0.0.1 was refused: the key {reader} is of scope read",
        f"{name} has logged in from 127.0.0.1",
    ]


async def test_made_up_tickets_count_too_and_lock_nobody_out_who_is_in(
    closed_premises: Premises,
) -> None:
    closed_premises.limits = ApiLimits(failures_per_minute=3)
    app = create_app(closed_premises.edge())
    async with closed_premises.operator(app) as somebody:
        assert await is_in(somebody.http)
        transport = httpx.ASGITransport(app)
        async with httpx.AsyncClient(transport=transport, base_url=HERE) as stranger:
            for n in range(3):
                stranger.cookies.set("operator", str(SessionToken(bytes([n] * 32))))
                assert not await is_in(stranger)
            stranger.cookies.set("operator", "ab" * 32)
            assert (await stranger.get("/operator")).status_code == 429
        assert await is_in(somebody.http)


async def test_a_session_ends_when_it_is_left_alone(closed_premises: Premises) -> None:
    async with closed_premises.operator(create_app(closed_premises.edge())) as somebody:
        for _ in range(3):
            closed_premises.clock += IDLE_TIMEOUT - timedelta(minutes=2)
            assert await is_in(somebody.http)
        closed_premises.clock += IDLE_TIMEOUT + timedelta(minutes=1)
        assert not await is_in(somebody.http)
        closed_premises.clock = timedelta(0)
        assert not await is_in(somebody.http)  # it has ended, whatever the clock says


async def test_a_session_ends_after_a_working_day_however_busy_it_is(
    closed_premises: Premises,
) -> None:
    async with closed_premises.operator(create_app(closed_premises.edge())) as somebody:
        while closed_premises.clock < MAX_AGE - timedelta(minutes=20):
            closed_premises.clock += timedelta(minutes=20)
            assert await is_in(somebody.http) == (closed_premises.clock < MAX_AGE)
        closed_premises.clock = MAX_AGE + timedelta(seconds=1)
        assert not await is_in(somebody.http)


async def test_a_session_ends_with_its_key(closed_premises: Premises) -> None:
    async with closed_premises.operator() as somebody:
        assert await is_in(somebody.http)
        await closed_premises.keys.revoke(somebody.name, datetime.now(UTC))
        assert not await is_in(somebody.http)


async def test_a_login_leads_to_where_somebody_wanted_to_go_and_nowhere_else(
    closed_premises: Premises,
) -> None:
    _, token = await closed_premises.key()
    async with browser(closed_premises) as http:
        wanted = await http.get("/operator/orders/1001")
        assert wanted.headers["location"] == "/operator/login?then=%2Foperator%2Forders%2F1001"
        answer = await try_key(http, token, then="/operator/orders/1001")
        assert answer.headers["location"] == "/operator/orders/1001"
        for elsewhere in (
            "https://evil.example/",
            "//evil.example",
            "/operator/../x",
            "/operatorx",
        ):
            answer = await try_key(http, token, then=elsewhere)
            assert answer.headers["location"] == "/operator"


async def test_a_new_login_ends_the_session_before_it(closed_premises: Premises) -> None:
    async with closed_premises.operator() as somebody:
        before = dict(somebody.http.cookies)
        await somebody.log_in()
        assert dict(somebody.http.cookies) != before
        somebody.http.cookies.update(before)
        assert not await is_in(somebody.http)


async def test_every_page_but_the_login_needs_a_session(closed_premises: Premises) -> None:
    async with browser(closed_premises) as http:
        seen = 0
        for route in (route for router in ADMIN_ROUTERS for route in router.routes):
            path = getattr(route, "path", "")
            if path in {"/operator/login", "/operator/files/{name}", "/operator/{path:path}"}:
                continue
            path = path.format(order_id="1001", refund_id="r1", risk_id="du_1", name="approve")
            for method in getattr(route, "methods", ()):
                answer = await http.request(method, path, headers=FROM_OUR_PAGE)
                assert (answer.status_code, answer.text) == (303, ""), path
                assert answer.headers["location"].startswith("/operator/login")
                seen += 1
    assert seen >= 10


async def test_the_database_away_is_a_page_that_says_so(closed_premises: Premises) -> None:
    closed_premises.database = connect("postgresql://nobody@127.0.0.1:1/none", connect_timeout=1)
    closed_premises.keys = PostgresApiKeyRepository(closed_premises.database)
    closed_premises.sessions = PostgresSessionRepository(closed_premises.database)
    async with browser(closed_premises, edge=closed_premises.edge()) as http:
        tried = await try_key(http, Token.of(b"nobody", bytes(32)))
        http.cookies.set("operator", "ab" * 32)
        for answer in (tried, await http.get("/operator")):
            assert answer.status_code == 503
            assert "Not available at the moment" in answer.text
            assert answer.headers["retry-after"]
            assert "127.0.0.1" not in answer.text


async def test_without_an_office_there_are_no_pages(closed_premises: Premises) -> None:
    edge = replace(closed_premises.edge(), admin=None)
    transport = httpx.ASGITransport(create_app(edge))
    async with httpx.AsyncClient(transport=transport, base_url=HERE) as http:
        assert (await http.get("/operator/login")).status_code == 401


@pytest.mark.parametrize(
    ("client", "allowed"),
    [("127.0.0.1", True), ("::1", True), ("192.0.2.7", False), ("10.0.0.1", False)],
)
async def test_a_claimed_host_does_not_open_the_login_over_plain_http(
    closed_premises: Premises, client: str, *, allowed: bool
) -> None:
    transport = httpx.ASGITransport(create_app(closed_premises.edge()), client=(client, 4711))
    async with httpx.AsyncClient(transport=transport, base_url=HERE) as http:
        answer = await http.get("/operator/login")
        assert answer.status_code == (200 if allowed else 403)
