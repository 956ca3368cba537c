"""Disputes, early fraud warnings and reviews: money that moves after a payment."""

import asyncio
from typing import Any

import httpx
import pytest
import stripe

from sandbox.books_client import BooksClient
from tests.sandbox.buying import paid
from tests.sandbox.listening import hearing


async def the_dispute(shop: stripe.StripeClient, intent: stripe.PaymentIntent) -> stripe.Dispute:
    [dispute] = (await shop.v1.disputes.list_async({"payment_intent": intent.id})).data
    return dispute


async def decide(http: httpx.AsyncClient, dispute_id: str, how: str) -> dict[str, Any]:
    answer = await http.post(f"/sandbox/disputes/{dispute_id}/{how}")
    return dict(answer.raise_for_status().json())


@pytest.mark.parametrize(
    ("card", "reason"),
    [
        ("pm_card_createDispute", "fraudulent"),
        ("pm_card_createDisputeProductNotReceived", "product_not_received"),
    ],
)
async def test_a_chargeback_takes_the_money_and_leaves_payment_and_refunds_as_they_were(
    shop: stripe.StripeClient, books: BooksClient, card: str, reason: str
) -> None:
    intent = await paid(shop, f"disputed-{reason}", card=card)
    dispute = await the_dispute(shop, intent)

    assert (dispute.reason, dispute.status) == (reason, "needs_response")
    assert (dispute.amount, dispute.currency) == (2000, "eur")
    assert (dispute.payment_intent, dispute.charge) == (intent.id, intent.latest_charge)
    assert dispute.metadata.to_dict() == {}
    assert not dispute.is_charge_refundable
    [taken] = dispute.balance_transactions
    assert (taken.amount, taken.fee, taken.net) == (-2000, 1500, -3500)
    after = await shop.v1.payment_intents.retrieve_async(intent.id, {"expand": ["latest_charge"]})
    assert isinstance(after.latest_charge, stripe.Charge)
    assert (after.status, after.amount_received) == ("succeeded", 2000)
    assert (after.latest_charge.disputed, after.latest_charge.amount_refunded) == (True, 0)
    booked = await books.order(f"disputed-{reason}")
    assert (booked.captured, booked.refunded, booked.withdrawn) == (2000, 0, 2000)


async def test_evidence_is_due_when_the_bank_says(
    shop: stripe.StripeClient, http: httpx.AsyncClient
) -> None:
    intent = await paid(shop, "soon-due")
    page = f"/sandbox/payment_intents/{intent.id}/dispute"
    (await http.post(page, json={"due_in": 3600})).raise_for_status()
    dispute = await the_dispute(shop, intent)
    assert dispute.evidence_details.due_by == dispute.created + 3600
    assert (await http.post(page, json={"due_in": "soon"})).status_code == 400


async def test_a_charged_back_payment_cannot_be_refunded(shop: stripe.StripeClient) -> None:
    intent = await paid(shop, card="pm_card_createDispute")
    with pytest.raises(stripe.InvalidRequestError, match="charged back") as refused:
        await shop.v1.refunds.create_async({"payment_intent": intent.id})
    assert refused.value.code == "charge_disputed"


@pytest.mark.parametrize(
    ("evidence", "status", "withdrawn"),
    [("winning_evidence", "won", 0), ("losing_evidence", "lost", 2000)],
)
async def test_evidence_decides_a_dispute(
    shop: stripe.StripeClient, books: BooksClient, evidence: str, status: str, withdrawn: int
) -> None:
    order_id = f"evidence-{status}"
    dispute = await the_dispute(shop, await paid(shop, order_id, card="pm_card_createDispute"))
    staged = await shop.v1.disputes.update_async(
        dispute.id, {"evidence": {"uncategorized_text": evidence}, "submit": False}
    )
    assert (staged.status, staged.evidence_details.submission_count) == ("needs_response", 0)
    assert staged.evidence_details.has_evidence
    decided = await shop.v1.disputes.update_async(
        dispute.id, {"evidence": {"uncategorized_text": evidence}}
    )
    assert (decided.status, decided.evidence_details.submission_count) == (status, 1)
    assert (await books.order(order_id)).withdrawn == withdrawn
    with pytest.raises(stripe.InvalidRequestError, match="already closed"):
        await shop.v1.disputes.update_async(dispute.id, {"evidence": {"customer_name": "Ada"}})


