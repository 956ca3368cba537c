"""A neighbour's own words are in no history and in no log, only in the lines of the order."""

from __future__ import annotations

import json
import logging
from collections import Counter
from datetime import timedelta
from typing import Any, Final

import pytest
from temporalio.client import WorkflowHandle

from durable_orders.domain.lifecycle import Status, StopReason
from durable_orders.domain.parcels import ParcelStatus
from durable_orders.domain.ports import RefusedError
from durable_orders.domain.terms import ShopTerms
from durable_orders.domain.views import WAREHOUSE_SAID, without_personal_data
from durable_orders.domain.workflow_messages import ParcelUpdate, ResendParcel, SettleParcel
from durable_orders.providers.resend.mailer import ResendMailer
from durable_orders.providers.stripe.cards import StripeCards
from durable_orders.providers.warehouse.client import HttpWarehouse
from tests.support.eventually import eventually
from tests.support.words import SAID, as_text, traces_in
from tests.unit.canned import Request, answering, http, serving
from tests.workflows.conftest import Clients, Shop, ended
from tests.workflows.test_waiting import refused
from workflows.order import OrderWorkflow

WORDS: Final = list(SAID.values())


class Warehouse:
    """A warehouse over HTTP: the ``plan`` says how often each call fails, and it never says it in
    the same words.
    """

    def __init__(self, **plan: int) -> None:
        self._left = Counter(plan)
        self._spoken = 0

    def problem(self, status: int, code: str) -> bytes:
        self._spoken += 1
        words = f"{self._spoken}: {WORDS[self._spoken % len(WORDS)]}"
        return http(status, {"error": {"code": code, "message": words}})

    def __call__(self, request: Request) -> bytes:
        reference = request.target.split("/")[2] if request.target.count("/") > 1 else ""
        call = request.target.rpartition("/")[2]
        if self._left[call] > 0:
            self._left[call] -= 1
            return self.problem(400 if self._left[call] % 2 else 500, "internal_error")
        match call:
            case "fulfillments":
                reference = json.loads(request.body)["order_id"]
                if self._left["refusals"]:
                    return self.problem(422, "cannot_fulfill")
                parcels = [{"id": "par_1", "lines": []}]
                return self._answer(reference, id="ful_1", parcels=parcels)
            case "cancel":
                return self._answer(reference, outcome="recalled")
            case _:
                return self.problem(422, "cannot_fulfill")

    def _answer(self, reference: str, **more: Any) -> bytes:
        return http(200, {"order_id": reference, **more})


@pytest.fixture
async def shop(clients: Clients) -> Shop:
    """A shop where nobody works yet."""
    terms = ShopTerms(delivery_deadline=timedelta(days=30))
    return Shop(clients.skipping, clients.patient, terms=terms)


async def said(shop: Shop, order_id: str) -> dict[str, str]:
    view = await shop.book.view(order_id)
    assert traces_in(json.dumps(without_personal_data(view), default=str)) == []
    lines = (line.detail for line in view.history if line.event == WAREHOUSE_SAID)
    return {detail["about"]: detail["words"] for detail in lines}


async def leaves_no_trace(
    handle: WorkflowHandle[Any, Any], caplog: pytest.LogCaptureFixture
) -> None:
    assert traces_in(as_text(await handle.fetch_history())) == []
    described = await handle.describe()
    assert traces_in(str(described.raw_description)) == []
    formatter = logging.Formatter()
    assert traces_in("\n".join(map(formatter.format, caplog.records))) == []


