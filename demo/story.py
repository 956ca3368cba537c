"""Four orders: one goes through, one loses its worker, one is cancelled, one is declined."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from datetime import timedelta
from typing import Final

from rich.console import Console
from rich.markup import escape

from demo.stage import Stage
from live import follow
from orders.messages import Cancelled
from orders.money import Money

#: A scene takes a few seconds; on a machine that is busy with other things, more.
_SCENE_TIMEOUT: Final = 90.0
_WAREHOUSE: Final = "warehouse.fulfillments.create"


class StoryError(Exception):
    """Something did not go as it is told; the message is a sentence."""


class Story:
    """Plays the scenes on ``stage`` and tells them on ``console``."""

    def __init__(self, stage: Stage, console: Console) -> None:
        self._stage = stage
        self._console = console
        self.order_ids: list[str] = []

    async def tell(self) -> None:
        """All scenes. Raises ``StoryError`` when one does not come to its end."""
        scenes: tuple[tuple[str, Callable[[], Awaitable[None]]], ...] = (
            ("An order goes through", self._goes_through),
            ("The worker is killed right after the card was charged", self._is_killed),
            ("A customer cancels after the charge", self._is_cancelled),
            ("A bank declines the card", self._is_declined),
        )
        for number, (title, scene) in enumerate(scenes, 1):
            self._console.print()
            self._console.rule(f"[bold]{number}. {title}", align="left")
            began = time.monotonic()
            try:
                async with asyncio.timeout(_SCENE_TIMEOUT):
                    await scene()
            except TimeoutError:
                raise StoryError(f"Scene {number} took more than {_SCENE_TIMEOUT:.0f} s.") from None
            self._console.print(f"[dim]({time.monotonic() - began:.1f} s)")

    async def _goes_through(self) -> None:
        worker = await self._stage.start_worker()
        self._say(f"A worker starts, process {worker.pid}; its log is {worker.log_file}")
        await worker.ready()
        async with self._order("1001", sku="MUG", quantity=2):
            pass

    async def _is_killed(self) -> None:
        stage, (worker,) = self._stage, self._stage.at_work
        # The warehouse takes the request and keeps the worker waiting: time for a murder.
        dial = await stage.dials.turn(_WAREHOUSE, "delay", order_id="1002", times=1)
        async with self._order("1002", sku="TEE"):
            await stage.dials.wait_hit(dial, timeout=60)
            taken = Money((await stage.books.order("1002")).captured, "EUR")
            await worker.kill()
            self._say(
                f"[bold red]kill -9 {worker.pid}[/]: Stripe has taken {taken}, and the worker died "
                "while it was asking the warehouse"
            )
            successor = await stage.start_worker()
            self._say(f"Another worker starts, process {successor.pid}")
            # The request of the dead worker arrives nevertheless, and another one will follow.
            await stage.dials.off(dial)
        page = await stage.books.order("1002")
        self._say(
            f"The books of order 1002: {_counted(len(page.payments), 'charge')}, "
            f"{_counted(len(page.parcels), 'parcel')}, {_counted(len(page.mails), 'mail')}"
        )

    async def _is_cancelled(self) -> None:
        stage = self._stage
        dial = await stage.dials.turn(_WAREHOUSE, "delay", order_id="1003", times=1)
        async with self._order("1003", sku="POSTER", quantity=3):
            await stage.dials.wait_hit(dial, timeout=60)
            self._say(f"{await self._left('POSTER')}. The card is charged; the customer cancels")
            answer = await stage.orders.cancel("1003", wait=timedelta(seconds=60))
            await stage.dials.off(dial)
        if not isinstance(answer, Cancelled):
            raise StoryError(f"Order 1003 was not cancelled: {answer}.")
        self._say(f"The customer is told: {answer.status}, {answer.given_back} is given back")
        self._say(await self._left("POSTER"))

    async def _is_declined(self) -> None:
        async with self._order("1004", sku="MUG", card="pm_card_visa_chargeDeclined"):
            pass

    @contextlib.asynccontextmanager
    async def _order(
        self, order_id: str, *, sku: str, quantity: int = 1, card: str = "pm_card_visa"
    ) -> AsyncIterator[None]:
        """Start an order and show it live, whatever the block does, until its end."""
        self.order_ids.append(order_id)
        await self._stage.place(order_id, sku=sku, quantity=quantity, card=card)
        await self._stage.orders.start(order_id)
        showing = asyncio.create_task(follow(self._stage.orders.watch(order_id), self._console))
        try:
            yield
            await showing
        finally:
            showing.cancel()
            await asyncio.wait([showing])

    async def _left(self, sku: str) -> str:
        (product,) = [each for each in await self._stage.stock() if each.sku == sku]
        return f"{sku}: {product.on_hand} on hand, {product.reserved} set aside"

    def _say(self, sentence: str) -> None:
        self._console.print(f"[cyan]>[/] {sentence}")


def _counted(number: int, noun: str) -> str:
    return f"{number} {escape(noun)}{'' if number == 1 else 's'}"
