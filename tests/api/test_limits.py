"""What may be sent, what browsers are told, and what stays out of logs."""

import logging
from collections.abc import AsyncIterator, Iterator
from dataclasses import replace

import httpx
import pytest

from durable_orders.api.dependencies import ApiLimits
from tests.api.api_clients import OPERATOR, asking_edge, edge_of, is_problem
from tests.support.shop import Shop

JSON = {"Content-Type": "application/json"}
SMALL = ApiLimits(body_bytes=1_024)


@pytest.fixture
async def small(closed_shop: Shop) -> AsyncIterator[httpx.AsyncClient]:
    """An edge that takes bodies of a kilobyte."""
    async with asking_edge(replace(edge_of(closed_shop), limits=SMALL)) as http:
        yield http


def a_body(size: int) -> bytes:
    padding = size - len(b'{"order_id": "nobody"}')
    return b'{"order_id": "nobody"' + b" " * padding + b"}"


async def test_a_body_up_to_the_limit_is_read(small: httpx.AsyncClient) -> None:
    answer = await small.post("/checkout", content=a_body(1_024), headers=JSON)
    is_problem(answer, 404, "no order nobody")


async def test_a_body_that_says_it_is_larger_is_refused(small: httpx.AsyncClient) -> None:
    answer = await small.post("/checkout", content=a_body(1_025))
    is_problem(answer, 413, "larger than 1024 bytes: send less")
    assert answer.headers["connection"] == "close"


async def test_a_body_that_does_not_say_how_large_it_is_is_counted(
    small: httpx.AsyncClient,
) -> None:
    sent = 0

    async def chunks() -> AsyncIterator[bytes]:
        nonlocal sent
        for _ in range(100):
            sent += 1
            yield b" " * 512

    answer = await small.post("/checkout", content=chunks())

    assert "content-length" not in answer.request.headers
    is_problem(answer, 413, "larger than 1024 bytes: send less")


async def test_every_answer_tells_browsers_to_be_careful(closed: httpx.AsyncClient) -> None:
    for path in ("/orders/nobody", "/healthz", "/docs", "/nowhere"):
        headers = (await closed.get(path)).headers
        assert "frame-ancestors 'none'" in headers["content-security-policy"]
        assert headers["x-content-type-options"] == "nosniff"
        assert headers["referrer-policy"] == "no-referrer"
        assert headers["cache-control"] == "no-store"
        assert "strict-transport-security" not in headers


async def test_over_tls_browsers_are_told_to_stay_with_it(closed: httpx.AsyncClient) -> None:
    headers = (await closed.get("https://shop.example/healthz")).headers
    assert headers["strict-transport-security"] == "max-age=31536000"


ASKED = {"Origin": "https://pages.example", "Access-Control-Request-Method": "POST"}


async def test_no_page_of_another_origin_may_ask_by_default(closed: httpx.AsyncClient) -> None:
    for answer in (
        await closed.options("/checkout", headers=ASKED),
        await closed.get("/orders/nobody", headers=ASKED),
    ):
        assert not [name for name in answer.headers if name.startswith("access-control")]


async def test_pages_of_an_allowed_origin_may_ask(closed_shop: Shop) -> None:
    edge = replace(edge_of(closed_shop), allowed_origins=("https://pages.example",))
    async with asking_edge(edge, token=None) as http:
        asked = await http.options(
            "/checkout", headers={**ASKED, "Access-Control-Request-Headers": "authorization"}
        )
        key = {"Authorization": f"Bearer {OPERATOR}"}
        answer = await http.get("/orders/nobody", headers={**ASKED, **key})
        other = {**ASKED, "Origin": "https://elsewhere.example"}
        refused = await http.options("/checkout", headers=other)

    assert (asked.status_code, refused.status_code) == (200, 400)
    for headers in (asked.headers, answer.headers):
        assert headers["access-control-allow-origin"] == "https://pages.example"
        assert "access-control-allow-credentials" not in headers
    assert "access-control-allow-origin" not in refused.headers


@pytest.fixture
def everything_logged(caplog: pytest.LogCaptureFixture) -> Iterator[pytest.LogCaptureFixture]:
    with caplog.at_level(logging.DEBUG):
        yield caplog


SECRETS = ("4242424242424242", "pm_card_visa", "ada@example.com", "St James", OPERATOR.secret)


async def test_no_secret_card_or_address_is_logged(
    closed_shop: Shop, everything_logged: pytest.LogCaptureFixture
) -> None:
    order_id = await closed_shop.place()
    card = {"order_id": order_id, "card": "4242424242424242", "mail": "ada@example.com"}
    async with asking_edge(edge_of(closed_shop)) as http:
        await http.post("/checkout", json={"order_id": order_id})
        await http.post("/checkout", json=card)
        await http.post("/checkout", json={**card, "order_id": ["4242424242424242"]})
        await http.post("/checkout", content=b'{"card": "4242424242424242", ', headers=JSON)
        await http.get(f"/orders/{order_id}?card=4242424242424242&to=ada@example.com")
        await http.get("/orders/nobody", headers={"Cookie": "card=4242424242424242"})
        closed_shop.book.fail_next("view", KeyError("a fault"))
        await http.get(f"/orders/{order_id}")
        bad = {"Authorization": f"Bearer {OPERATOR}x"}
        await http.get("/orders/nobody", headers=bad)

    # The caller's own log is not ours.
    records = [one for one in everything_logged.records if not one.name.startswith("http")]
    formatter = logging.Formatter("%(message)s")
    logged = "\n".join(formatter.format(record) for record in records)
    assert "Traceback" in logged
    assert "POST /checkout 202" in logged
    assert [secret for secret in SECRETS if secret in logged] == []


@pytest.mark.parametrize(
    ("host", "status"),
    [
        ("shop.example", 404),
        ("SHOP.example:8443", 404),
        ("evil.example", 400),
        ("shop.example.evil.example", 400),
        ("", 400),
    ],
)
async def test_only_hosts_that_are_ours_are_answered(
    closed_shop: Shop, host: str, status: int
) -> None:
    edge = replace(edge_of(closed_shop), allowed_hosts=("shop.example",))
    async with asking_edge(edge) as http:
        answer = await http.get("/orders/nobody", headers={"Host": host})
        assert answer.status_code == status
        assert (await http.get("/healthz", headers={"Host": host})).status_code == 200


async def test_no_client_is_sent_where_its_host_header_says(closed: httpx.AsyncClient) -> None:
    for path in ("/orders/", "/checkout/", "/operator/", "/healthz/"):
        answer = await closed.get(path, headers={"Host": "evil.example"})
        assert answer.status_code in {404, 401}
        assert "location" not in answer.headers
