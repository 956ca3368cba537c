"""Orders that go through, lose their worker, are cancelled or declined, and wait: for a person who
approves, for a customer at the bank. A part of one comes back.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any, Final

from rich.console import Console
from rich.markup import escape

from demo.shop import Shop
from demo.stage import Stage
from live import follow, show_lines
from orders.ids import refund_workflow_id, workflow_id
from orders.keys import Scope
from orders.money import Money
from orders.refunds import RefundEntry, RefundState

#: A scene takes a few seconds; on a machine that is busy with other things, more.
_SCENE_TIMEOUT: Final = 90.0
_WAREHOUSE: Final = "warehouse.fulfillments.create"
#: Orders of more than this wait for a person: of all that are told of here, one.
_TERMS: Final = {"APPROVAL_ABOVE": "EUR=150.00"}


class StoryError(Exception):
    """Something did not go as it is told; the message is a sentence."""


class Story:
    """Plays the scenes on ``stage`` and tells them on ``console``; ``shop`` asks for things."""

    def __init__(self, stage: Stage, shop: Shop, console: Console) -> None:
        self._stage = stage
        self._shop = shop
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
        shop = self._shop
        self._say(
            f"The shop has an HTTP API, process {shop.edge.pid}, and a key for it: "
            f"API={shop.url}, Authorization: Bearer do_…"
        )
        await asyncio.gather(worker.ready(), shop.edge.ready())
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
            answer = await self._shop.post("/orders/1003/cancel")
            await stage.dials.off(dial)
        if answer["kind"] != "cancelled":  # it took longer than the API waits: asked again it says
            answer = await self._shop.post("/orders/1003/cancel")
        given_back = _money(answer["given_back"])
        self._say(f"The customer is told: {answer['status']}, {given_back} is given back")
        self._say(await self._left("POSTER"))

    async def _is_declined(self) -> None:
        # The shop waits for what becomes of the payment: its customer is there to be told.
        card = "pm_card_visa_chargeDeclined"
        async with self._order("1004", sku="MUG", card=card, wait_seconds=10):
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
            approval = {"by": "sales", "note": "a collector"}
            await self._shop.post("/orders/1005/approve", approval, Scope.OPERATOR)
        await self._say_books("1005")

    async def _is_confirmed(self) -> None:
        stage = self._stage
        card = "pm_card_threeDSecure2Required"
        async with self._order("1006", sku="TEE", card=card, wait_seconds=10):
            await stage.waits("1006")
            (payment,) = (await stage.books.order("1006")).payments
            self._say(f"{await self._left('TEE')}. {await self._taken('1006')}")
            self._say("The customer confirms at the bank, and nobody tells us but Stripe's webhook")
            await stage.confirm_at_bank(payment.id)
        await self._say_books("1006")

    async def _comes_back(self) -> None:
        stage = self._stage
        self.workflow_ids.append(refund_workflow_id("1001", "r1"))
        known = len((await stage.orders.view("1001")).history)
        self._say(f"{await self._left('MUG')}. One of the two mugs of order 1001 is sent back")
        refunded = await self._refunded()
        show_lines((await stage.orders.view("1001")).history[known:], self._console)
        self._say(f"{refunded.amount} is given back. {await self._left('MUG')}")
        if await self._refunded() != refunded:
            raise StoryError("Asked for again, the refund became another one.")
        page = await stage.books.order("1001")
        kept = Money(page.captured - page.refunded, "EUR")
        self._say("The same refund is asked for again, and nothing moves")
        refunds = _counted(len(page.refunds), "refund")
        self._say(f"The books of order 1001: {refunds}, {kept} kept. {await self._left('MUG')}")

    async def _refunded(self) -> RefundEntry:
        refunds = self._stage.refunds
        returned = {"refund_id": "r1", "lines": [{"sku": "MUG", "quantity": 1}]}
        more = {"restock": True, "reason": "returned"}
        await self._shop.post("/orders/1001/refunds", returned | more, Scope.OPERATOR)
        await refunds.result("1001", "r1")
        (entry,) = await refunds.refunds_of("1001")
        if entry.state is not RefundState.SUCCEEDED:
            raise StoryError(f"Refund r1 of order 1001 is {entry.state}: {entry.why}.")
        return entry

    @contextlib.asynccontextmanager
    async def _order(
        self,
        order_id: str,
        *,
        sku: str,
        quantity: int = 1,
        card: str = "pm_card_visa",
        wait_seconds: int = 0,
    ) -> AsyncIterator[None]:
        """Check an order out and show it live, whatever the block does, until its end."""
        self.order_ids.append(order_id)
        self.workflow_ids.append(workflow_id(order_id))
        await self._shop.place(order_id, sku=sku, quantity=quantity, card=card)
        checkout: dict[str, Any] = {"order_id": order_id}
        if wait_seconds:
            checkout["wait_seconds"] = wait_seconds
        await self._shop.post("/checkout", checkout)
        showing = asyncio.create_task(
            follow(self._stage.orders.watch_view(order_id), self._console)
        )
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


def _money(told: dict[str, Any]) -> Money:
    return Money(told["amount"], told["currency"])


def _counted(number: int, noun: str) -> str:
    return f"{number} {escape(noun)}{'' if number == 1 else 's'}"
