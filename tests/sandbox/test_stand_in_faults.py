"""Faults: the SDK sees each failure as from the real service, and only where it was injected."""

import asyncio
import time

import httpx
import pytest
import resend
import stripe
from resend.exceptions import ResendError

from sandbox.books_client import BooksClient
from sandbox.fault_client import BlockingFaultClient, FaultClient, FaultRejectedError, Mode
from sandbox.world import StandInServer
from tests.sandbox.buying import a_payment, keyed, paid, payment_parameters


async def test_hanging_up_before_the_operation_does_nothing(
    shop: stripe.StripeClient, faults: FaultClient, books: BooksClient
) -> None:
    fault = await faults.inject(
        "stripe.payment_intents.create", "hang_up", order_id="hung", times=1
    )
    with pytest.raises(stripe.APIConnectionError):
        await a_payment(shop, "hung")
    assert (await faults.get(fault)).hits == 1
    assert (await books.order("hung")).payments == ()
    assert (await a_payment(shop, "hung")).amount == 2000


async def test_hanging_up_after_the_operation_has_done_it(
    shop: stripe.StripeClient, faults: FaultClient, books: BooksClient
) -> None:
    parameters = payment_parameters("lost", payment_method="pm_card_visa", confirm=True)
    await faults.inject("stripe.payment_intents.create", "hang_up_after", order_id="lost", times=1)
    with pytest.raises(stripe.APIConnectionError):
        await shop.v1.payment_intents.create_async(parameters, keyed("lost"))
    assert (await books.order("lost")).captured == 2000

    again = await shop.v1.payment_intents.create_async(parameters, keyed("lost"))

    assert again.status == "succeeded"
    assert (await books.order("lost")).captured == 2000


async def test_a_hang_up_is_no_http_answer(http: httpx.AsyncClient, faults: FaultClient) -> None:
    await faults.inject("warehouse.fulfillments.cancel", "hang_up", order_id="torn", times=1)
    with pytest.raises((httpx.RemoteProtocolError, httpx.ReadError)):
        await http.post(
            "/warehouse/fulfillments/torn/cancel", headers={"Authorization": "Bearer key"}
        )


async def test_a_delay_comes_before_the_operation_and_ends_when_the_fault_is_removed(
    shop: stripe.StripeClient, faults: FaultClient, books: BooksClient
) -> None:
    fault = await faults.inject("stripe.payment_intents.create", "delay", order_id="slow")
    request = asyncio.create_task(paid(shop, "slow"))
    hit = await faults.wait_for_hits(fault)
    assert (hit.hits, hit.holding) == (1, 1)
    assert (await books.order("slow")).payments == ()
    await faults.remove(fault)
    assert (await request).status == "succeeded"


async def test_a_delay_after_has_done_the_operation(
    shop: stripe.StripeClient, faults: FaultClient, books: BooksClient
) -> None:
    fault = await faults.inject("stripe.payment_intents.create", "delay_after", order_id="slow-2")
    request = asyncio.create_task(paid(shop, "slow-2"))
    await faults.wait_for_hits(fault)
    assert (await books.order("slow-2")).captured == 2000
    assert not request.done()
    await faults.remove(fault)
    assert (await request).status == "succeeded"


async def test_a_delay_ends_by_itself(shop: stripe.StripeClient, faults: FaultClient) -> None:
    await faults.inject("stripe.*", "delay", order_id="slow-3", seconds=0.2, times=1)
    before = time.monotonic()
    await a_payment(shop, "slow-3")
    assert time.monotonic() - before >= 0.2


async def test_the_operation_continues_when_the_client_has_timed_out(
    stand_in: StandInServer, faults: FaultClient, books: BooksClient
) -> None:
    fault = await faults.inject("warehouse.fulfillments.cancel", "delay", order_id="late")
    async with httpx.AsyncClient(base_url=stand_in.url, timeout=0.2) as impatient:
        with pytest.raises(httpx.ReadTimeout):
            await impatient.post(
                "/warehouse/fulfillments/late/cancel", headers={"Authorization": "Bearer key"}
            )
    await faults.remove(fault)
    async with httpx.AsyncClient(base_url=stand_in.url) as patient:
        answer = await patient.post(
            "/warehouse/fulfillments/late/cancel", headers={"Authorization": "Bearer key"}
        )
    assert answer.json()["outcome"] in {"never_accepted", "recalled"}
    assert (await books.order("late")).fulfillments == ()


async def test_an_object_can_be_locked_and_an_account_restricted(
    shop: stripe.StripeClient, mailer: type[resend.Emails], faults: FaultClient
) -> None:
    await faults.inject("stripe.*", "lock_timeout", order_id="locked", times=1)
    with pytest.raises(stripe.RateLimitError) as locked:
        await a_payment(shop, "locked")
    assert locked.value.error is not None
    assert locked.value.error.code == "lock_timeout"
    assert "retry-after" not in (locked.value.headers or {})

    await faults.inject("*", "restrict", order_id="locked", times=2)
    with pytest.raises(stripe.PermissionError, match="cannot currently make live charges"):
        await a_payment(shop, "locked")
    with pytest.raises(ResendError, match="domain is not verified") as unverified:
        await mailer.send_async(
            {"from": "shop@example.com", "to": "a@example.com", "subject": "Hi", "text": "Hi"},
            {"idempotency_key": "order-locked:confirmation"},
        )
    assert (int(unverified.value.code), unverified.value.error_type) == (403, "validation_error")
    assert (await a_payment(shop, "locked")).amount == 2000