async def test_a_warehouse_that_refuses_and_fails_is_in_no_history(
    shop: Shop, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    neighbour = Warehouse(fulfillments=1, cancel=9, refusals=1)
    async with (
        serving(neighbour) as url,
        HttpWarehouse(url, "key") as warehouse,
        shop.worker(shop.client, warehouse=warehouse),
    ):
        handle = await shop.order()
        outcome = await handle.result()
    assert outcome.status is Status.REFUNDED
    assert outcome.stop is not None
    assert outcome.stop.reason is StopReason.CANNOT_FULFILL
    await leaves_no_trace(handle, caplog)
    told = await said(shop, outcome.order_id)
    # Once for what it is about, however often it says something else.
    assert sorted(told) == [
        "cancel, no answer",
        "cancel, refused",
        "fulfil, no answer",
        "fulfil, refused",
    ]
    assert all(0 < len(words) <= 300 for words in told.values())
    assert not any(character in "\x1b\x9b\u202e\u2028\n" for character in "".join(told.values()))


async def test_a_warehouse_that_does_not_resend_is_in_no_history(
    shop: Shop, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    neighbour = Warehouse(resend=1)
    async with (
        serving(neighbour) as url,
        HttpWarehouse(url, "key") as warehouse,
        shop.worker(shop.client, warehouse=warehouse),
    ):
        handle = await shop.order(waits=True)
        order_id = handle.id.removeprefix("order-")

        async def accepted() -> bool:
            return (await shop.book.get(order_id)).status is Status.FULFILLED

        await eventually(accepted)
        for status in (ParcelStatus.SHIPPED, ParcelStatus.LOST):
            await handle.signal(OrderWorkflow.parcel_updated, ParcelUpdate("par_1", status))
        resend = ResendParcel("par_1", "ops-7")
        refusal = await refused(handle.execute_update(OrderWorkflow.resend_parcel, resend))
        assert traces_in(str(refusal.message)) == []
        settle = SettleParcel("par_1", "agreed", "ops-7")
        await handle.execute_update(OrderWorkflow.settle_parcel, settle)
        assert (await handle.result()).status is Status.COMPLETED
    await leaves_no_trace(handle, caplog)
    assert "resend par_1, no answer" in await said(shop, order_id)


INTENT: Final = {
    "id": "pi_1",
    "object": "payment_intent",
    "amount": 2900,
    "amount_received": 0,
    "currency": "eur",
    "status": "requires_confirmation",
    "last_payment_error": None,
}


def declined(words: str) -> list[bytes]:
    """Stripe's answers of an order whose card is declined: created, confirmed, read, cancelled."""
    problem = {
        "type": "card_error",
        "code": "card_declined",
        "decline_code": words,
        "message": words,
    }
    after = {**INTENT, "status": "requires_payment_method", "last_payment_error": problem}
    return [
        http(200, INTENT),
        http(402, {"error": {**problem, "payment_intent": after}}),
        http(200, after),
        http(200, after),
        http(200, {**after, "status": "canceled"}),
    ]


@pytest.mark.parametrize("words", SAID.values(), ids=SAID.keys())
async def test_what_stripe_and_resend_say_is_in_no_history(
    shop: Shop, caplog: pytest.LogCaptureFixture, words: str
) -> None:
    caplog.set_level(logging.DEBUG)
    refusal = http(422, {"name": "validation_error", "message": words})
    async with (
        answering(*declined(words)) as stripe_url,
        answering(refusal) as resend_url,
        StripeCards("sk_test_secret", api_base=stripe_url) as cards,
        ResendMailer("re_1", sender="shop@example.org", api_url=resend_url) as mailer,
        shop.worker(shop.client, cards=cards, mailer=mailer),
    ):
        handle = await shop.order()
        outcome = await ended(handle)
    assert outcome.status is Status.REJECTED
    assert outcome.stop is not None
    assert outcome.stop.reason is StopReason.CARD_DECLINED
    assert outcome.stop.message == "the bank declined: unknown"
    await leaves_no_trace(handle, caplog)
    view = await shop.book.view(outcome.order_id)
    assert traces_in(str(view.history)) == []
    [mail] = [line.detail for line in view.history if line.event == "closing_mail_refused"]
    assert mail == {"why": "Resend refuses the mail (HTTP 422): validation_error"}


async def test_a_refusal_of_ours_has_no_words(shop: Shop) -> None:
    shop.warehouse.fail_next("cancel", RefusedError("refused (cancel, HTTP 400)", said=WORDS[0]))
    order_id = await shop.place()
    shop.warehouse.refuse(order_id, WORDS[1])
    async with shop.worker(shop.client):
        handle = await shop.start(order_id)
        assert (await handle.result()).status is Status.REFUNDED
    assert traces_in(as_text(await handle.fetch_history())) == []
    lines = (await shop.book.view(order_id)).history
    told = {line.detail["about"]: line.detail["words"] for line in lines if "words" in line.detail}
    assert told == {"cancel, refused": WORDS[0], "fulfil, refused": WORDS[1]}
