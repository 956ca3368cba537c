"""The dials: each failure looks to the SDK as the real one does, and only where it was set."""

import asyncio
import time

import httpx
import pytest
import resend
import stripe
from resend.exceptions import ResendError

from sandbox.books_client import Books
from sandbox.fault_client import BlockingDials, DialError, Dials
from sandbox.world import World
from tests.sandbox.buying import a_payment, a_wish, keyed, paid


async def test_hanging_up_before_the_work_does_nothing(
    shop: stripe.StripeClient, dials: Dials, books: Books
) -> None:
    dial = await dials.turn("stripe.payment_intents.create", "hang_up", order_id="hung", times=1)
    with pytest.raises(stripe.APIConnectionError):
        await a_payment(shop, "hung")
    assert (await dials.look(dial)).hits == 1
    assert (await books.order("hung")).payments == ()
    assert (await a_payment(shop, "hung")).amount == 2000


async def test_hanging_up_after_the_work_has_done_it(
    shop: stripe.StripeClient, dials: Dials, books: Books
) -> None:
    wish = a_wish("lost", payment_method="pm_card_visa", confirm=True)
    await dials.turn("stripe.payment_intents.create", "hang_up_after", order_id="lost", times=1)
    with pytest.raises(stripe.APIConnectionError):
        await shop.v1.payment_intents.create_async(wish, keyed("lost"))
    assert (await books.order("lost")).captured == 2000

    again = await shop.v1.payment_intents.create_async(wish, keyed("lost"))

    assert again.status == "succeeded"
    assert (await books.order("lost")).captured == 2000


async def test_a_hang_up_is_no_http_answer(http: httpx.AsyncClient, dials: Dials) -> None:
    await dials.turn("warehouse.fulfillments.cancel", "hang_up", order_id="torn", times=1)
    with pytest.raises((httpx.RemoteProtocolError, httpx.ReadError)):
        await http.post(
            "/warehouse/fulfillments/torn/cancel", headers={"Authorization": "Bearer key"}
        )


async def test_a_delay_comes_before_the_work_and_ends_when_the_dial_is_turned_off(
    shop: stripe.StripeClient, dials: Dials, books: Books
) -> None:
    dial = await dials.turn("stripe.payment_intents.create", "delay", order_id="slow")
    asked = asyncio.create_task(paid(shop, "slow"))
    hit = await dials.wait_hit(dial)
    assert (hit.hits, hit.holding) == (1, 1)
    assert (await books.order("slow")).payments == ()
    await dials.off(dial)
    assert (await asked).status == "succeeded"


async def test_a_delay_after_has_done_the_work(
    shop: stripe.StripeClient, dials: Dials, books: Books
) -> None:
    dial = await dials.turn("stripe.payment_intents.create", "delay_after", order_id="slow-2")
    asked = asyncio.create_task(paid(shop, "slow-2"))
    await dials.wait_hit(dial)
    assert (await books.order("slow-2")).captured == 2000
    assert not asked.done()
    await dials.off(dial)
    assert (await asked).status == "succeeded"


async def test_a_delay_ends_by_itself(shop: stripe.StripeClient, dials: Dials) -> None:
    await dials.turn("stripe.*", "delay", order_id="slow-3", seconds=0.2, times=1)
    before = time.monotonic()
    await a_payment(shop, "slow-3")
    assert time.monotonic() - before >= 0.2


async def test_the_work_goes_on_when_the_caller_gave_up(
    world: World, dials: Dials, books: Books
) -> None:
    dial = await dials.turn("warehouse.fulfillments.cancel", "delay", order_id="late")
    async with httpx.AsyncClient(base_url=world.url, timeout=0.2) as impatient:
        with pytest.raises(httpx.ReadTimeout):
            await impatient.post(
                "/warehouse/fulfillments/late/cancel", headers={"Authorization": "Bearer key"}
            )
    await dials.off(dial)
    async with httpx.AsyncClient(base_url=world.url) as patient:
        answer = await patient.post(
            "/warehouse/fulfillments/late/cancel", headers={"Authorization": "Bearer key"}
        )
    assert answer.json()["outcome"] in {"never_accepted", "recalled"}
    assert (await books.order("late")).fulfillments == ()


