"""Ids that others give: any that can be one is taken as it is, any other is no answer."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from functools import partial
from typing import Any, Final

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from durable_orders.domain.ids import (
    parcel_refund_id,
    refund_of_key,
    undo_refund_key,
    warning_refund_id,
    won_refund_id,
)
from durable_orders.domain.installation import MARK
from durable_orders.domain.order import Recipient
from durable_orders.domain.ports import Mail, NoAnswerError, ShippingRequest
from durable_orders.domain.webhooks import UnreadableEventError
from durable_orders.providers.resend.mailer import ResendMailer
from durable_orders.providers.stripe.cards import StripeCards
from durable_orders.providers.stripe.disputes import StripeDisputes
from durable_orders.providers.stripe.listing import StripeChargeListing
from durable_orders.providers.warehouse.client import HttpWarehouse
from tests.contracts.signing import READERS, signed
from tests.support.keys import INSTALLATION
from tests.unit.canned import http, saying

NOW: Final = datetime(2026, 3, 1, tzinfo=UTC)
ADA: Final = Recipient("Ada Lovelace", "ada@example.com", "12 St James's Square\nLondon")
REQUEST: Final = ShippingRequest("t-1", ADA, (("MUG", 2),), INSTALLATION)
REFERENCE: Final = f"{INSTALLATION}-t-1"
OURS: Final = frozenset({INSTALLATION})

#: Control characters of ASCII and the others, separators, marks and overrides of direction, what is
#: not seen, half a character, tags.
UNSEEN: Final = [chr(code) for code in (*range(32), *range(0x7F, 0xA0))] + list(
    "\u00ad\u061c\u180e\u200b\u200c\u200d\u200e\u200f\u2028\u2029\u202a\u202b\u202c\u202d\u202e"
    "\u2060\u2066\u2067\u2068\u2069\u206a\ufeff\ufff9\U000e0001\U000e0041"
)
plain: Final = st.from_regex(r"[A-Za-z0-9][A-Za-z0-9_.~-]{0,254}", fullmatch=True)
generous: Final = (
    st.text(st.characters(exclude_categories=["C", "Z", "M"]) | st.just(" "), max_size=200)
    .map(lambda text: f"{text}7")
    .filter(lambda text: not set(text) & set("\u115f\u1160\u3164\uffa0"))
)


def broken(good: st.SearchStrategy[str]) -> st.SearchStrategy[Any]:
    """Ids that cannot be one: with something unseen in them, too long, empty, or no text."""
    unseen = st.tuples(good, st.sampled_from(UNSEEN), st.integers(0, 255)).map(
        lambda parts: f"{parts[0][: parts[2]]}{parts[1]}{parts[0][parts[2] :]}"
    )
    too_long = good.map(lambda text: text.ljust(256, "x"))
    return unseen | too_long | st.sampled_from(["", " ", None, 7, [], {}, "x" * 100_000])


@dataclass(frozen=True)
class Named:
    """An answer that names something, and where the client has that name."""

    client: Callable[[str], AbstractAsyncContextManager[Any]]
    ask: Callable[[Any], Awaitable[Any]]
    body: Callable[[Any], object]
    found: Callable[[Any], object]
    good: st.SearchStrategy[str] = plain
    #: It may be left out: null is none.
    optional: bool = False


def warehouse(
    ask: Callable[[HttpWarehouse], Awaitable[Any]],
    body: Callable[[Any], dict[str, object]],
    found: Callable[[Any], object],
) -> Named:
    return Named(
        lambda url: HttpWarehouse(url, "key"),
        ask,
        lambda id_: {"order_id": REFERENCE, **body(id_)},
        found,
        generous,
    )


def stripe(
    ask: Callable[[StripeChargeListing], Awaitable[Any]],
    one: Callable[[Any], dict[str, object]],
    found: Callable[[Any], object],
) -> Named:
    return Named(
        lambda url: StripeChargeListing("sk_test_secret", api_base=url),
        ask,
        lambda id_: {"object": "list", "has_more": False, "url": "/v1/x", "data": [one(id_)]},
        lambda page: found(page.items[0]),
    )


def intent(**more: object) -> dict[str, object]:
    return {
        "id": "pi_1",
        "object": "payment_intent",
        "amount": 4200,
        "amount_received": 0,
        "currency": "eur",
        "created": 1_700_000_000,
        "status": "requires_confirmation",
        "latest_charge": None,
        "metadata": {MARK: INSTALLATION, "order_id": "t-1"},
        **more,
    }


def refund(**more: object) -> dict[str, object]:
    return {
        "id": "re_1",
        "object": "refund",
        "amount": 4200,
        "currency": "eur",
        "created": 1_700_000_000,
        "status": "succeeded",
        "payment_intent": "pi_1",
        "metadata": {MARK: INSTALLATION},
        **more,
    }


def dispute(**more: object) -> dict[str, object]:
    return {
        "id": "du_1",
        "object": "dispute",
        "amount": 4200,
        "currency": "eur",
        "created": 1_700_000_000,
        "status": "lost",
        "reason": "fraudulent",
        "payment_intent": "pi_1",
        "balance_transactions": [],
        "evidence_details": {"due_by": None, "submission_count": 0},
        **more,
    }


def warning(**more: object) -> dict[str, object]:
    return {
        "id": "issfr_1",
        "object": "radar.early_fraud_warning",
        "created": 1_700_000_000,
        "fraud_type": "misc",
        "actionable": True,
        "payment_intent": "pi_1",
        **more,
    }


def review(**more: object) -> dict[str, object]:
    return {
        "id": "prv_1",
        "object": "review",
        "created": 1_700_000_000,
        "open": True,
        "opened_reason": "rule",
        "closed_reason": None,
        "payment_intent": "pi_1",
        **more,
    }


def charges(it: StripeChargeListing) -> Awaitable[Any]:
    return it.charges(OURS, NOW, NOW, None, 9)


def refunds(it: StripeChargeListing) -> Awaitable[Any]:
    return it.refunds(OURS, NOW, NOW, None, 9)


def disputes(it: StripeChargeListing) -> Awaitable[Any]:
    return StripeDisputes(it).disputes(NOW, NOW, None, 9)


def warnings(it: StripeChargeListing) -> Awaitable[Any]:
    return StripeDisputes(it).warnings(NOW, NOW, None, 9)


def reviews(it: StripeChargeListing) -> Awaitable[Any]:
    return StripeDisputes(it).reviews(NOW, NOW, None, 9)


def last_of_a_page(thing: Callable[..., dict[str, object]], id_: object) -> object:
    """A page whose last thing is another installation's: nothing else of it is looked at."""
    one = thing(id=id_, metadata={MARK: "other"}, payment_intent=None)
    return {"object": "list", "has_more": True, "url": "/v1/x", "data": [one]}


