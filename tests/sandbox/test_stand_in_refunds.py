"""Refunds: never more than was captured, and some that are pending."""

import httpx
import pytest
import stripe

from sandbox.books_client import BooksClient
from tests.sandbox.buying import a_payment, paid


async def test_a_refund_gives_all_of_it_back_once(
    shop: stripe.StripeClient, books: BooksClient
) -> None:
    intent = await paid(shop, "back-1")
    refund = await shop.v1.refunds.create_async(
        {"payment_intent": intent.id, "reason": "requested_by_customer"}
    )
    assert (refund.status, refund.amount) == ("succeeded", 2000)
    with pytest.raises(stripe.InvalidRequestError) as again:
        await shop.v1.refunds.create_async({"payment_intent": intent.id})
    assert again.value.code == "charge_already_refunded"
    booked = await books.order("back-1")
    assert (booked.captured, booked.refunded, len(booked.refunds)) == (2000, 2000, 1)


async def test_partial_refunds_add_up_to_the_charge_and_no_further(
    shop: stripe.StripeClient,
) -> None:
    intent = await paid(shop)
    first = await shop.v1.refunds.create_async({"payment_intent": intent.id, "amount": 700})
    second = await shop.v1.refunds.create_async({"payment_intent": intent.id, "amount": 700})
    with pytest.raises(stripe.InvalidRequestError, match="greater than unrefunded") as beyond:
        await shop.v1.refunds.create_async({"payment_intent": intent.id, "amount": 601})
    assert (beyond.value.http_status, beyond.value.param) == (400, "amount")

    charge = await shop.v1.charges.retrieve_async(str(intent.latest_charge))
    assert (charge.amount_refunded, charge.refunded) == (1400, False)
    listed = await shop.v1.refunds.list_async({"payment_intent": intent.id, "limit": 1})
    assert [refund.id async for refund in listed.auto_paging_iter()] == [second.id, first.id]
    assert listed.has_more


async def test_only_captured_money_is_refunded(shop: stripe.StripeClient) -> None:
    unpaid = await a_payment(shop)
    held = await paid(shop, capture_method="manual")
    for intent in (unpaid, held):
        with pytest.raises(stripe.InvalidRequestError, match="successful charge to refund"):
            await shop.v1.refunds.create_async({"payment_intent": intent.id})


async def test_a_pending_refund_arrives_later(
    shop: stripe.StripeClient, http: httpx.AsyncClient
) -> None:
    intent = await paid(shop, card="pm_card_pendingRefund")
    refund = await shop.v1.refunds.create_async({"payment_intent": intent.id})
    assert refund.status == "pending"
    await http.post(f"/sandbox/refunds/{refund.id}/settle")
    assert (await shop.v1.refunds.retrieve_async(refund.id)).status == "succeeded"


async def test_a_refund_that_fails_leaves_the_money_here(
    shop: stripe.StripeClient, http: httpx.AsyncClient, books: BooksClient
) -> None:
    intent = await paid(shop, "back-2", card="pm_card_refundFail")
    refund = await shop.v1.refunds.create_async({"payment_intent": intent.id})
    assert refund.status == "succeeded"
    await http.post(f"/sandbox/refunds/{refund.id}/settle")
    failed = await shop.v1.refunds.retrieve_async(refund.id, {"expand": ["charge"]})
    assert (failed.status, failed.failure_reason) == ("failed", "expired_or_canceled_card")
    assert isinstance(failed.charge, stripe.Charge)
    assert failed.charge.amount_refunded == 0
    assert (await books.order("back-2")).refunded == 0
