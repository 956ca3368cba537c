"""Orders that go through, lose their worker, are cancelled or declined, and wait: for a person who
approves, for a customer at the bank. A part of one comes back.
"""

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
from live import follow, show_lines
from orders.ids import refund_workflow_id, workflow_id
from orders.messages import Cancelled
from orders.money import Money
from orders.refunds import RefundEntry, RefundReason, RefundRequest, RefundState

#: A scene takes a few seconds; on a machine that is busy with other things, more.
_SCENE_TIMEOUT: Final = 90.0
_WAREHOUSE: Final = "warehouse.fulfillments.create"
#: Orders of more than this wait for a person: of all that are told of here, one.
_TERMS: Final = {"APPROVAL_ABOVE": "EUR=150.00"}


class StoryError(Exception):
    """Something did not go as it is told; the message is a sentence."""


class Story:
    """Plays the scenes on ``stage`` and tells them on ``console``."""

    def __init__(self, stage: Stage, console: Console) -> None:
        self._stage = stage
        self._console = console
        self.order_ids: list[str] = []
        self.workflow_ids: list[str] = []

    async def tell(self) -> None:
        """All scenes. Raises ``StoryError`` when one does not come to its end."""
        scenes: tuple[tuple[str, Callable[[], Awaitable[None]]], ...] = (
            ("An order goes through", self._goes_through),
            ("The worker is killed right after the card was charged", self._is_killed),
            ("A customer cancels after the charge", self._is_cancelled),
            ("A bank declines the card", self._is_declined),
            ("An expensive order waits for a person, and loses its worker", self._is_approved),
            ("A bank asks its customer to confirm (3-D Secure)", self._is_confirmed),
            ("A part of an order comes back", self._comes_back),
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
        worker = await self._stage.start_worker(**_TERMS)
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
            taken = await self._taken("1002")
            await worker.kill()
            self._say(
                f"[bold red]kill -9 {worker.pid}[/]: {taken}, and the worker died "
                "while it was asking the warehouse"
            )
            successor = await stage.start_worker(**_TERMS)
            self._say(f"Another worker starts, process {successor.pid}")
            # The request of the dead worker arrives nevertheless, and another one will follow.
            await stage.dials.off(dial)
        await self._say_books("1002")

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

    async def _is_approved(self) -> None:
        stage, (worker,) = self._stage, self._stage.at_work
        async with self._order("1005", sku="PRINT-1OF1"):
            await stage.waits("1005")
            self._say(f"{await self._left('PRINT-1OF1')}. {await self._taken('1005')}")
            await worker.kill()
            successor = await stage.start_worker(**_TERMS)
            self._say(
                f"[bold red]kill -9 {worker.pid}[/]: nobody is at work, and the order goes on "
                f"waiting. Another worker starts, process {successor.pid}"
            )
            await successor.ready()
            self._say("A person approves the order")
            await stage.orders.approve(
                "1005", by="sales", note="a collector", wait=timedelta(seconds=60)
            )
        await self._say_books("1005")

    async def _is_confirmed(self) -> None:
        stage = self._stage
        async with self._order("1006", sku="TEE", card="pm_card_threeDSecure2Required"):
            await stage.waits("1006")
            (payment,) = (await stage.books.order("1006")).payments
            self._say(f"{await self._left('TEE')}. {await self._taken('1006')}")
            await stage.confirm_at_bank(payment.id)
            self._say("The customer confirms at the bank; Stripe's webhook says: look again")
            await stage.orders.payment_updated("1006")
        await self._say_books("1006")

    async def _comes_back(self) -> None:
        stage = self._stage
        request = RefundRequest(
            "1001", "r1", (("MUG", 1),), restock=True, reason=RefundReason.RETURNED
        )
        self.workflow_ids.append(refund_workflow_id("1001", "r1"))
        known = len((await stage.orders.view("1001")).history)
        self._say(f"{await self._left('MUG')}. One of the two mugs of order 1001 is sent back")
        refunded = await self._refunded(request)
        show_lines((await stage.orders.view("1001")).history[known:], self._console)
        self._say(f"{refunded.amount} is given back. {await self._left('MUG')}")
        if await self._refunded(request) != refunded:
            raise StoryError("Asked for again, the refund became another one.")
        page = await stage.books.order("1001")
        kept = Money(page.captured - page.refunded, "EUR")
        self._say("The same refund is asked for again, and nothing moves")
        refunds = _counted(len(page.refunds), "refund")
        self._say(f"The books of order 1001: {refunds}, {kept} kept. {await self._left('MUG')}")

    async def _refunded(self, request: RefundRequest) -> RefundEntry:
        refunds, ids = self._stage.refunds, (request.order_id, request.refund_id)
        await refunds.request(request)
        await refunds.result(*ids)
        (entry,) = await refunds.refunds_of(request.order_id)
        if entry.state is not RefundState.SUCCEEDED:
            raise StoryError(f"Refund {ids[1]} of order {ids[0]} is {entry.state}: {entry.why}.")
        return entry

    @contextlib.asynccontextmanager
    async def _order(
        self, order_id: str, *, sku: str, quantity: int = 1, card: str = "pm_card_visa"
    ) -> AsyncIterator[None]:
        """Start an order and show it live, whatever the block does, until its end."""
        self.order_ids.append(order_id)
        self.workflow_ids.append(workflow_id(order_id))
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

    async def _taken(self, order_id: str) -> str:
        taken = Money((await self._stage.books.order(order_id)).captured, "EUR")
        return f"Stripe has taken {taken}"

    async def _say_books(self, order_id: str) -> None:
        page = await self._stage.books.order(order_id)
        charges = sum(len(payment.charges) for payment in page.payments)
        self._say(
            f"The books of order {order_id}: {_counted(charges, 'charge')}, "
            f"{_counted(len(page.parcels), 'parcel')}, {_counted(len(page.mails), 'mail')}"
        )

    def _say(self, sentence: str) -> None:
        self._console.print(f"[cyan]>[/] {sentence}")


def _counted(number: int, noun: str) -> str:
    return f"{number} {escape(noun)}{'' if number == 1 else 's'}"
