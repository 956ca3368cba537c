"""What operators decide about orders, and what the pages say of what became of it."""

from __future__ import annotations

from datetime import timedelta

import pytest

from durable_orders.api.app import create_app
from durable_orders.clients.connection import connect
from durable_orders.clients.order_operations import OrderOperations
from durable_orders.clients.orders import OrderClient
from durable_orders.clients.refunds import RefundClient
from durable_orders.domain.activity_messages import CancelAnswer, CancelUnderWay
from durable_orders.domain.lifecycle import Status
from durable_orders.domain.order import FutureUsage, PaymentOptions
from durable_orders.domain.ports import NoAnswerError, RefusedError
from durable_orders.settings import temporal_profile
from durable_orders.store.orders import PostgresOrderRepository
from durable_orders.store.refunds import PostgresRefundBook
from tests.api.admin_pages import (
    Operator,
    Premises,
    cards,
    closed_premises,
    operator,
    premises,
    said,
    text_of,
    usual_edge,
    warehouse,
)
from tests.fakes.cards import ELEVATED_RISK
from tests.support.eventually import eventually

__all__ = ["cards", "closed_premises", "operator", "premises", "usual_edge", "warehouse"]

SOON = timedelta(milliseconds=10)
NEVER = timedelta(hours=3)


async def buttons(operator: Operator, order_id: str) -> set[str]:
    """What the order's page offers to do."""
    page = (await operator.http.get(f"/operator/orders/{order_id}")).text
    names = ["approve", "reject", "cancel", "retry-now", "skip-step", "resolve", "refund"]
    return {name for name in names if f'href="/operator/orders/{order_id}/{name}"' in page}


async def warehouse_has_failed(premises: Premises) -> None:
    """Return once it has, as often as it was told to."""

    async def over() -> bool:
        return premises.warehouse.is_over("fulfill")

    await eventually(over)


async def needs_attention(premises: Premises, order_id: str) -> None:
    """Return once it does, because of the warehouse."""
    await is_listed(premises, order_id)
    await warehouse_has_failed(premises)


async def is_listed(premises: Premises, order_id: str) -> None:
    """Return once the order is among what needs a person."""

    async def flagged() -> bool:
        return order_id in [one.order_id for one in await premises.operations.attention()]

    await eventually(flagged)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (PaymentOptions("cus_NffrFeUfNV2Hib"), "At Stripe cus_NffrFeUfNV2Hib Placed"),
        (PaymentOptions("cus_1", off_session=True), "At Stripe cus_1, away: a saved card"),
        (
            PaymentOptions("cus_1", setup_future_usage=FutureUsage.ON_SESSION),
            "At Stripe cus_1, to save the card",
        ),
    ],
)
async def test_an_order_shows_whose_card_it_is(
    operator: Operator, premises: Premises, options: PaymentOptions, said: str
) -> None:
    order_id = await premises.place(options=options)
    page = (await operator.http.get(f"/operator/orders/{order_id}")).text
    assert said in text_of(page)


async def test_an_order_that_waits_is_approved_in_the_operator_s_name(
    operator: Operator, premises: Premises
) -> None:
    order_id = await premises.start(until="waiting for approval", flagged=True)
    front = text_of((await operator.http.get("/operator")).text)
    assert f"Order {order_id} awaiting approval 29.00 EUR, placed" in front
    assert await buttons(operator, order_id) == {"approve", "reject", "cancel"}

    page = await operator.decide(order_id, "approve", why="called the customer")

    assert said(page) == f"Done. Order {order_id} is approved and goes on."
    assert said(await operator.http.get(f"/operator/orders/{order_id}")) == ""  # said once
    await premises.ends(order_id, Status.COMPLETED)
    who = {"by": operator.name, "actor": operator.name}
    expected = ("order_approved", {**who, "note": "called the customer"})
    assert expected in await premises.history(order_id)
    assert await buttons(operator, order_id) == {"refund"}


async def test_an_order_that_waits_is_rejected_with_a_reason(
    operator: Operator, premises: Premises
) -> None:
    order_id = await premises.start(until="waiting for approval", flagged=True)
    unreasoned = await operator.decide(order_id, "reject", why="  ")
    assert unreasoned.status_code == 422
    assert said(unreasoned) == "Not done. Say why: it is kept with the order."
    assert (await premises.orders.status(order_id)).status is Status.AWAITING_APPROVAL

    page = await operator.decide(order_id, "reject", why="a stolen card")

    assert "is rejected" in said(page)
    await premises.ends(order_id, Status.REJECTED)
    detail = {"by": operator.name, "actor": operator.name, "reason": "a stolen card"}
    assert ("order_not_approved", detail) in await premises.history(order_id)


