"""A neighbour's own words are in no error and in no answer: only its codes and our sentences."""

from __future__ import annotations

import json
import traceback
from collections.abc import Awaitable, Callable
from contextlib import AbstractAsyncContextManager, nullcontext
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final

import pytest

from durable_orders.domain.money import Money
from durable_orders.domain.order import Recipient
from durable_orders.domain.ports import (
    Mail,
    NoAnswerError,
    ProviderError,
    ShippingRefused,
    ShippingRequest,
)
from durable_orders.domain.webhooks import UnreadableEventError
from durable_orders.providers.http_replies import bounded_code
from durable_orders.providers.resend.mailer import ResendMailer
from durable_orders.providers.stripe.account import read_account
from durable_orders.providers.stripe.disputes import StripeDisputes
from durable_orders.providers.stripe.listing import StripeChargeListing
from durable_orders.providers.warehouse.client import HttpWarehouse
from tests.contracts.signing import READERS, signed
from tests.support.keys import INSTALLATION
from tests.support.words import SAID, traces_in
from tests.unit.canned import answering, http, saying

ADA: Final = Recipient("Ada Lovelace", "ada@example.com", "12 St James's Square\nLondon")
REQUEST: Final = ShippingRequest("t-1", ADA, (("MUG", 2),), INSTALLATION)
MAIL: Final = Mail(ADA.email, "Your order", "<p>Hi</p>", "Hi")
EUR: Final = Money(42_00, "EUR")
NOW: Final = datetime(2026, 3, 1, tzinfo=UTC)


@dataclass(frozen=True)
class Conversation:
    """One question to one neighbour, through its real client."""

    client: Callable[[str], AbstractAsyncContextManager[Any]]
    ask: Callable[[Any], Awaitable[object]]


def _warehouse_ask(ask: Callable[[HttpWarehouse], Awaitable[object]]) -> Conversation:
    return Conversation(lambda url: HttpWarehouse(url, "key"), ask)


def _stripe_ask(ask: Callable[[StripeChargeListing], Awaitable[object]]) -> Conversation:
    return Conversation(lambda url: StripeChargeListing("sk_test_secret", api_base=url), ask)


ASKED: Final[dict[str, Conversation]] = {
    "fulfil": _warehouse_ask(lambda it: it.fulfill(REQUEST, key="k")),
    "read": _warehouse_ask(lambda it: it.read(REQUEST)),
    "resend": _warehouse_ask(
        lambda it: it.resend("t-1", "par_1", installation=INSTALLATION, key="k")
    ),
    "cancel": _warehouse_ask(lambda it: it.cancel("t-1", installation=INSTALLATION)),
    "create": _stripe_ask(
        lambda it: it.create(installation=INSTALLATION, order_id="t-1", amount=EUR, key="k")
    ),
    "confirm": _stripe_ask(lambda it: it.confirm("pi_1", payment_method="pm_1", key="k")),
    "read a payment": _stripe_ask(lambda it: it.read("pi_1")),
    "cancel a payment": _stripe_ask(lambda it: it.cancel("pi_1")),
    "capture": _stripe_ask(lambda it: it.capture("pi_1", key="k")),
    "refund": _stripe_ask(
        lambda it: it.refund("pi_1", EUR, installation=INSTALLATION, order_id="t-1", key="k")
    ),
    "list payments": _stripe_ask(lambda it: it.charges(frozenset({"t"}), NOW, NOW, None, 9)),
    "list refunds": _stripe_ask(lambda it: it.refunds(frozenset({"t"}), NOW, NOW, None, 9)),
    "disputes": _stripe_ask(lambda it: StripeDisputes(it).risks_of("pi_1")),
    "evidence": _stripe_ask(
        lambda it: StripeDisputes(it).submit_evidence("du_1", {}, submit=True, key="k")
    ),
    "account": Conversation(nullcontext, lambda url: read_account("rk_test_1", api_base=url)),
    "mail": Conversation(
        lambda url: ResendMailer("re_1", sender="shop@example.org", api_url=url),
        lambda it: it.send(MAIL, key="k"),
    ),
}
STATUSES: Final = (200, 302, 400, 401, 402, 403, 404, 408, 409, 422, 429, 451, 500, 503)


