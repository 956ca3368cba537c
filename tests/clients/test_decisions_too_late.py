"""Decisions that reach a run in the same workflow task as the cancellation before them."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from datetime import timedelta
from typing import Any, Protocol

import pytest

from durable_orders.clients.errors import NotWaitingError
from durable_orders.domain.lifecycle import Status
from durable_orders.domain.terms import ShopTerms
from tests.support.shop import Shop

DECLINED = "pm_card_visa_chargeDeclined"


class Decide(Protocol):
    def __call__(self, shop: Shop, order_id: str) -> Coroutine[Any, Any, object]:
        """Tell the order something that it waits for."""


def approve(shop: Shop, order_id: str) -> Coroutine[Any, Any, object]:
    return shop.operations.approve(order_id, "ops-7")


def reject(shop: Shop, order_id: str) -> Coroutine[Any, Any, object]:
    return shop.operations.reject(order_id, "ops-7", "no")


def pay_with_another_card(shop: Shop, order_id: str) -> Coroutine[Any, Any, object]:
    return shop.orders.submit_payment_method(order_id, "pm_card_mastercard")


@pytest.mark.parametrize(
    ("waits_for", "decide"),
    [
        ("waiting for approval", approve),
        ("waiting for approval", reject),
        ("waiting for another card", pay_with_another_card),
    ],
)
async def test_what_comes_after_the_cancellation_is_refused(
    closed_shop: Shop, waits_for: str, decide: Decide
) -> None:
    shop = closed_shop
    shop.terms = ShopTerms(new_card_window=timedelta(hours=1))
    async with shop.worker():
        order_id = await shop.start(card=DECLINED, flagged="approval" in waits_for)
        await shop.reaches(order_id, waits_for)
    await shop.orders.request_cancel(order_id)
    deciding = asyncio.create_task(decide(shop, order_id))
    async with shop.worker():
        with pytest.raises(NotWaitingError):
            await deciding
        assert (await shop.orders.result(order_id)).status is Status.CANCELLED
