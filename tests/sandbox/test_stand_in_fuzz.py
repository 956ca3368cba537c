"""Whatever the stand-in is sent: its only 5xx are the faults that it was told to make.

The routes are its own, Stripe's parameters those of its endpoints; the fields of the others are
listed here. The objects of a paid and disputed order are there.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final
from urllib.parse import quote_from_bytes, urlencode

import httpx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from starlette.applications import Starlette
from starlette.routing import Route

from sandbox.world.app import create_app
from sandbox.world.faults import ENDPOINTS, MODES
from sandbox.world.stripe.api import parameter_schemas
from sandbox.world.stripe.parameters import ParameterSchema

#: Fields of the requests in JSON, with a good value each.
FIELDS: Final[dict[str, Any]] = {
    "from": "Shop <orders@example.com>",
    "to": ["ada@example.com"],
    "cc": [],
    "reply_to": "shop@example.com",
    "subject": "Hello",
    "html": "<p>Hello</p>",
    "text": "Hello",
    "tags": [{"name": "order", "value": "1001"}],
    "order_id": "shop-1001",
    "ship_to": {"name": "Ada", "address": "London"},
    "lines": [{"sku": "MUG", "quantity": 1}],
    "endpoint": "stripe.refunds.*",
    "mode": "error",
    "sku": "MUG",
    "times": 1,
    "seconds": 0,
    "reason": "lost",
    "parcels": 2,
    "dials": [{"endpoint": "resend.*", "mode": "error"}],
    "parcel": "par_1",
    "outcome": "succeed",
    "payment_method": "pm_card_visa",
    "confirm_limit": 3,
    "stripe": "http://127.0.0.1:1/x",
    "stripe_secret": "whsec_x",
    "amount": 100,
    "at": "2026-03-01",
}
#: Values of fields: some fit one or another.
VALUES: Final = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.floats(),
    st.text(max_size=8),
    st.sampled_from([*FIELDS.values(), *MODES, *ENDPOINTS]),
    st.sampled_from(
        [10**400, -1, "\ud800", "\0", "x" * 10_000, [[]], [{}], {"a": {"b": []}}, [None]]
    ),
)
#: Texts of forms, of parts of a path and of queries.
TEXTS: Final = st.one_of(
    st.sampled_from(
        [b"", b"0", b"-1", b"1", b"9" * 400, b"9" * 5_000, b"1e400", b"nan", b"inf", b"true"]
    ),
    st.sampled_from(
        [b"\0", b"\xff", b"\xed\xa0\x80", "²".encode(), "٣".encode(), b"[]", b"a[b]", b"%00"]
    ),
    st.sampled_from(
        [b"eur", b"EUR", b"pm_card_visa", b"manual", b"automatic", b"off_session", b"1001"]
    ),
    st.binary(max_size=12),
)
HEADERS: Final = st.fixed_dictionaries(
    {},
    optional={
        "idempotency-key": st.sampled_from(["", "k", "x" * 300, "a b"]) | st.uuids().map(str),
        "stripe-version": st.sampled_from(["", "x", "2024-06-20"]),
        "authorization": st.sampled_from(["", "Bearer", "Basic x", "Bearer x", "Bearer sk_live_x"]),
        "content-type": st.sampled_from(
            ["application/json", "application/x-www-form-urlencoded", "text/plain", "multipart/x"]
        ),
        "accept": st.sampled_from(["text/html", "x"]),
    },
)
NASTY: Final = [
    *(b"{", b"[]", b"null", b"1", b'"x"', b"[" * 100_000, b'{"a":' * 900 + b"1" + b"}" * 900),
    *(
        b"\xff",
        b"a=\xff",
        b"a[=1",
        b"a]=1",
        b"a[[]]=1",
        b"[]=1",
        b"=1",
        b"a[b]=1&a=2",
        b"&&=",
        b"%",
    ),
    *(
        b"metadata[" + b"a][" * 2_000 + b"x]=1",
        b"expand[]=a" * 2,
        b"expand[]=" + b"a." * 3_000 + b"a",
    ),
    *(b"expand[" + b"9" * 5_000 + b"]=a", "expand[²]=a".encode(), b"\0=\0"),
]


def names_in(schema: ParameterSchema, within: str = "") -> Iterator[str]:
    for full, kind in schema.items():
        name = full.rstrip("!")
        here = f"{within}[{name}]" if within else name
        yield here
        if isinstance(kind, Mapping):
            yield from names_in(kind, here)
        elif kind == "timestamps":
            yield f"{here}[gte]"
        yield from (f"{here}[]", f"{here}[0]", f"{here}[x]", f"{here}[0][x]")


def bodies(method: str, path: str) -> st.SearchStrategy[bytes]:
    """Bodies for an endpoint: forms with its parameters, JSON with known fields, anything."""
    schema = parameter_schemas().get((method, path), {})
    names = [*names_in(schema), "metadata[order_id]", "x", ""]
    form = st.dictionaries(st.sampled_from(names), TEXTS, max_size=8).map(
        lambda given: urlencode(given).encode()
    )
    fields = st.dictionaries(st.sampled_from(sorted(FIELDS)), VALUES, max_size=3)
    near = st.tuples(st.sets(st.sampled_from(sorted(FIELDS)), max_size=len(FIELDS)), fields).map(
        lambda both: {name: FIELDS[name] for name in both[0]} | both[1]
    )
    as_json = st.one_of(near, fields).map(lambda given: json.dumps(given).encode())
    return st.one_of(form, as_json, st.sampled_from(NASTY), st.binary(max_size=30))


@dataclass(frozen=True)
class World:
    """The stand-in, and ids of what is in it."""

    app: Starlette
    http: httpx.AsyncClient
    ids: tuple[str, ...]


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[World]:
    app = create_app(tmp_path)
    async with httpx.AsyncClient(
        transport=httpx.ASGITransport(app), base_url="http://sandbox.example"
    ) as http:
        yield World(app, http, tuple([each async for each in made(http)]))


async def made(http: httpx.AsyncClient) -> AsyncIterator[str]:
    """Make one of each object; their ids."""
    http.headers["Authorization"] = "Bearer sk_test_sandbox"
    customer = (await http.post("/v1/customers", data={"email": "ada@example.com"})).json()["id"]
    intent = {
        "amount": "2000",
        "currency": "eur",
        "confirm": "true",
        "payment_method": "pm_card_createDispute",
        "automatic_payment_methods[enabled]": "true",
        "automatic_payment_methods[allow_redirects]": "never",
        "metadata[order_id]": "1001",
        "customer": customer,
    }
    paid = (await http.post("/v1/payment_intents", data=intent)).json()
    waiting = (await http.post("/v1/payment_intents", data=intent | {"confirm": "false"})).json()
    dispute = (await http.get("/v1/disputes")).json()["data"][0]["id"]
    await http.post("/warehouse/fulfillments", json=FIELDS, headers={"Authorization": "Bearer k"})
    for each in (customer, paid["id"], waiting["id"], paid["latest_charge"], dispute):
        yield each
    for each in ("pm_card_visa", "1001", "shop-1001", "nobody"):
        yield each


FAMILIES: Final = {
    "Stripe": ("/v1/",),
    "Resend": ("/emails",),
    "the warehouse": ("/warehouse/",),
    "the control API": ("/sandbox/", "/books"),
    "the pages": ("/inbox", "/dials", "/healthz"),
}


def requests_to(method: str, path: str, ids: tuple[str, ...]) -> list[dict[str, Any]]:
    """Made-up requests, the same ones in every run."""
    made_up: list[dict[str, Any]] = []
    parts = path.count("{")
    known = st.sampled_from([each.encode() for each in ids])

    @settings(max_examples=25, derandomize=True, database=None)
    @given(
        parts=st.lists(known | TEXTS, min_size=parts, max_size=parts),
        query=st.dictionaries(
            st.sampled_from(["limit", "starting_after", "created[gte]", "expand[]", "times", "x"]),
            TEXTS,
            max_size=2,
        ),
        headers=HEADERS,
        content=bodies(method, path),
    )
    def collect(**drawn: Any) -> None:
        made_up.append(drawn)

    collect()
    return made_up


def address(path: str, parts: list[bytes], query: dict[str, bytes]) -> str:
    for part in parts:
        before, _, rest = path.partition("{")
        path = before + (quote_from_bytes(part, safe="") or "%20") + rest.partition("}")[2]
    return f"{path}?{urlencode(query)}"


@pytest.mark.parametrize("family", FAMILIES)
async def test_no_request_is_a_fault(world: World, family: str) -> None:
    routes = sorted(
        (method, route.path)
        for route in world.app.routes
        if isinstance(route, Route) and route.path.startswith(FAMILIES[family])
        for method in route.methods or ()
    )
    assert routes
    for method, path in routes:
        default = "Bearer re_x" if family == "Resend" else "Bearer sk_test_sandbox"
        for made_up in requests_to(method, path, world.ids):
            headers = {"authorization": default} | made_up["headers"]
            url = address(path, made_up["parts"], made_up["query"])
            about = (method, url[:300], headers, made_up["content"][:300])
            try:
                async with asyncio.timeout(5):
                    answer = await world.http.request(
                        method, url, headers=headers, content=made_up["content"]
                    )
            except Exception as error:
                error.add_note(str(about))
                raise
            assert answer.status_code < 500, about
            world.app.state.fault_registry.clear()


@pytest.mark.parametrize("query", ["seconds=x", "seconds=nan", "times=x", "times=9&seconds=-1"])
async def test_waiting_for_a_hit_takes_numbers(world: World, query: str) -> None:
    dial = {"endpoint": "stripe.*", "mode": "error"}
    made_up = (await world.http.post("/sandbox/dials", json=dial)).json()["id"]
    answer = await world.http.get(f"/sandbox/dials/{made_up}/hit?{query}")
    assert answer.status_code in {200, 400}
