"""Whatever bytes come: no route answers 5xx, and every answer is bounded and soon there."""

import time
from collections.abc import AsyncIterator
from dataclasses import replace
from urllib.parse import quote_from_bytes

import httpx
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from durable_orders.api.app import ADMIN_ROUTERS, PROTECTED_ROUTERS, PUBLIC_ROUTERS, create_app
from durable_orders.api.dependencies import AdminDependencies, ApiLimits, TemporalWebUi
from durable_orders.api.middleware import MAX_COOKIE_BYTES, MAX_HEADER_BYTES
from durable_orders.store.audit_findings import PostgresFindingRepository
from durable_orders.store.dashboard import PostgresDashboardRepository
from durable_orders.store.database import Database
from durable_orders.store.sessions import PostgresSessionRepository
from tests.api.api_clients import OPERATOR, is_problem
from tests.api.real import RealShop, real
from tests.support.rows import rows_of

__all__ = ["real"]

#: Far above what a refusal needs, far below what was sent.
BOUND = 16_384

ROUTES = sorted(
    {
        (method, route.path)
        for router in (
            *(router for router, _ in PROTECTED_ROUTERS),
            *PUBLIC_ROUTERS,
            *ADMIN_ROUTERS,
        )
        for route in router.routes
        for method in getattr(route, "methods", ())
        if hasattr(route, "path") and "/events" not in route.path and route.path != "/metrics"
    }
)
#: What has broken something, here or elsewhere, beside what Hypothesis comes up with.
NASTY = [
    b"",
    b"\0",
    b"\n",
    b"\x1b[31m",
    b"\xff\xfe",
    b"\xed\xa0\x80",
    "\N{RIGHT-TO-LEFT OVERRIDE}".encode(),
    b"../" * 20,
    b"%00%0a",
    b"' OR 1=1 --",
    b'"' + b"\\" * 1_000 + b'"',
    b"9" * 400,
    b"-1",
    b"NaN",
    b"[" * 500,
    b"http://[::1",
]
BYTES = st.one_of(st.sampled_from(NASTY), st.binary(max_size=60))
#: Bytes that httpx lets through in a header.
HEADER = BYTES.map(lambda raw: raw.replace(b"\r", b"").replace(b"\n", b"").replace(b"\0", b""))


@pytest.fixture(scope="module")
async def edge(real: RealShop, database: Database) -> AsyncIterator[httpx.AsyncClient]:
    """The edge with the operators' pages."""
    admin = AdminDependencies(
        PostgresSessionRepository(database),
        PostgresDashboardRepository(database),
        PostgresFindingRepository(database),
        TemporalWebUi(None, "default"),
    )
    # Failures are not limited: they would hide what comes after the limit.
    limits = ApiLimits(rate_per_minute=1_000_000, failures_per_minute=1_000_000)
    app = create_app(replace(real.edge, admin=admin, limits=limits))
    transport = httpx.ASGITransport(app)
    async with httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1") as http:
        yield http