NAMED: Final[dict[str, Named]] = {
    "fulfillment": warehouse(
        lambda it: it.fulfill(REQUEST, key="k"),
        lambda id_: {"id": id_, "parcels": [{"id": "par_1"}]},
        lambda answer: answer.fulfillment_id,
    ),
    "parcel": warehouse(
        lambda it: it.fulfill(REQUEST, key="k"),
        lambda id_: {"id": "ful_1", "parcels": [{"id": "par_1"}, {"id": id_}]},
        lambda answer: answer.parcel_ids[1],
    ),
    "parcel that left": warehouse(
        lambda it: it.cancel("t-1", installation=INSTALLATION),
        lambda id_: {"id": "ful_1", "outcome": "already_left", "parcels": [{"id": id_}]},
        lambda answer: answer.parcel_ids[0],
    ),
    "parcel sent again": warehouse(
        lambda it: it.resend("t-1", "par_0", installation=INSTALLATION, key="k"),
        lambda id_: {"id": "ful_1", "parcel": {"id": id_}},
        lambda answer: answer.parcel_id,
    ),
    "parcel in the record": warehouse(
        lambda it: it.read(REQUEST),
        lambda id_: {
            "id": "ful_1",
            "parcels": [{"id": id_, "lines": [{"sku": "MUG", "quantity": 2}]}],
        },
        lambda answer: answer.parcel_ids[0],
    ),
    "payment": stripe(charges, lambda id_: intent(id=id_), lambda one: one.charge.payment_id),
    "charge": replace(
        stripe(
            charges,
            lambda id_: intent(latest_charge=id_),
            lambda one: one.charge.latest_charge,
        ),
        optional=True,
    ),
    "client secret": Named(
        lambda url: StripeCards("sk_test_secret", api_base=url),
        lambda it: it.client_secret("pi_1"),
        lambda id_: intent(client_secret=id_),
        lambda secret: secret,
    ),
    **{
        f"last {name} of a page": Named(
            lambda url: StripeChargeListing("sk_test_secret", api_base=url),
            ask,
            partial(last_of_a_page, thing),
            lambda page: page.cursor,
        )
        for name, ask, thing in (
            ("payment", charges, intent),
            ("refund", refunds, refund),
            ("dispute", disputes, dispute),
            ("warning", warnings, warning),
            ("review", reviews, review),
        )
    },
    "refund": stripe(refunds, lambda id_: refund(id=id_), lambda one: one.refund.refund_id),
    "refunded payment": stripe(
        refunds,
        lambda id_: refund(payment_intent={"id": id_, "object": "payment_intent"}),
        lambda one: one.payment_id,
    ),
    "dispute": stripe(
        disputes,
        lambda id_: dispute(id=id_),
        lambda one: one.dispute_id,
    ),
    "disputed payment": stripe(
        disputes,
        lambda id_: dispute(payment_intent={"id": id_, "object": "payment_intent"}),
        lambda one: one.payment_id,
    ),
    "warning": stripe(
        warnings,
        lambda id_: warning(id=id_),
        lambda one: one.warning_id,
    ),
    "review": stripe(
        reviews,
        lambda id_: review(id=id_),
        lambda one: one.review_id,
    ),
    "mail": Named(
        lambda url: ResendMailer("re_1", sender="shop@example.org", api_url=url),
        lambda it: it.send(Mail("ada@example.com", "Hi", "<p>Hi</p>", "Hi"), key="k"),
        lambda id_: {"id": id_},
        lambda answer: answer.mail_id,
    ),
}