async def test_rate_limits_say_when_to_come_back(
    shop: stripe.StripeClient, mailer: type[resend.Emails], dials: Dials
) -> None:
    await dials.turn("stripe.*", "rate_limit", order_id="busy", seconds=7, times=1)
    with pytest.raises(stripe.RateLimitError) as limited:
        await a_payment(shop, "busy")
    assert limited.value.headers is not None
    assert limited.value.headers["retry-after"] == "7"
    assert limited.value.error is not None
    assert limited.value.error.code == "rate_limit"

    await dials.turn("resend.emails.send", "rate_limit", order_id="busy", seconds=3, times=1)
    with pytest.raises(ResendError) as mail_limited:
        await mailer.send_async(
            {"from": "shop@example.com", "to": "a@example.com", "subject": "Hi", "text": "Hi"},
            {"idempotency_key": "order-busy:confirmation"},
        )
    assert mail_limited.value.error_type == "rate_limit_exceeded"
    assert mail_limited.value.headers["retry-after"] == "3"


@pytest.mark.parametrize("reason", [None, "insufficient_funds", "expired_card"])
async def test_a_refused_confirmation_is_a_decline(
    shop: stripe.StripeClient, dials: Dials, reason: str | None
) -> None:
    intent = await a_payment(shop, "refused", payment_method="pm_card_visa")
    await dials.turn(
        "stripe.payment_intents.confirm", "refuse", order_id="refused", times=1, reason=reason
    )
    with pytest.raises(stripe.CardError) as declined:
        await shop.v1.payment_intents.confirm_async(intent.id)
    assert declined.value.error is not None
    said = declined.value.error.decline_code or declined.value.code
    assert said == (reason or "generic_decline")


async def test_a_dial_for_one_order_leaves_the_others_alone(
    shop: stripe.StripeClient, dials: Dials
) -> None:
    dial = await dials.turn("stripe.*", "error", order_id="unlucky")
    assert (await paid(shop, "lucky")).status == "succeeded"
    with pytest.raises(stripe.APIError):
        await paid(shop, "unlucky")
    assert (await dials.look(dial)).hits == 1
    await dials.off(dial)


async def test_the_order_is_known_from_the_intent_and_from_the_key(
    shop: stripe.StripeClient, dials: Dials
) -> None:
    intent = await paid(shop, "known")
    dial = await dials.turn("stripe.refunds.create", "error", order_id="known")
    with pytest.raises(stripe.APIError):
        await shop.v1.refunds.create_async({"payment_intent": intent.id})
    by_key = await dials.turn("stripe.payment_intents.create", "error", order_id="keyed")
    wish = a_wish()
    del wish["metadata"]
    with pytest.raises(stripe.APIError):
        await shop.v1.payment_intents.create_async(wish, keyed("order-keyed:charge:1"))
    await dials.off(dial)
    await dials.off(by_key)


async def test_a_wrong_dial_is_told_what_there_is(dials: Dials) -> None:
    with pytest.raises(DialError, match=r"stripe\.payment_intents\.create, "):
        await dials.turn("stripe.payment_intent.create", "error")
    with pytest.raises(DialError, match="hang_up_after"):
        await dials.turn("stripe.*", "explode")  # type: ignore[arg-type]


async def test_waiting_for_a_hit_that_does_not_come_times_out(dials: Dials) -> None:
    dial = await dials.turn("stripe.*", "error", order_id="nobody")
    with pytest.raises(TimeoutError, match="was hit 0 times"):
        await dials.wait_hit(dial, timeout=0.1)
    await dials.off(dial)


async def test_dials_turn_without_an_event_loop_too(world: World) -> None:
    def turn() -> int:
        blocking = BlockingDials(world.url)
        dial = blocking.turn("resend.*", "error", order_id="blocking", times=1)
        hits = blocking.look(dial).hits
        blocking.off(dial)
        blocking.close()
        return hits

    assert await asyncio.to_thread(turn) == 0
