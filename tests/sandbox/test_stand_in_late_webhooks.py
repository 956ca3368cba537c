"""Webhooks that come twice, or late and so out of order: as providers say that theirs do."""

from __future__ import annotations

import asyncio

import httpx
import stripe

from sandbox.fault_client import FaultClient
from tests.sandbox.buying import paid
from tests.sandbox.listening import Heard, hearing

SUCCEEDED = "payment_intent.succeeded"


async def _until(heard: Heard, intent: stripe.PaymentIntent, times: int = 1) -> None:
    """Wait until the payment was told so often."""
    async with asyncio.timeout(20):
        while _told(heard).count(intent.id) < times:
            await heard.next()


def _told(heard: Heard) -> list[str]:
    """The payments of which it was told that they succeeded, in this order."""
    return [each["data"]["object"]["id"] for each in heard.events if each["type"] == SUCCEEDED]


async def test_a_webhook_that_comes_twice_is_the_same_event(
    shop: stripe.StripeClient, http: httpx.AsyncClient, faults: FaultClient
) -> None:
    async with hearing(http) as heard:
        twice = await faults.inject("stripe.webhooks", "twice")
        intent = await paid(shop, "told-twice")
        await _until(heard, intent, times=2)
        await faults.remove(twice)

    told = [each["id"] for each in heard.events if each["type"] == SUCCEEDED]
    assert len(told) == 2
    assert len(set(told)) == 1


async def test_a_webhook_that_is_late_comes_after_those_that_follow_it(
    shop: stripe.StripeClient, http: httpx.AsyncClient, faults: FaultClient
) -> None:
    async with hearing(http) as heard:
        late = await faults.inject("*.webhooks", "late", seconds=5)
        first = await paid(shop, "told-late")
        await faults.wait_for_hits(late, times=2)
        await faults.remove(late)
        second = await paid(shop, "told-at-once")
        await _until(heard, first)

    assert [each for each in _told(heard) if each in {first.id, second.id}] == [second.id, first.id]


async def test_a_fault_of_requests_is_none_of_webhooks(
    shop: stripe.StripeClient, http: httpx.AsyncClient, faults: FaultClient
) -> None:
    intent = await paid(shop, "told-as-ever")
    async with hearing(http) as heard:
        broken = await faults.inject("stripe.*", "error")
        await http.post(f"/sandbox/payment_intents/{intent.id}/dispute")
        async with asyncio.timeout(10):
            while "charge.dispute.created" not in heard.types():
                await heard.next()
        await faults.remove(broken)
    assert broken.hits == 0