async def held_for_review(operator: Operator, premises: Premises) -> str:
    """An order whose payment is in review, as the pages show it."""
    order_id = await premises.start(payment_method=ELEVATED_RISK)
    await premises.reaches(order_id, "waiting for a decision about the payment")
    await is_listed(premises, order_id)
    front = text_of((await operator.http.get("/operator")).text)
    assert f"Order {order_id} paid waits for a decision payment since" in front
    page = await operator.http.get(f"/operator/orders/{order_id}")
    told = "is open at the card provider: nothing is sent before it is decided"
    assert told in text_of(page.text)
    assert "keeps failing" not in text_of(page.text)
    assert await buttons(operator, order_id) == {"approve", "reject", "cancel"}
    return order_id


async def test_an_order_whose_payment_is_in_review_is_let_go_on(
    operator: Operator, premises: Premises
) -> None:
    order_id = await held_for_review(operator, premises)
    asked = await operator.http.get(f"/operator/orders/{order_id}/approve")
    assert "The order goes on, although its payment is uncertain." in text_of(asked.text)

    page = await operator.decide(order_id, "approve", why="called the customer")

    assert said(page) == f"Done. Order {order_id} is approved and goes on."
    await premises.ends(order_id, Status.COMPLETED)
    accepted = dict(await premises.history(order_id))["payment_accepted"]
    assert (accepted["by"], accepted["note"]) == (operator.name, "called the customer")


async def test_an_order_whose_payment_is_in_review_is_stopped(
    operator: Operator, premises: Premises
) -> None:
    order_id = await held_for_review(operator, premises)
    asked = await operator.http.get(f"/operator/orders/{order_id}/reject")
    assert "what was taken is given back" in text_of(asked.text)

    page = await operator.decide(order_id, "reject", why="a stolen card")

    assert said(page) == f"Done. Order {order_id} is rejected, and is being undone."
    await premises.ends(order_id, Status.REFUNDED)


async def test_what_an_order_does_not_wait_for_is_a_sentence_on_its_page(
    operator: Operator, premises: Premises
) -> None:
    order_id = await premises.completed()
    for name, sentence in (
        ("approve", "has ended, it is completed: nothing can be changed."),
        ("reject", "has ended, it is completed"),
        ("cancel", "has ended, it is completed"),
        ("retry-now", "has ended, it is completed"),
        ("skip-step", "has ended, it is completed"),
        ("resolve", "has ended, it is completed"),
    ):
        page = await operator.decide(order_id, name, why="because")
        assert page.status_code == 200
        assert said(page).startswith("Not done. Order")
        assert sentence in said(page)
        assert f"<h1>Order {order_id}</h1>" in page.text


async def test_the_second_decision_is_told_who_was_first(
    operator: Operator, premises: Premises
) -> None:
    order_id = await premises.start(until="waiting for approval", flagged=True)
    hold = premises.cards.hold("create")
    path = f"/operator/orders/{order_id}/approve"
    async with premises.operator() as other:
        await operator.send(path)
        page = await other.send(path)
    hold.release()
    assert f"does not wait for an approval: {operator.name} has approved it" in said(page)
    await premises.ends(order_id, Status.COMPLETED)


async def test_cancelling_says_what_really_became_of_it(
    operator: Operator, premises: Premises
) -> None:
    unpaid = await premises.start(until="waiting for approval", flagged=True)
    effect = await operator.http.get(f"/operator/orders/{unpaid}/cancel")
    assert "Nothing was taken, nothing will be." in text_of(effect.text)
    page = await operator.decide(unpaid, "cancel")
    assert said(page) == f"Done. Order {unpaid} is cancelled: nothing was taken."

    premises.warehouse.fail_next("fulfill", NoAnswerError("nobody is in", retry_after=NEVER))
    paid = await premises.start()
    await premises.ends(paid, Status.PAID)
    await warehouse_has_failed(premises)
    page = await operator.decide(paid, "cancel")
    assert said(page) == f"Done. Order {paid} is refunded: 29.00 EUR went back to the card."


async def test_an_order_that_is_not_started_can_be_cancelled(
    operator: Operator, premises: Premises
) -> None:
    order_id = await premises.place()
    assert "Not started yet." in text_of(
        (await operator.http.get(f"/operator/orders/{order_id}")).text
    )
    page = await operator.decide(order_id, "cancel")
    assert said(page) == f"Done. Order {order_id} is cancelled: nothing was taken."


