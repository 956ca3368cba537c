"""The scenes of the demo: a completed order, a killed worker, a cancellation, a decline, an
approval, 3-D Secure, a partial refund, a fraud warning and a dispute.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from typing import Any, Final

from rich.console import Console
from rich.markup import escape
from rich.text import Text

from demo.environment import DemoEnvironment
from demo.shop import Shop
from durable_orders.cli.live import headline, show_lines
from durable_orders.clients.orders import OrderClient
from durable_orders.domain.disputes.dispute import ConcernKind
from durable_orders.domain.ids import (
    payment_risk_workflow_id,
    refund_workflow_id,
    warning_refund_id,
    workflow_id,
)
from durable_orders.domain.money import Money
from durable_orders.domain.operators.api_keys import Scope
from durable_orders.domain.refunds.refund import RefundEntry, RefundState
from durable_orders.domain.views import HistoryLine
from durable_orders.process import PROGRAM

#: Seconds. A scene takes a few, more on a busy machine.
_SCENE_TIMEOUT: Final = 90.0
_WAREHOUSE: Final = "warehouse.fulfillments.create"
#: Orders above this amount wait for approval: one order of the demo.
_TERMS: Final = {"APPROVAL_ABOVE": "EUR=150.00"}


class SceneError(Exception):
    """A scene did not go as expected; the message is a sentence."""


class OrderLog:
    """Prints an order's history as it grows, line by line."""

    def __init__(self, orders: OrderClient, order_id: str, console: Console) -> None:
        self._orders = orders
        self._order_id = order_id
        self._console = console
        self._shown = 0

    async def follow(self) -> None:
        """Print what happens to the order, and what it is doing, until its run ends."""
        doing = ""
        async for seen in self._orders.watch_view(self._order_id):
            self._show(seen.view.history)
            if seen.doing == "ended":
                self._console.print(headline(seen))
            elif seen.doing != doing:
                doing = seen.doing
                self._console.print(Text(f"          {doing} …"))

    async def catch_up(self) -> None:
        """Print what has happened so far: what is told next happened later."""
        self._show((await self._orders.view(self._order_id)).history)

    def _show(self, history: Sequence[HistoryLine]) -> None:
        show_lines(history[self._shown :], self._console)
        self._shown = max(self._shown, len(history))