async def test_other_evidence_is_under_review_until_the_bank_decides(
    shop: stripe.StripeClient, http: httpx.AsyncClient, books: BooksClient
) -> None:
    intent = await paid(shop, "review-1", card="pm_card_createDispute")
    dispute = await the_dispute(shop, intent)
    sent = await shop.v1.disputes.update_async(
        dispute.id,
        {"evidence": {"shipping_tracking_number": "AB 1234"}, "metadata": {"case": "7"}},
    )
    assert (sent.status, sent.evidence.shipping_tracking_number) == ("under_review", "AB 1234")
    won = await decide(http, dispute.id, "win")
    assert (won["status"], won["is_charge_refundable"]) == ("won", True)
    assert [each["amount"] for each in won["balance_transactions"]] == [-2000, 2000]
    assert (await books.order("review-1")).withdrawn == 0
    await shop.v1.refunds.create_async({"payment_intent": intent.id})


@pytest.mark.parametrize(("how", "status"), [("lose", "lost"), ("withdraw", "won")])
async def test_a_dispute_ends_as_the_bank_or_the_cardholder_says(
    shop: stripe.StripeClient, http: httpx.AsyncClient, how: str, status: str
) -> None:
    dispute = await the_dispute(shop, await paid(shop, card="pm_card_createDispute"))
    assert (await decide(http, dispute.id, how))["status"] == status
    again = await http.post(f"/sandbox/disputes/{dispute.id}/{how}")
    assert again.status_code == 400


async def test_the_shop_accepts_a_dispute_by_closing_it(shop: stripe.StripeClient) -> None:
    dispute = await the_dispute(shop, await paid(shop, card="pm_card_createDispute"))
    assert (await shop.v1.disputes.close_async(dispute.id)).status == "lost"


async def test_an_inquiry_takes_nothing_and_ends_with_a_refund(
    shop: stripe.StripeClient, books: BooksClient
) -> None:
    intent = await paid(shop, "inquiry-1", card="pm_card_createDisputeInquiry")
    inquiry = await the_dispute(shop, intent)
    assert (inquiry.status, inquiry.balance_transactions) == ("warning_needs_response", [])
    assert inquiry.payment_method_details is not None
    assert inquiry.payment_method_details.card is not None
    assert inquiry.payment_method_details.card.case_type == "inquiry"
    assert (await books.order("inquiry-1")).withdrawn == 0
    await shop.v1.refunds.create_async({"payment_intent": intent.id})
    assert (await shop.v1.disputes.retrieve_async(inquiry.id)).status == "warning_closed"


async def test_an_inquiry_is_escalated_to_a_chargeback(
    shop: stripe.StripeClient, http: httpx.AsyncClient
) -> None:
    inquiry = await the_dispute(shop, await paid(shop, card="pm_card_createDisputeInquiry"))
    escalated = await decide(http, inquiry.id, "escalate")
    assert escalated["status"] == "needs_response"
    assert [each["amount"] for each in escalated["balance_transactions"]] == [-2000]
    assert (await http.post(f"/sandbox/disputes/{inquiry.id}/escalate")).status_code == 400


async def test_one_payment_can_be_disputed_more_than_once(
    shop: stripe.StripeClient, books: BooksClient
) -> None:
    intent = await paid(shop, "twice", card="pm_card_createMultipleDisputes")
    listed = await shop.v1.disputes.list_async({"payment_intent": intent.id})
    assert [dispute.amount for dispute in listed.data] == [1000, 1000]
    assert (await books.order("twice")).withdrawn == 2000


async def test_any_payment_is_disputed_on_request_in_part_too(
    shop: stripe.StripeClient, http: httpx.AsyncClient
) -> None:
    intent = await paid(shop)
    path = f"/sandbox/payment_intents/{intent.id}/dispute"
    made = await http.post(path, json={"reason": "product_unacceptable", "amount": 700})
    assert made.status_code == 200
    dispute = await the_dispute(shop, intent)
    assert (dispute.reason, dispute.amount) == ("product_unacceptable", 700)
    for wrong in ({"reason": "bored"}, {"amount": 2001}, {"amount": "all"}):
        assert (await http.post(path, json=wrong)).status_code == 400
    held = await paid(shop, capture_method="manual")
    early = await http.post(f"/sandbox/payment_intents/{held.id}/dispute")
    assert early.status_code == 400
    assert "no captured charge" in early.json()["error"]["message"]