@pytest.mark.parametrize(("method", "path"), ROUTES, ids=lambda one: one.replace("/", "_"))
async def test_no_bytes_are_a_fault(
    edge: httpx.AsyncClient,
    database: Database,
    caplog: pytest.LogCaptureFixture,
    method: str,
    path: str,
) -> None:
    """Each with a good key or none, as a path, a query, a cookie, headers and a body. What is
    refused changes nothing, and is no traceback in the log.
    """
    seen: list[tuple[int, int]] = []
    pieces = [piece.strip("{}").partition(":")[0] for piece in path.split("/") if "{" in piece]

    @settings(
        max_examples=12,
        deadline=None,
        database=None,
        derandomize=True,
        suppress_health_check=list(HealthCheck),
    )
    @given(
        parts=st.lists(BYTES, min_size=len(pieces), max_size=len(pieces)),
        query=st.dictionaries(
            st.sampled_from(["after", "status", "customer", "limit", "wait_seconds", "x", "order"]),
            BYTES,
            max_size=3,
        ),
        cookie=HEADER,
        header=HEADER,
        body=st.one_of(BYTES, st.sampled_from([b"{}", b"[]", b"null", b'{"by": "\\u0000"}'])),
        origin=st.one_of(HEADER, st.just(b"http://127.0.0.1")),
        kind=st.sampled_from(
            ["application/json", "application/x-www-form-urlencoded", "text/plain", "multipart/x"]
        ),
        has_key=st.booleans(),
    )
    def collect(**drawn: object) -> None:
        cases.append(drawn)

    cases: list[dict[str, object]] = []
    collect()
    for case in cases:
        url = path
        for piece, raw in zip(pieces, case["parts"], strict=True):  # type: ignore[call-overload]
            for form in (f"{{{piece}}}", f"{{{piece}:path}}"):
                url = url.replace(form, quote_from_bytes(raw, safe="") or "%20")
        query = "&".join(
            f"{name}={quote_from_bytes(raw, safe='')}"
            for name, raw in case["query"].items()  # type: ignore[attr-defined]
        )
        headers = [
            (b"cookie", b"operator=" + case["cookie"]),  # type: ignore[operator]
            (b"x-request-id", case["header"]),
            (b"idempotency-key", case["header"]),
            (b"last-event-id", case["header"]),
            (b"stripe-signature", case["header"]),
            (b"origin", case["origin"]),
            (b"content-type", str(case["kind"]).encode()),
        ]
        if case["has_key"]:
            headers.append((b"authorization", f"Bearer {OPERATOR}".encode()))
        before = await rows_of(database)
        answer = await edge.request(
            method,
            f"{url}?{query}",
            headers=httpx.Headers(headers),  # type: ignore[arg-type] # bytes
            content=case["body"],  # type: ignore[arg-type]
        )
        about = (method, url, case, answer.text[:300])
        # 503: readiness, or the test's own shop lacks a part.
        assert answer.status_code < 500 or answer.status_code == 503, about
        if answer.status_code >= 400:
            assert len(answer.content) <= BOUND, about
            assert await rows_of(database) == before, about
        seen.append((answer.status_code, len(answer.content)))
    assert seen
    assert not [record for record in caplog.records if record.exc_info]


@pytest.mark.parametrize(
    "headers",
    [
        {"Cookie": 'operator="' + "\\" * 60_000 + '"'},
        {"Cookie": "a=b; " * 2_000},
        {"X-Long": "x" * (MAX_HEADER_BYTES + 1)},
        {f"X-{n}": "x" * 300 for n in range(80)},
    ],
    ids=["backslashes", "many cookies", "one long header", "many headers"],
)
@pytest.mark.parametrize("path", ["/healthz", "/operator", "/orders/1001", "/webhooks/stripe"])
async def test_large_headers_are_refused_before_anything_parses_them(
    edge: httpx.AsyncClient, path: str, headers: dict[str, str]
) -> None:
    began = time.process_time()
    answer = await edge.get(path, headers=headers)
    assert time.process_time() - began < 1  # it was 4.8 s with 60,000 backslashes
    is_problem(answer, 431, "send less")
    assert answer.headers["connection"] == "close"


async def test_an_ordinary_cookie_is_no_large_one(real: RealShop) -> None:
    headers = {"Cookie": "operator=" + "x" * (MAX_COOKIE_BYTES - 9)}
    assert (await real.http.get("/healthz", headers=headers)).status_code == 200


@pytest.mark.parametrize("path", ["/orders", "/checkout", "/orders/1001/cancel"])
async def test_an_answer_does_not_grow_with_the_request(real: RealShop, path: str) -> None:
    body = {f"unknown member {n}": n for n in range(8_000)}
    answer = await real.http.post(path, json=body)
    is_problem(answer, 422, "and ")
    assert len(answer.content) < BOUND
    long_name = await real.http.post(path, json={"x" * 200_000: 1})
    assert long_name.status_code == 422
    assert len(long_name.content) < BOUND
