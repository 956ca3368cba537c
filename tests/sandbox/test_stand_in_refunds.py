"""Refunds: never more than was captured, and some that are pending or fail."""

import asyncio

import httpx
import pytest
import stripe

from sandbox.books_client import BooksClient
from sandbox.fault_client import FaultClient
from tests.sandbox.buying import a_payment, paid
from tests.sandbox.listening import hearing


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


async def test_a_refund_waits_while_the_balance_is_short(
    shop: stripe.StripeClient, http: httpx.AsyncClient, faults: FaultClient, books: BooksClient
) -> None:
    intent = await paid(shop, "short-1")
    short = await faults.inject("stripe.refunds.create", "pending", order_id="short-1")
    refund = await shop.v1.refunds.create_async({"payment_intent": intent.id})
    await faults.remove(short)
    assert (refund.status, refund.pending_reason) == ("pending", "insufficient_funds")
    assert (await books.order("short-1")).refunds[0].status == "pending"
    with pytest.raises(stripe.InvalidRequestError) as again:
        await shop.v1.refunds.create_async({"payment_intent": intent.id})
    assert again.value.code == "charge_already_refunded"

    async with hearing(http) as heard:
        await http.post(f"/sandbox/refunds/{refund.id}/settle", json={"outcome": "succeed"})
        async with asyncio.timeout(10):
            while len(heard.events) < 2:
                await heard.next()
    assert heard.types() == ["refund.updated", "charge.refund.updated"]
    after = await shop.v1.refunds.retrieve_async(refund.id)
    assert (after.status, getattr(after, "pending_reason", None)) == ("succeeded", None)


@pytest.mark.parametrize("first", ["pending", "succeeded"])
async def test_a_refund_fails_weeks_later_and_the_money_comes_back_to_us(
    shop: stripe.StripeClient,
    http: httpx.AsyncClient,
    faults: FaultClient,
    books: BooksClient,
    first: str,
) -> None:
    order_id = f"late-{first}"
    intent = await paid(shop, order_id)
    if first == "pending":
        await faults.inject("stripe.refunds.create", "pending", order_id=order_id, times=1)
    refund = await shop.v1.refunds.create_async({"payment_intent": intent.id, "amount": 500})
    assert refund.status == first

    async with hearing(http) as heard:
        failed = await http.post(
            f"/sandbox/refunds/{refund.id}/settle",
            json={"outcome": "fail", "reason": "lost_or_stolen_card"},
        )
        async with asyncio.timeout(10):
            while "refund.failed" not in heard.types():
                await heard.next()
    assert failed.json()["failure_reason"] == "lost_or_stolen_card"
    assert failed.json()["failure_balance_transaction"]
    assert set(heard.types()) == {"refund.updated", "charge.refund.updated", "refund.failed"}
    charge = await shop.v1.charges.retrieve_async(str(intent.latest_charge))
    assert (charge.amount_refunded, charge.refunded) == (0, False)
    assert (await books.order(order_id)).refunded == 0
    # Once failed it stays so, and another refund can be made.
    await http.post(f"/sandbox/refunds/{refund.id}/settle", json={"outcome": "succeed"})
    assert (await shop.v1.refunds.retrieve_async(refund.id)).status == "failed"
    assert (await shop.v1.refunds.create_async({"payment_intent": intent.id})).amount == 2000


async def test_a_refund_fails_for_a_reason_of_stripes(
    shop: stripe.StripeClient, http: httpx.AsyncClient
) -> None:
    refund = await shop.v1.refunds.create_async({"payment_intent": (await paid(shop)).id})
    for wrong in ({"outcome": "fail", "reason": "bad luck"}, {"outcome": "maybe"}):
        answer = await http.post(f"/sandbox/refunds/{refund.id}/settle", json=wrong)
        assert answer.status_code == 400
    assert (await shop.v1.refunds.retrieve_async(refund.id)).status == "succeeded"
