"""Charges and tries for tests of the ledger."""

from __future__ import annotations

from datetime import UTC, datetime

from durable_orders.domain.order import Order
from durable_orders.domain.ports import CardCharge, CardTry, ChargeEntry, ChargeState, PaymentLedger
from tests.support.keys import charge_key


def card_try(
    order_id: str,
    number: int = 1,
    card: str = "pm_card_visa",
    *,
    before: str = "",
    state: ChargeState = ChargeState.OPEN,
) -> CardTry:
    """A try to be announced; its time is the ledger's affair."""
    now = datetime.now(UTC)
    return CardTry(number, card, before, charge_key(order_id, number), now, state)


async def announce(
    ledger: PaymentLedger, order: Order, number: int = 1, *, payment_id: str = "", before: str = ""
) -> ChargeEntry:
    """Announce a try of the order's charge, which is ``pi_{order id}`` unless named."""
    wanted = card_try(order.id, number, before=before)
    entry = await ledger.announce(order.id, payment_id or f"pi_{order.id}", order.total, wanted)
    assert entry is not None, f"order {order.id} is closed"
    return entry


async def record(
    ledger: PaymentLedger, order_id: str, charge: CardCharge, *, answers: int | None = None
) -> None:
    """Record what the provider says, read a moment ago."""
    entry = await ledger.find(order_id)
    assert entry is not None, f"order {order_id} has no charge"
    await ledger.record(entry, charge, answers=answers)