async def test_a_bank_can_refuse_to_pay_what_it_holds(
    shop: stripe.StripeClient, faults: FaultClient
) -> None:
    held = await paid(shop, "unpaid", capture_method="manual")
    await faults.inject(
        "stripe.payment_intents.capture",
        "refuse",
        order_id="unpaid",
        reason="insufficient_funds",
        times=1,
    )
    with pytest.raises(stripe.CardError) as declined:
        await shop.v1.payment_intents.capture_async(held.id)
    assert declined.value.error is not None
    assert declined.value.error.decline_code == "insufficient_funds"
    assert (await shop.v1.payment_intents.capture_async(held.id)).status == "succeeded"


async def test_rate_limits_say_when_to_come_back(
    shop: stripe.StripeClient, mailer: type[resend.Emails], faults: FaultClient
) -> None:
    await faults.inject("stripe.*", "rate_limit", order_id="busy", seconds=7, times=1)
    with pytest.raises(stripe.RateLimitError) as limited:
        await a_payment(shop, "busy")
    assert limited.value.headers is not None
    assert limited.value.headers["retry-after"] == "7"
    assert limited.value.error is not None
    assert limited.value.error.code == "rate_limit"

    await faults.inject("resend.emails.send", "rate_limit", order_id="busy", seconds=3, times=1)
    with pytest.raises(ResendError) as mail_limited:
        await mailer.send_async(
            {"from": "shop@example.com", "to": "a@example.com", "subject": "Hi", "text": "Hi"},
            {"idempotency_key": "order-busy:confirmation"},
        )
    assert mail_limited.value.error_type == "rate_limit_exceeded"
    assert mail_limited.value.headers["retry-after"] == "3"


@pytest.mark.parametrize("reason", [None, "insufficient_funds", "expired_card"])
async def test_a_refused_confirmation_is_a_decline(
    shop: stripe.StripeClient, faults: FaultClient, reason: str | None
) -> None:
    intent = await a_payment(shop, "refused", payment_method="pm_card_visa")
    await faults.inject(
        "stripe.payment_intents.confirm", "refuse", order_id="refused", times=1, reason=reason
    )
    with pytest.raises(stripe.CardError) as declined:
        await shop.v1.payment_intents.confirm_async(intent.id)
    assert declined.value.error is not None
    code = declined.value.error.decline_code or declined.value.code
    assert code == (reason or "generic_decline")


async def test_a_fault_for_one_order_does_not_affect_others(
    shop: stripe.StripeClient, faults: FaultClient
) -> None:
    fault = await faults.inject("stripe.*", "error", order_id="unlucky")
    assert (await paid(shop, "lucky")).status == "succeeded"
    with pytest.raises(stripe.APIError):
        await paid(shop, "unlucky")
    assert (await faults.get(fault)).hits == 1
    await faults.remove(fault)


async def test_the_order_is_known_from_the_intent_and_from_the_key(
    shop: stripe.StripeClient, faults: FaultClient
) -> None:
    intent = await paid(shop, "known")
    fault = await faults.inject("stripe.refunds.create", "error", order_id="known")
    with pytest.raises(stripe.APIError):
        await shop.v1.refunds.create_async({"payment_intent": intent.id})
    by_key = await faults.inject("stripe.payment_intents.create", "error", order_id="keyed")
    parameters = payment_parameters()
    del parameters["metadata"]
    with pytest.raises(stripe.APIError):
        await shop.v1.payment_intents.create_async(parameters, keyed("order-keyed:charge:1"))
    await faults.remove(fault)
    await faults.remove(by_key)


async def test_an_unknown_endpoint_or_mode_is_rejected_with_the_list(faults: FaultClient) -> None:
    with pytest.raises(FaultRejectedError, match=r"stripe\.payment_intents\.create, "):
        await faults.inject("stripe.payment_intent.create", "error")
    with pytest.raises(FaultRejectedError, match="hang_up_after"):
        await faults.inject("stripe.*", "explode")  # type: ignore[arg-type]


async def test_waiting_for_a_hit_that_does_not_come_times_out(faults: FaultClient) -> None:
    fault = await faults.inject("stripe.*", "error", order_id="nobody")
    with pytest.raises(TimeoutError, match="was hit 0 times"):
        await faults.wait_for_hits(fault, timeout=0.1)
    await faults.remove(fault)


async def test_the_blocking_client_needs_no_event_loop(stand_in: StandInServer) -> None:
    def inject() -> int:
        client = BlockingFaultClient(stand_in.url)
        fault = client.inject("resend.*", "error", order_id="blocking", times=1)
        hits = client.get(fault).hits
        client.remove(fault)
        client.close()
        return hits

    assert await asyncio.to_thread(inject) == 0


@pytest.mark.parametrize(("mode", "captured"), [("html", 0), ("html_after", 2000)])
async def test_a_page_of_a_proxy_comes_instead_of_an_answer(
    shop: stripe.StripeClient,
    faults: FaultClient,
    books: BooksClient,
    mode: Mode,
    captured: int,
) -> None:
    order_id = f"page-{captured}"
    await faults.inject("stripe.payment_intents.create", mode, order_id=order_id, times=1)
    parameters = payment_parameters(order_id, payment_method="pm_card_visa", confirm=True)
    with pytest.raises(stripe.APIError, match="right back"):
        await shop.v1.payment_intents.create_async(parameters, keyed(order_id))
    assert (await books.order(order_id)).captured == captured

    again = await shop.v1.payment_intents.create_async(parameters, keyed(order_id))

    assert (again.status, (await books.order(order_id)).captured) == ("succeeded", 2000)