async def test_what_keeps_failing_is_shown_and_tried_again_at_once(
    operator: Operator, premises: Premises
) -> None:
    silent = NoAnswerError("the roof leaks", retry_after=SOON)
    premises.warehouse.fail_next("fulfill", silent, times=6)
    premises.warehouse.fail_next("fulfill", NoAnswerError("the roof leaks", retry_after=NEVER))
    order_id = await premises.start()
    await needs_attention(premises, order_id)

    front = text_of((await operator.http.get("/operator")).text)
    assert f"Order {order_id} paid keeps failing fulfill order since" in front
    page = text_of((await operator.http.get(f"/operator/orders/{order_id}")).text)
    assert "fulfill order keeps failing since" in page
    assert "UTC : the roof leaks" in page
    assert await buttons(operator, order_id) == {"retry-now", "skip-step", "cancel"}

    refused = await operator.decide(order_id, "resolve", why="I did it")
    assert said(refused).startswith("Not done.")
    done = await operator.decide(order_id, "retry-now")
    assert said(done) == f"Done. Order {order_id} tries it again now."
    await premises.ends(order_id, Status.COMPLETED)


async def test_a_step_is_given_up_and_its_undo_settled_by_hand(
    operator: Operator, premises: Premises
) -> None:
    premises.cards.fail_until_healed("refund", RefusedError("the balance is too low"))
    try:
        hold = NoAnswerError("the roof leaks", retry_after=SOON)
        premises.warehouse.fail_next("fulfill", hold, times=6)
        premises.warehouse.fail_next("fulfill", NoAnswerError("the roof", retry_after=NEVER))
        order_id = await premises.start()
        await needs_attention(premises, order_id)
        assert "gives the step up" in said(await operator.decide(order_id, "skip-step", "no roof"))

        async def undoing() -> bool:
            return "resolve" in await buttons(operator, order_id)

        await eventually(undoing)
        for wrong in ("plenty", "-5", "1000.00"):  # it is not more than was taken
            page = await operator.decide(order_id, "resolve", "in cash", given_back=wrong)
            assert said(page).startswith("Not done.")
        page = await operator.decide(order_id, "resolve", "paid back in cash")
        assert "takes that as done by hand" in said(page)
        await premises.ends(order_id, Status.REFUNDED)
    finally:
        premises.cards.heal("refund")
    events = dict(await premises.history(order_id))
    assert events["operator_skip_step"]["by"] == operator.name
    assert events["operator_resolve"]["why"] == "paid back in cash"


class Impatient(OrderClient):
    """Gives a worker half a second to answer a cancellation, not ten."""

    async def cancel(
        self,
        order_id: str,
        by: str = "customer",
        wait: timedelta = timedelta(seconds=0.5),
        *,
        actor: str = "",
    ) -> CancelAnswer | CancelUnderWay:
        return await super().cancel(order_id, by, wait, actor=actor)


@pytest.mark.usefixtures("brief_queries")
async def test_without_a_worker_it_is_said_that_the_word_may_still_take_hold(
    closed_premises: Premises,
) -> None:
    order_id = await closed_premises.place()
    await closed_premises.orders.start(order_id)
    book = PostgresOrderRepository(closed_premises.database)
    closed_premises.orders = Impatient(closed_premises.temporal, book)
    async with closed_premises.operator(create_app(closed_premises.edge())) as somebody:
        page = await somebody.http.get(f"/operator/orders/{order_id}")
        assert "Unknown: no worker answers." in text_of(page.text)
        assert page.status_code == 200
        told = await somebody.decide(order_id, "cancel")
        assert f"no worker answered for order {order_id}".lower() in said(told).lower()
        assert "may still take hold" in said(told)


async def test_without_temporal_the_pages_show_what_the_database_knows(
    closed_premises: Premises, monkeypatch: pytest.MonkeyPatch
) -> None:
    order_id = await closed_premises.place()
    monkeypatch.setenv("TEMPORAL_ADDRESS", "127.0.0.1:1")
    away = await connect(temporal_profile(), lazy=True)
    database = closed_premises.database
    book = PostgresOrderRepository(database)
    closed_premises.orders = OrderClient(away, book)
    closed_premises.operations = OrderOperations(away, book)
    closed_premises.refunds = RefundClient(away, PostgresRefundBook(database))
    async with closed_premises.operator(create_app(closed_premises.edge())) as somebody:
        front = await somebody.http.get("/operator")
        page = await somebody.http.get(f"/operator/orders/{order_id}")
        decided = await somebody.send(f"/operator/orders/{order_id}/cancel")
    assert (front.status_code, page.status_code, decided.status_code) == (503, 503, 503)
    assert order_id in front.text
    assert "Temporal does not answer" in front.text
    assert "Temporal does not answer" in page.text
    assert "Mug, hand-glazed" in page.text
    assert "look at the order before you send it again" in decided.text
    assert "127.0.0.1" not in decided.text