def ask_each(named: Named, ids: list[Any]) -> list[Any]:
    """The name that the client has found for each id; the error where it was no answer."""

    async def work() -> list[Any]:
        found: list[Any] = []
        async with saying() as (url, replies), named.client(url) as client:
            for id_ in ids:
                replies.append(http(200, named.body(id_)))
                try:
                    found.append(named.found(await named.ask(client)))
                except NoAnswerError as error:
                    found.append(error)
        return found

    return asyncio.run(work())


@pytest.mark.parametrize("kind", NAMED)
@settings(max_examples=6, deadline=None)
@given(data=st.data())
def test_an_id_that_can_be_one_is_taken_as_it_is(kind: str, data: st.DataObject) -> None:
    named = NAMED[kind]
    ids = data.draw(st.lists(named.good, min_size=5, max_size=5))
    assert ask_each(named, ids) == ids


@pytest.mark.parametrize("kind", NAMED)
@settings(max_examples=6, deadline=None)
@given(data=st.data())
def test_an_answer_with_any_other_is_no_answer_and_does_not_repeat_it(
    kind: str, data: st.DataObject
) -> None:
    named = NAMED[kind]
    ids = data.draw(st.lists(broken(named.good), min_size=10, max_size=10))
    ids = [id_ for id_ in ids if id_ is not None or not named.optional]
    for id_, found in zip(ids, ask_each(named, ids), strict=True):
        assert isinstance(found, NoAnswerError), (id_, found)
        assert "makes no sense" in str(found)
        assert len(str(found)) < 200
        assert str(found).isprintable()


NUMBERS: Final = [10**16, 10**400, -(10**16), 1e300, "42", [], {}]
#: What is not of the documented shape, though its ids are; where it is; and who reads it.
SENSELESS: Final = {
    "amount": (charges, intent, NUMBERS),
    "amount of a refund": (refunds, refund, NUMBERS),
    "amount of a dispute": (disputes, dispute, NUMBERS),
    "created": (charges, intent, NUMBERS[:3]),
    "created, of a dispute": (disputes, dispute, NUMBERS[:3]),
    "currency": (charges, intent, ["", "e", "eu\x00", "€uro", 7, "x" * 100_000]),
    "currency of a refund": (refunds, refund, ["", "e", "eu\x00", "€uro", 7, "x" * 100_000]),
    "status": (charges, intent, ["", "paid\x00", 7, "x" * 100_000]),
    "status of a refund": (refunds, refund, ["", "paid\x00", 7, "x" * 100_000]),
    "actionable": (warnings, warning, ["yes", 1, "\x00"]),
    "open": (reviews, review, ["yes", 1, "\x00"]),
}


@pytest.mark.parametrize("what", SENSELESS)
async def test_what_no_book_could_hold_is_no_answer_either(what: str) -> None:
    """Our database would refuse it for good, and the order with it."""
    ask, thing, values = SENSELESS[what]
    field = what.replace(",", "").split()[0]
    async with (
        saying() as (url, replies),
        StripeChargeListing("sk_test_secret", api_base=url) as client,
    ):
        for value in values:
            one = thing(**{field: value})
            page = {"object": "list", "has_more": False, "url": "/v1/x", "data": [one]}
            replies.append(http(200, page))
            with pytest.raises(NoAnswerError, match="makes no sense") as error:
                await ask(client)
            assert len(str(error.value)) < 200


@pytest.mark.parametrize("character", UNSEEN, ids=ascii)
def test_nothing_unseen_is_in_an_id_of_a_webhook(character: str) -> None:
    strange = f"a{character}b"
    parcel = {"type": "parcel.left", "order_id": REFERENCE, "parcel": {"id": strange}}
    tracked = {**parcel, "parcel": {"id": "par_1", "tracking": strange}}
    mail = {"type": "email.bounced", "data": {"email_id": strange, "tags": {MARK: INSTALLATION}}}
    event = {"id": strange, "type": "refund.updated", "data": {"object": {}}}
    for source, body in (
        ("warehouse", parcel),
        ("warehouse", tracked),
        ("resend", mail),
        ("stripe", event),
    ):
        letter = signed(source, json.dumps(body).encode())
        with pytest.raises(UnreadableEventError):
            READERS[source].read(letter.headers, letter.body)
    about = {"payment_intent": f"pi_{strange}"}
    for type_ in ("refund.updated", "charge.dispute.created"):
        body = {"id": "evt_1", "type": type_, "data": {"object": about}}
        letter = signed("stripe", json.dumps(body).encode())
        assert READERS["stripe"].read(letter.headers, letter.body).news is None


@given(plain, plain)
def test_every_such_id_makes_ids_and_keys_of_ours(id_: str, other: str) -> None:
    for make in (parcel_refund_id, warning_refund_id, won_refund_id):
        assert len(make(id_)) <= 64
        assert (make(id_) == make(other)) == (id_ == other)
    if len(id_) < 150:
        assert refund_of_key(undo_refund_key("t", "1001", id_)) == ("1001", "undo")
