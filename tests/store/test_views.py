"""The view of an order that has everything, read in one statement."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, timedelta

from durable_orders.domain.activity_messages import ManualRefund
from durable_orders.domain.disputes.dispute import (
    ConcernKind,
    Dispute,
    DisputeStatus,
    FraudWarning,
    PaymentRisks,
    Review,
)
from durable_orders.domain.money import Money
from durable_orders.domain.order import Order
from durable_orders.domain.parcels import Parcel, ParcelStatus
from durable_orders.domain.ports import CardCharge, ChargeState
from durable_orders.domain.refunds.refund import RefundEntry, RefundRequest
from durable_orders.domain.views import CardTryView, ParcelView, RefundView
from durable_orders.store.disputes import PostgresDisputeRepository
from durable_orders.store.refunds import PostgresRefundBook
from tests.store.shop import NOTHING, NOW, Shop
from tests.store.test_refund_concurrency import paid
from tests.support.charges import announce, record

#: With microseconds, and one that has none.
LATER = (NOW + timedelta(microseconds=1), NOW + timedelta(seconds=1))
#: What JSON, SQL and pages have a meaning for.
ODD = '"; DROP TABLE orders; --\\ <b>{}</b> $1 :name %s é 漢 \u2028'


def risks_of(order: Order) -> PaymentRisks:
    payment_id = f"pi_{order.id}"
    dispute = Dispute(
        f"du_{order.id}",
        payment_id,
        amount=order.total,
        withdrawn=order.total,
        fee=Money(15_00, "EUR"),
        reason="fraudulent",
        status=DisputeStatus.NEEDS_RESPONSE,
        opened_at=LATER[1],
        due_by=LATER[1] + timedelta(days=9),
        submissions=2,
    )
    warning = FraudWarning(
        f"issfr_{order.id}", payment_id, ODD, is_actionable=True, opened_at=LATER[0]
    )
    review = Review(f"prv_{order.id}", payment_id, "rule", is_open=True, opened_at=LATER[0])
    return PaymentRisks(payment_id, (dispute,), (warning,), (review,))


async def declined_once_then_paid(shop: Shop, order: Order) -> None:
    await announce(shop.ledger, order)
    declined = CardCharge(
        f"pi_{order.id}", ChargeState.DECLINED, order.total, NOTHING, NOTHING, "do_not_honor"
    )
    await record(shop.ledger, order.id, declined, answers=1)
    await announce(shop.ledger, order, 2)
    taken = replace(declined, state=ChargeState.CAPTURED, captured=order.total, decline_code="")
    await record(shop.ledger, order.id, taken, answers=2)


async def test_lines_and_tries_come_in_their_order(shop: Shop) -> None:
    skus = [await shop.stocked(10) for _ in range(12)][::-1]
    order = await shop.placed(*[(sku, number + 1) for number, sku in enumerate(skus)])
    await declined_once_then_paid(shop, order)

    view = await shop.orders.view(order.id)

    assert view.order == await shop.orders.get(order.id)
    assert [(line.sku, line.quantity) for line in view.order.lines] == [
        (sku, number + 1) for number, sku in enumerate(skus)
    ]
    [payment] = view.payments
    assert (payment.payment_id, payment.captured) == (f"pi_{order.id}", order.total)
    assert payment.tries == (
        CardTryView(1, ChargeState.DECLINED, "do_not_honor"),
        CardTryView(2, ChargeState.CAPTURED),
    )


async def test_parcels_refunds_and_what_was_given_back_by_hand_are_in_it(shop: Shop) -> None:
    order = await paid(shop, await shop.stocked(10))
    ids = [f"{order.id}-{letter}" for letter in "cab"]
    fulfillment = (await shop.sql("SELECT fulfillment_id FROM orders WHERE id = :id", id=order.id))[
        0
    ]["fulfillment_id"]
    await shop.orders.record_parcels(order.id, fulfillment, tuple(ids))
    await shop.orders.move_parcel(order.id, Parcel(ids[1], ParcelStatus.SHIPPED, ODD), NOW)
    book, euro = PostgresRefundBook(shop.database), Money(1_00, "EUR")
    for refund_id in ("r2", "r1"):
        entry = await book.reserve(RefundRequest(order.id, refund_id, amount=euro), NOW)
        assert isinstance(entry, RefundEntry)
    by_hand = Money(0, "EUR")
    await shop.ledger.record_manual_refund(ManualRefund(order.id, by_hand, "operator", "paid"))

    view = await shop.orders.view(order.id)

    named = {parcel.parcel_id: parcel for parcel in view.parcels}
    assert [id_ for id_ in named if id_ in ids] == sorted(ids)
    assert named[ids[1]] == ParcelView(ids[1], "shipped", ODD)
    assert named[ids[0]] == ParcelView(ids[0], "accepted")
    assert view.refunds == (
        RefundView("r2", euro, view.refunds[0].state),
        RefundView("r1", euro, view.refunds[1].state),
    )
    assert view.given_back_by_hand == by_hand


async def test_risks_come_oldest_first_with_their_times(shop: Shop) -> None:
    order = await shop.charged()
    await PostgresDisputeRepository(shop.database).record(order.id, risks_of(order), NOW)

    warning, review, dispute = (await shop.orders.view(order.id)).risks

    assert (warning.kind, warning.reason, warning.amount) == (
        ConcernKind.FRAUD_WARNING,
        ODD,
        order.total,
    )
    assert (review.kind, review.state) == (ConcernKind.REVIEW, "open")
    assert (dispute.kind, dispute.needs_response, dispute.submissions) == (
        ConcernKind.CHARGEBACK,
        True,
        2,
    )
    assert (dispute.fee, dispute.withdrawn) == (Money(15_00, "EUR"), order.total)
    assert [one.opened_at for one in (warning, review, dispute)] == [LATER[0], LATER[0], LATER[1]]
    assert dispute.due_by == LATER[1] + timedelta(days=9)
    assert dispute.opened_at.tzinfo is UTC
    assert warning.due_by is None


async def test_the_history_is_as_it_was_written(shop: Shop) -> None:
    order = await shop.placed()
    for at in LATER:
        await shop.orders.note(order.id, "noted", at, words=ODD, when=str(at))

    placed, *noted = (await shop.orders.view(order.id)).history

    assert (placed.event, placed.at) == ("order_placed", NOW)
    assert [(line.at, line.detail) for line in noted] == [
        (at, {"words": ODD, "when": str(at)}) for at in LATER
    ]
    assert all(line.at.tzinfo is UTC for line in (placed, *noted))


async def test_what_belongs_to_another_order_is_not_in_it(shop: Shop) -> None:
    order, other = await shop.placed(), await paid(shop, await shop.stocked(10))
    await PostgresDisputeRepository(shop.database).record(other.id, risks_of(other), NOW)

    view = await shop.orders.view(order.id)

    assert (view.payments, view.parcels, view.refunds, view.risks) == ((), (), (), ())
    assert [line.event for line in view.history] == ["order_placed"]
    assert view.given_back_by_hand is None