def _replies(words: str) -> dict[str, bytes]:
    """Answers that have these words wherever a neighbour may put any."""
    line = " ".join(words.split()).encode("ascii", "ignore").decode()
    problem = {
        "type": "card_error",
        "code": words,
        "decline_code": words,
        "param": words,
        "doc_url": words,
        "message": words,
    }
    replies = {
        f"{status} {kind}": http(
            status, {"error": {**problem, "code": code}, "name": name, "message": words}
        )
        for status in STATUSES
        for kind, code, name in (
            ("coded", "cannot_fulfill", "validation_error"),
            ("other", words, words),
        )
    }
    head = f"HTTP/1.1 400 {line[:200]}\r\nRequest-Id: {line[:200]}\r\nRetry-After: {line[:200]}\r\n"
    return {
        **replies,
        "no JSON": http(200, words),
        "a JSON text": http(200, {"id": words, "object": words, "status": words, "outcome": words}),
        "members": http(200, {words: words, "data": [{words: words}], "error": words}),
        "a list": http(200, [words]),
        "no HTTP": f"{line[:500]}\r\n\r\n".encode(),
        "a strange header": f"HTTP/1.1 200 OK\r\n{line[:500]}\r\n\r\n".encode(),
        "a strange length": f"HTTP/1.1 200 OK\r\nContent-Length: {line[:99]}\r\n\r\n".encode(),
        "a bad compression": f"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\n\r\n{line}".encode(),
        "a strange head": f"{head}\r\n{json.dumps({'error': problem})}".encode(),
    }


async def outcome(asked: Awaitable[object]) -> tuple[str, object]:
    """What histories and logs would have of it: the answer or the error with all its causes."""
    try:
        answer = await asked
    except ProviderError as error:
        return "".join(traceback.format_exception(error)), error
    if isinstance(answer, ShippingRefused):
        return answer.code, answer  # its words are for the order's own history
    return repr(answer), answer


@pytest.mark.parametrize("words", SAID.values(), ids=SAID.keys())
@pytest.mark.parametrize("asked", ASKED)
async def test_no_error_and_no_answer_repeats_a_neighbours_words(asked: str, words: str) -> None:
    conversation = ASKED[asked]
    async with saying() as (url, replies), conversation.client(url) as client:
        for kind, reply in _replies(words).items():
            replies.append(reply)
            text, _ = await outcome(conversation.ask(client))
            assert traces_in(text) == [], (kind, text)


@pytest.mark.parametrize("asked", ["fulfil", "read", "resend", "cancel"])
async def test_the_warehouses_words_are_apart_from_the_sentence_and_bounded(asked: str) -> None:
    words = "The roof leaks. " * 1_000
    reply = http(500, {"error": {"code": "internal_error", "message": words}})
    async with answering(reply) as url, ASKED[asked].client(url) as client:
        _, error = await outcome(ASKED[asked].ask(client))
    assert isinstance(error, NoAnswerError)
    assert "internal_error" in str(error)
    assert "roof" not in str(error)
    assert error.said.startswith("The roof leaks.")
    assert len(error.said) <= 300


@pytest.mark.parametrize(
    ("code", "as_is"),
    [
        ("insufficient_funds", True),
        ("a" * 80, True),
        ("a" * 81, False),
        ("Ada Lovelace", False),
        ("ada-lovelace", False),
        ("ada\n", False),
        ("\u00e4", False),
        (7, False),
        (["ada"], False),
    ],
)
def test_a_code_is_bounded_and_holds_no_sentence(code: Any, as_is: bool) -> None:  # noqa: FBT001
    assert bounded_code(code) == (code if as_is else "unknown")
    assert bounded_code(None) == bounded_code("") == ""


EVENTS: Final[dict[str, Callable[[str], dict[str, Any]]]] = {
    "resend": lambda words: {
        "type": "email.bounced",
        "data": {
            "email_id": "m-1",
            "tags": {"installation": INSTALLATION, words: 7, "ada": words},
            "bounce": {"type": words, "subType": words, "reason": words, "message": words},
        },
    },
    "warehouse": lambda words: {
        "type": words,
        "order_id": words,
        "parcel": {"id": words, "tracking": words, words: words},
    },
    "stripe": lambda words: {
        "id": words,
        "type": words,
        "data": {"object": {"metadata": {words: words}, "payment_intent": words}},
    },
}


@pytest.mark.parametrize("words", SAID.values(), ids=SAID.keys())
@pytest.mark.parametrize("source", EVENTS)
def test_no_webhook_brings_a_neighbours_words_in(source: str, words: str) -> None:
    body = json.dumps(EVENTS[source](words)).encode()
    letter = signed(source, body)
    try:
        read = repr(READERS[source].read(letter.headers, letter.body))
    except UnreadableEventError as error:
        read = str(error)
    assert traces_in(read) == []