class Scenes:
    """Runs the scenes in ``environment`` with requests of ``shop``; narrates on ``console``."""

    def __init__(self, environment: DemoEnvironment, shop: Shop, console: Console) -> None:
        self._environment = environment
        self._shop = shop
        self._console = console
        self.order_ids: list[str] = []
        self.workflow_ids: list[str] = []
        self._log: OrderLog | None = None

    async def run(self) -> None:
        """Run all scenes. Raises ``SceneError`` when one fails or takes too long."""
        scenes: tuple[tuple[str, Callable[[], Awaitable[None]]], ...] = (
            ("An order goes through", self._complete_order),
            ("The worker is killed right after the card was charged", self._kill_worker),
            ("A customer cancels after the charge", self._cancel_order),
            ("A bank declines the card", self._decline_card),
            ("An expensive order waits for a person, and loses its worker", self._approve_order),
            ("A bank asks its customer to confirm (3-D Secure)", self._authenticate_payment),
            ("3-D Secure fails, and the customer pays in the browser", self._pay_in_browser),
            ("A part of an order comes back", self._refund_part),
            ("A bank warns of fraud, and a refund spares the dispute", self._heed_warning),
            ("A customer disputes a payment, and the shop answers", self._answer_dispute),
        )
        for number, (title, scene) in enumerate(scenes, 1):
            self._console.print()
            self._console.rule(f"[bold]{number}. {title}", align="left")
            started = time.monotonic()
            try:
                async with asyncio.timeout(_SCENE_TIMEOUT):
                    await scene()
            except TimeoutError:
                raise SceneError(f"Scene {number} took more than {_SCENE_TIMEOUT:.0f} s.") from None
            self._console.print(f"[dim]({time.monotonic() - started:.1f} s)")

    async def _complete_order(self) -> None:
        worker = await self._environment.start_worker(**_TERMS)
        await self._narrate(f"A worker starts, process {worker.pid}; its log is {worker.log_file}")
        shop = self._shop
        await self._narrate(
            f"The shop has an HTTP API, process {shop.api_process.pid}. Every request below can be "
            "pasted into a terminal that has these:"
        )
        self._console.print(Text(shop.variables, "bold"))
        await asyncio.gather(worker.ready(), shop.api_process.ready())
        async with self._order("1001", sku="MUG", quantity=2):
            pass

    async def _kill_worker(self) -> None:
        environment, (worker,) = self._environment, self._environment.running_workers
        # The warehouse delays its response, so the worker can be killed during the request.
        fault = await environment.faults.inject(_WAREHOUSE, "delay", order_id="1002", times=1)
        async with self._order("1002", sku="TEE"):
            await environment.faults.wait_for_hits(fault, timeout=60)
            taken = await self._captured_line("1002")
            await worker.kill()
            await self._narrate(
                f"[bold red]kill -9 {worker.pid}[/]: {taken}, and the worker died "
                "while it was asking the warehouse"
            )
            successor = await environment.start_worker(**_TERMS)
            await self._narrate(f"Another worker starts, process {successor.pid}")
            # The dead worker's request is executed nevertheless, and the retry follows.
            await environment.faults.remove(fault)
        await self._narrate_books("1002")

    async def _cancel_order(self) -> None:
        environment = self._environment
        fault = await environment.faults.inject(_WAREHOUSE, "delay", order_id="1003", times=1)
        async with self._order("1003", sku="POSTER", quantity=3):
            await environment.faults.wait_for_hits(fault, timeout=60)
            await self._narrate(
                f"{await self._stock_line('POSTER')}. The card is charged; the customer cancels"
            )
            answer = await self._shop.post("/orders/1003/cancel")
            await environment.faults.remove(fault)
        if answer["kind"] != "cancelled":  # the API's wait was too short: repeat the request
            answer = await self._shop.post("/orders/1003/cancel")
        given_back = _money(answer["given_back"])
        await self._narrate(f"The customer is told: {answer['status']}, {given_back} is given back")
        await self._narrate(await self._stock_line("POSTER"))

    async def _decline_card(self) -> None:
        # The shop waits for the payment's result, because its customer is present.
        card = "pm_card_visa_chargeDeclined"
        async with self._order("1004", sku="MUG", card=card, wait_seconds=10):
            pass

    async def _approve_order(self) -> None:
        environment, (worker,) = self._environment, self._environment.running_workers
        async with self._order("1005", sku="PRINT-1OF1"):
            await environment.wait_until_waiting("1005")
            await self._narrate(
                f"{await self._stock_line('PRINT-1OF1')}. {await self._captured_line('1005')}"
            )
            await worker.kill()
            successor = await environment.start_worker(**_TERMS)
            await self._narrate(
                f"[bold red]kill -9 {worker.pid}[/]: nobody is at work, and the order goes on "
                f"waiting. Another worker starts, process {successor.pid}"
            )
            await successor.ready()
            await self._narrate(
                "A person approves the order, here by a request; for people there is a page: "
                f"{self._shop.url}/operator/orders/1005"
            )
            approval = {"by": "sales", "note": "a collector"}
            await self._shop.post("/orders/1005/approve", approval, Scope.OPERATOR)
        await self._narrate_books("1005")

    async def _authenticate_payment(self) -> None:
        environment = self._environment
        card = "pm_card_threeDSecure2Required"
        async with self._order("1006", sku="TEE", card=card, wait_seconds=10):
            await environment.wait_until_waiting("1006")
            (payment,) = (await environment.books.order("1006")).payments
            await self._narrate(
                f"{await self._stock_line('TEE')}. {await self._captured_line('1006')}"
            )
            await self._narrate(
                "The customer confirms at the bank, and nobody tells us but Stripe's webhook"
            )
            await environment.confirm_at_bank(payment.id)
        await self._narrate_books("1006")

    async def _pay_in_browser(self) -> None:
        environment, (worker,) = self._environment, self._environment.running_workers
        await worker.stop()
        successor = await environment.start_worker(**_TERMS, NEW_CARD_WINDOW_MINUTES="5")
        await successor.ready()
        await self._narrate(
            "From here on a customer may try again for five minutes: another worker has "
            "NEW_CARD_WINDOW_MINUTES=5"
        )
        card = "pm_card_threeDSecure2Required"
        async with self._order("1007", sku="TEE", card=card, wait_seconds=10):
            await environment.wait_until_waiting("1007")
            (payment,) = (await environment.books.order("1007")).payments
            await self._narrate("The customer fails at the bank")
            await environment.confirm_at_bank(payment.id, passes=False)
            await self._wait_for_event("1007", "payment_declined")
            await self._narrate(
                "The customer pays the same payment with another card in the browser, and nobody "
                "tells us but Stripe's webhook"
            )
            await environment.pay_in_browser(payment.id, "pm_card_mastercard")
        booked = await environment.books.order("1007")
        payments = _counted(len(booked.payments), "payment")
        taken = Money(booked.captured, "EUR")
        await self._narrate(f"The books of order 1007: {payments}, {taken} taken")

    async def _refund_part(self) -> None:
        environment = self._environment
        self.workflow_ids.append(refund_workflow_id("1001", "r1"))
        known = len((await environment.orders.view("1001")).history)
        await self._narrate(
            f"{await self._stock_line('MUG')}. One of the two mugs of order 1001 is sent back"
        )
        entry = await self._request_refund()
        show_lines((await environment.orders.view("1001")).history[known:], self._console)
        await self._narrate(f"{entry.amount} is given back. {await self._stock_line('MUG')}")
        if await self._request_refund() != entry:
            raise SceneError("Asked for again, the refund became another one.")
        booked = await environment.books.order("1001")
        kept = Money(booked.captured - booked.refunded, "EUR")
        await self._narrate("The same refund is asked for again, and nothing moves")
        refunds = _counted(len(booked.refunds), "refund")
        await self._narrate(
            f"The books of order 1001: {refunds}, {kept} kept. {await self._stock_line('MUG')}"
        )

    async def _heed_warning(self) -> None:
        environment = self._environment
        view = await environment.orders.view("1006")
        await self._narrate("The bank of order 1006's card reports fraud to Stripe")
        await environment.warn_of_fraud(view.payments[0].payment_id)
        warning = await environment.wait_for_risk("1006", ConcernKind.FRAUD_WARNING, "actionable")
        await self._shop.get(f"/disputes/{warning.risk_id}")
        refund_id = warning_refund_id(warning.risk_id)
        self.workflow_ids.append(refund_workflow_id("1006", refund_id))
        refund = {"refund_id": refund_id, "message": "early fraud warning"}
        await self._shop.post("/orders/1006/refunds", refund, Scope.OPERATOR)
        await environment.refunds.result("1006", refund_id)
        settled = await environment.wait_for_risk("1006", warning.kind, "settled")
        await self._show_since("1006", len(view.history))
        booked = await environment.books.order("1006")
        given_back, disputes = Money(booked.refunded, "EUR"), len(booked.disputes)
        await self._narrate(
            f"The warning is {settled.state}. The books of order 1006: {given_back} given back, "
            f"{_counted(disputes, 'dispute')}"
        )

    async def _answer_dispute(self) -> None:
        environment = self._environment
        view = await environment.orders.view("1007")
        await self._narrate("The customer tells the bank that order 1007 never came")
        await environment.dispute(view.payments[0].payment_id, "product_not_received")
        risk = await environment.wait_for_risk("1007", ConcernKind.CHARGEBACK, "needs_response")
        due = f", and waits for evidence until {risk.due_by:%d %B}" if risk.due_by else ""
        await self._narrate(f"The bank takes {risk.withdrawn}{due}. What the order tells:")
        evidence = await environment.disputes.evidence(risk.risk_id)
        for name in ("product_description", "shipping_address"):
            text = " / ".join(evidence.texts[name].splitlines())
            self._console.print(Text(f"          {name}: {text}"))
        # In Stripe's test mode this text wins.
        text = "winning_evidence"
        command = f"disputes evidence {risk.risk_id} --set uncategorized_text={text} --submit"
        self._console.print(Text(f"{PROGRAM} {command}", "bold"))
        evidence = evidence.with_texts({"uncategorized_text": text})
        await environment.disputes.send_evidence(evidence, submit=True)
        await environment.wait_for_risk("1007", risk.kind, "won")
        self.workflow_ids.append(payment_risk_workflow_id("1007"))
        await self._show_since("1007", len(view.history))
        booked = await environment.books.order("1007")
        await self._narrate(
            f"The bank decides for the shop. The books of order 1007: {_counted(1, 'dispute')} "
            f"{booked.disputes[0].status}, {Money(booked.captured - booked.withdrawn, 'EUR')} kept"
        )

    async def _show_since(self, order_id: str, known: int) -> None:
        """Print what was added to the order's history."""
        show_lines((await self._environment.orders.view(order_id)).history[known:], self._console)

    async def _request_refund(self) -> RefundEntry:
        refunds = self._environment.refunds
        returned = {"refund_id": "r1", "lines": [{"sku": "MUG", "quantity": 1}]}
        more = {"restock": True, "reason": "returned"}
        await self._shop.post("/orders/1001/refunds", returned | more, Scope.OPERATOR)
        await refunds.result("1001", "r1")
        (entry,) = await refunds.refunds_of("1001")
        if entry.state is not RefundState.SUCCEEDED:
            raise SceneError(f"Refund r1 of order 1001 is {entry.state}: {entry.why}.")
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
        """Place an order, check it out and print its history live until the run's end."""
        self.order_ids.append(order_id)
        self.workflow_ids.append(workflow_id(order_id))
        await self._shop.place(order_id, sku=sku, quantity=quantity, card=card)
        checkout: dict[str, Any] = {"order_id": order_id}
        if wait_seconds:
            checkout["wait_seconds"] = wait_seconds
        await self._shop.post("/checkout", checkout)
        self._log = OrderLog(self._environment.orders, order_id, self._console)
        following = asyncio.create_task(self._log.follow())
        try:
            yield
            await following
        finally:
            self._log = None
            following.cancel()
            await asyncio.wait([following])

    async def _wait_for_event(self, order_id: str, event: str) -> None:
        """Return once the order's history has the event."""
        async for seen in self._environment.orders.watch_view(order_id):
            if any(line.event == event for line in seen.view.history):
                return

    async def _stock_line(self, sku: str) -> str:
        (product,) = [each for each in await self._environment.stock() if each.sku == sku]
        return f"{sku}: {product.on_hand} on hand, {product.reserved} set aside"

    async def _captured_line(self, order_id: str) -> str:
        taken = Money((await self._environment.books.order(order_id)).captured, "EUR")
        return f"Stripe has taken {taken}"

    async def _narrate_books(self, order_id: str) -> None:
        booked = await self._environment.books.order(order_id)
        charges = sum(len(payment.charges) for payment in booked.payments)
        await self._narrate(
            f"The books of order {order_id}: {_counted(charges, 'charge')}, "
            f"{_counted(len(booked.parcels), 'parcel')}, {_counted(len(booked.mails), 'mail')}"
        )

    async def _narrate(self, sentence: str) -> None:
        """Print a sentence, after what has happened to the order before."""
        if self._log is not None:
            await self._log.catch_up()
        self._console.print(f"[cyan]>[/] {sentence}")


def _money(amount: dict[str, Any]) -> Money:
    return Money(amount["amount"], amount["currency"])


def _counted(number: int, noun: str) -> str:
    return f"{number} {escape(noun)}{'' if number == 1 else 's'}"