async def test_the_events_of_a_dispute_come_in_order(
    shop: stripe.StripeClient, http: httpx.AsyncClient
) -> None:
    async with hearing(http) as heard:
        intent = await paid(shop, card="pm_card_createDispute")
        dispute = await the_dispute(shop, intent)
        await shop.v1.disputes.update_async(dispute.id, {"evidence": {"customer_name": "Ada"}})
        await decide(http, dispute.id, "win")
        async with asyncio.timeout(10):
            while "charge.dispute.closed" not in heard.types():
                await heard.next()
    disputes = [type_ for type_ in heard.types() if type_.startswith("charge.dispute")]
    assert disputes == [
        "charge.dispute.created",
        "charge.dispute.funds_withdrawn",
        "charge.dispute.updated",
        "charge.dispute.funds_reinstated",
        "charge.dispute.closed",
    ]
    [created] = [event for event in heard.events if event["type"] == "charge.dispute.created"]
    assert created["data"]["object"]["payment_intent"] == intent.id
    assert created["data"]["object"]["metadata"] == {}


async def test_a_reported_charge_has_an_early_fraud_warning(
    shop: stripe.StripeClient, http: httpx.AsyncClient
) -> None:
    async with hearing(http) as heard:
        intent = await paid(shop, card="pm_card_createIssuerFraudRecord")
        listed = await shop.v1.radar.early_fraud_warnings.list_async({"payment_intent": intent.id})
        [warning] = listed.data
        assert (warning.charge, warning.actionable) == (intent.latest_charge, True)
        # A refund in time leaves nothing to dispute.
        await shop.v1.refunds.create_async({"payment_intent": intent.id})
        async with asyncio.timeout(10):
            while "radar.early_fraud_warning.updated" not in heard.types():
                await heard.next()
    assert "radar.early_fraud_warning.created" in heard.types()
    after = await shop.v1.radar.early_fraud_warnings.retrieve_async(warning.id)
    assert not after.actionable


async def test_a_warning_becomes_a_dispute_unless_the_payment_is_refunded(
    shop: stripe.StripeClient, http: httpx.AsyncClient
) -> None:
    intent = await paid(shop)
    warning = (await http.post(f"/sandbox/payment_intents/{intent.id}/warn")).json()
    assert warning["actionable"]
    await http.post(f"/sandbox/payment_intents/{intent.id}/dispute")
    listed = await shop.v1.radar.early_fraud_warnings.list_async(
        {"charge": str(intent.latest_charge)}
    )
    assert [(found.id, found.actionable) for found in listed.data] == [(warning["id"], False)]
    wrong = await http.post(
        f"/sandbox/payment_intents/{intent.id}/warn", json={"fraud_type": "none"}
    )
    assert wrong.status_code == 400


@pytest.mark.parametrize("how", ["approved", "refunded", "refunded_as_fraud", "disputed"])
async def test_a_risky_payment_is_reviewed(
    shop: stripe.StripeClient, http: httpx.AsyncClient, how: str
) -> None:
    intent = await paid(shop, card="pm_card_riskLevelElevated")
    assert intent.status == "succeeded"
    review = await shop.v1.reviews.retrieve_async(str(intent.review))
    assert (review.open, review.reason) == (True, "rule")
    assert (review.payment_intent, review.charge) == (intent.id, intent.latest_charge)
    if how == "approved":
        await shop.v1.reviews.approve_async(review.id)
    elif how == "disputed":
        await http.post(f"/sandbox/payment_intents/{intent.id}/dispute")
    else:
        reason: Any = "fraudulent" if how == "refunded_as_fraud" else "duplicate"
        await shop.v1.refunds.create_async({"payment_intent": intent.id, "reason": reason})
    closed = await shop.v1.reviews.retrieve_async(review.id)
    assert (closed.open, closed.closed_reason) == (False, how)
    with pytest.raises(stripe.InvalidRequestError):
        await shop.v1.reviews.approve_async(review.id)


async def test_a_released_hold_closes_its_review_as_canceled(
    shop: stripe.StripeClient, http: httpx.AsyncClient
) -> None:
    async with hearing(http) as heard:
        held = await paid(shop, capture_method="manual")
        opened = (await http.post(f"/sandbox/payment_intents/{held.id}/review")).json()
        assert opened["opened_reason"] == "manual"
        await shop.v1.payment_intents.cancel_async(held.id)
        async with asyncio.timeout(10):
            while "payment_intent.canceled" not in heard.types():
                await heard.next()
    closed = await shop.v1.reviews.retrieve_async(opened["id"])
    assert closed.closed_reason == "canceled"
    assert {"review.opened", "review.closed"} <= set(heard.types())
    assert "charge.refunded" not in heard.types()
