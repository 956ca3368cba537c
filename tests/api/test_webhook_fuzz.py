"""Whatever is signed: a neighbour that is hostile, or broken, has the key and sends anything."""

from __future__ import annotations

import hashlib
import hmac
import json
from collections.abc import AsyncIterator, Iterator
from typing import Any, Final

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from durable_orders.providers.stripe.webhooks import PAYMENT_EVENTS, REFUND_EVENTS, RISK_EVENTS
from durable_orders.store.database import Database
from sandbox.webhook_endpoints import STRIPE_SECRET
from tests.api.api_clients import is_problem
from tests.api.posting import Post, posting
from tests.contracts.signing import (
    READERS,
    SignedRequest,
    mail_event,
    parcel_event,
    risk_event,
    signed,
    stripe_event,
)
from tests.support.keys import refund_key
from tests.support.servers import Temporal
from tests.support.shop import Shop

SENDERS: Final = sorted(READERS)
_HOLE: Final = "@hole@"

#: JSON, and what some parsers take for it.
NASTY: Final[list[bytes]] = [
    *(b"null", b"true", b"0", b"-1", b"1.5", b"1e400", b"NaN", b"-Infinity", b"9" * 400),
    *(b"9" * 5_000, b'""', b'" "', b'"\\u0000"', b'"a\\nb"', b'"\\ud800"', b'"\\u202e"'),
    *(b'"' + b"x" * 100_000 + b'"', b'"\xff"', b'"a/b"', b'"../.."', b'"%00"', b"'"),
    *(b"{}", b"[]", b"[null]", b'{"id": {}}', b'{"a": 1, "a": 2}', b'["x", "x"]'),
    *(b"[" * depth + b"]" * depth for depth in (100, 800, 850, 900, 950, 990, 100_000)),
    b'{"a":' * 900 + b"1" + b"}" * 900,
]
EVENTS: Final[dict[str, list[bytes]]] = {
    "stripe": [
        *(stripe_event(type_, {"order_id": "1001"}) for type_ in [*PAYMENT_EVENTS, "customer.new"]),
        *(
            stripe_event(type_, {"refund": refund_key("1001", "r1")})
            for type_ in sorted(REFUND_EVENTS)
        ),
        *(risk_event(type_, "pi_1") for type_ in sorted(RISK_EVENTS)),
    ],
    "warehouse": [
        parcel_event(f"parcel.{fate}", "1001", "par_1") for fate in ("left", "lost", "delivered")
    ],
    "resend": [
        mail_event("email.bounced", "mail_1", bounce={"type": "Permanent", "subType": "General"}),
        mail_event("email.failed", "mail_1", failed={"reason": "quota"}),
    ],
}


def broken(event: bytes) -> Iterator[bytes]:
    """The event with each of its values replaced by each nasty one, and with each taken out."""
    whole = json.loads(event)
    for path in paths(whole):
        with_hole, without = json.loads(event), json.loads(event)
        for copy in (with_hole, without):
            within = copy
            for name in path[:-1]:
                within = within[name]
            if copy is with_hole:
                within[path[-1]] = _HOLE
            else:
                del within[path[-1]]
        yield json.dumps(without).encode()
        before, after = json.dumps(with_hole).encode().split(json.dumps(_HOLE).encode())
        for value in NASTY:
            yield before + value + after
    yield from NASTY


