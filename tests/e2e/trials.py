"""The orders of one test: placed, held at a moment, let go, followed to their end."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from itertools import count

from sqlalchemy import text

from demo.environment import PRESENT, DemoEnvironment
from demo.invariants import violations_of
from durable_orders.domain.activity_messages import Outcome
from durable_orders.domain.money import Money
from durable_orders.domain.order import PaymentOptions
from durable_orders.store.seed import Product
from tests.e2e.moments import Hold, Moment


@dataclass
class Trials:
    """Orders of one test; ``name`` begins their ids."""

    environment: DemoEnvironment
    name: str
    order_ids: list[str] = field(default_factory=list)
    _holds: list[Hold] = field(default_factory=list)
    _numbers: count[int] = field(default_factory=lambda: count(1))

    async def place(
        self,
        *,
        sku: str = "MUG",
        quantity: int = 1,
        card: str = "pm_card_visa",
        options: PaymentOptions = PRESENT,
    ) -> str:
        """A new order, not started; its id."""
        order_id = f"{self.name}-{next(self._numbers)}"
        await self.environment.place(
            order_id, sku=sku, quantity=quantity, card=card, options=options
        )
        self.order_ids.append(order_id)
        return order_id

    async def product(self, name: str, on_hand: int = 10) -> str:
        """A new product, for orders that are not to wait for each other; its sku."""
        sku = f"{self.name}-{name}".upper()
        await self.environment.add_product(Product(sku, sku, Money(9_00, "EUR"), on_hand))
        return sku

    async def start(
        self, *, sku: str = "MUG", quantity: int = 1, card: str = "pm_card_visa"
    ) -> str:
        """A new order, started; its id."""
        order_id = await self.place(sku=sku, quantity=quantity, card=card)
        await self.environment.orders.start(order_id)
        return order_id

    async def hold(self, moment: Moment, order_id: str) -> None:
        """Have an order held when it comes there, see ``reached``."""
        self._holds.append(await moment.hold(self.environment, order_id))

    async def hold_at(self, moment: Moment, order_id: str) -> None:
        """Start an order that was placed; it will be held there, see ``reached``."""
        await self.hold(moment, order_id)
        await self.environment.orders.start(order_id)

    async def start_and_hold(
        self, moment: Moment, *, sku: str = "MUG", card: str = "pm_card_visa"
    ) -> str:
        """A new order, started, to be held at ``moment``; its id."""
        order_id = await self.place(sku=sku, card=card)
        await self.hold_at(moment, order_id)
        return order_id

    async def reached(self) -> None:
        """Return once every held order is where it is held."""
        try:
            await asyncio.gather(*(hold.reached() for hold in self._holds))
        except TimeoutError as error:
            error.add_note(await self._situation())
            raise

    async def _situation(self) -> str:
        """Where the orders are, who waits for whom in the database, what the workers last said."""
        lines = [str(await self.environment.orders.status(order_id)) for order_id in self.order_ids]
        activity = text(
            "SELECT format('%s waits for %s, %s: %s', pid, pg_blocking_pids(pid), state, query) "
            "FROM pg_stat_activity WHERE state <> 'idle'"
        )
        async with self.environment.database.statement() as connection:
            lines += await connection.scalars(activity)
        for worker in self.environment.running_workers:
            lines += [f"worker {worker.pid}:", *worker.log.splitlines()[-10:]]
        return "\n".join(lines)

    async def let_go(self) -> None:
        """Let every held order go on."""
        holds, self._holds = self._holds, []
        await asyncio.gather(*(hold.let_go() for hold in holds))

    async def outcome(self, order_id: str) -> Outcome:
        """How the order ended, once it has."""
        async with asyncio.timeout(45):
            return await self.environment.orders.result(order_id)

    async def outcomes(self) -> list[Outcome]:
        """How each order ended, in the order they were placed; every promise must hold."""
        ended = await asyncio.gather(*(self.outcome(order_id) for order_id in self.order_ids))
        violations = violations_of(await self.environment.check_invariants(self.order_ids))
        assert violations == [], violations
        return ended