def paths(value: Any, above: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    members = value.items() if isinstance(value, dict) else enumerate(value)
    for name, member in members:
        yield (*above, name)
        if isinstance(member, dict | list):
            yield from paths(member, (*above, name))


def signed_bytes(sender: str, body: bytes) -> SignedRequest:
    """Signed, also when it is no text."""
    if sender != "stripe":
        return signed(sender, body, event_id="msg_1")
    header = signed(sender, b"{}").headers["stripe-signature"]
    moment = header.split(",")[0].removeprefix("t=")
    digest = hmac.new(STRIPE_SECRET.encode(), f"{moment}.".encode() + body, hashlib.sha256)
    return SignedRequest({"stripe-signature": f"t={moment},v1={digest.hexdigest()}"}, body)


@pytest.fixture(scope="module")
async def opened(temporal_server: Temporal, database: Database) -> AsyncIterator[Post]:
    async with posting(Shop(await temporal_server.connect()), database) as open_:
        yield open_


@pytest.fixture
async def post(opened: Post, caplog: pytest.LogCaptureFixture) -> AsyncIterator[Post]:
    """The edge, which must have delivered what it has taken, without a fault of ours."""
    yield opened
    while await opened.inbox.tell_due():
        pass
    faults = [record.getMessage() for record in caplog.records if record.exc_info]
    assert faults == []
    assert {row.ending for row in await opened.kept()} <= {"told", "nobody", None}
    await opened.forget()


async def is_taken_or_refused(post: Post, sender: str, body: bytes) -> int:
    answer = await post.send(sender, signed_bytes(sender, body))
    about = (sender, body[:300], answer.text[:300])
    assert answer.status_code in {200, 400, 413, 422}, about
    if answer.status_code != 200:
        assert answer.headers["content-type"] == "application/problem+json", about
        assert len(answer.content) < 1_000, about
    return answer.status_code


@pytest.mark.parametrize(
    ("sender", "event"),
    [(sender, event) for sender in SENDERS for event in EVENTS[sender]],
    ids=[f"{sender} {json.loads(event)['type']}" for sender in SENDERS for event in EVENTS[sender]],
)
async def test_an_event_with_a_broken_value(post: Post, sender: str, event: bytes) -> None:
    seen = {await is_taken_or_refused(post, sender, body) for body in broken(event)}
    assert {200, 422} <= seen


NAMES: Final = sorted(
    {
        name
        for events in EVENTS.values()
        for event in events
        for path in paths(json.loads(event))
        for name in path
        if isinstance(name, str)
    }
)
JSON: Final = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), st.text()),
    lambda inner: st.one_of(
        st.lists(inner, max_size=4),
        st.dictionaries(st.one_of(st.text(), st.sampled_from(NAMES)), inner, max_size=5),
    ),
    max_leaves=20,
)


@pytest.mark.parametrize("sender", SENDERS)
async def test_any_json_and_any_bytes(post: Post, sender: str) -> None:
    bodies: list[bytes] = []

    @settings(max_examples=200, derandomize=True, database=None)
    @given(st.one_of(JSON.map(lambda value: json.dumps(value).encode()), st.binary(max_size=200)))
    def collect(body: bytes) -> None:
        bodies.append(body)

    collect()
    for body in bodies:
        await is_taken_or_refused(post, sender, body)


def len_of(age: int) -> str:
    return f"{'-' if age < 0 else ''}{len(str(abs(age)))} digits"


@pytest.mark.parametrize("sender", SENDERS)
@pytest.mark.parametrize(
    "age", [10**9, -(10**9), 10**18, -(10**18), 10**400, -(10**400)], ids=len_of
)
async def test_any_time_of_the_signature(post: Post, sender: str, age: int) -> None:
    letter = signed(sender, EVENTS[sender][0], age=age)
    is_problem(await post.send(sender, letter), 400, "signature")
    assert await post.kept() == []


@pytest.mark.parametrize("sender", [sender for sender in SENDERS if sender != "stripe"])
@pytest.mark.parametrize("event_id", [" ", "é", "x" * 5_000, "a b", "a.b.c", "../x"])
async def test_any_id_in_the_headers(post: Post, sender: str, event_id: str) -> None:
    letter = signed(sender, EVENTS[sender][0], event_id=event_id)
    headers = [(name.encode(), text.encode()) for name, text in letter.headers.items()]
    answer = await post.http.post(f"/webhooks/{sender}", content=letter.body, headers=headers)
    assert answer.status_code in {200, 400, 422}
