"""Stripe's list of payments, read for the audit."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from durable_orders.domain.money import Money
from durable_orders.providers.stripe.listing import StripeChargeListing
from tests.unit.canned import answering, http

NOW = datetime(2026, 11, 22, 12, 0, tzinfo=UTC)


def intent(status: str, received: int, *, captured: bool, refunded: int) -> dict[str, object]:
    charge = {
        "id": "ch_1",
        "object": "charge",
        "amount": 29_00,
        "amount_refunded": refunded,
        "captured": captured,
        "currency": "eur",
    }
    return {
        "id": "pi_1",
        "object": "payment_intent",
        "amount": 29_00,
        "amount_received": received,
        "created": int(NOW.timestamp()),
        "currency": "eur",
        "last_payment_error": None,
        "latest_charge": charge,
        "metadata": {"installation": "testshop", "order_id": "1001", "attempt": "1"},
        "status": status,
    }


@pytest.mark.parametrize(
    ("listed", "refunded"),
    [
        (intent("canceled", 0, captured=False, refunded=0), 0),
        # As versions before 2025-03-31.basil showed a released hold.
        (intent("canceled", 0, captured=False, refunded=29_00), 0),
        (intent("requires_capture", 0, captured=False, refunded=0), 0),
        (intent("succeeded", 29_00, captured=True, refunded=5_00), 5_00),
    ],
    ids=["released", "released at an old version", "held", "refunded"],
)
async def test_only_captured_money_counts_as_given_back(
    listed: dict[str, object], refunded: int
) -> None:
    page = {"object": "list", "data": [listed], "has_more": False, "url": "/v1/payment_intents"}
    async with (
        answering(http(200, page)) as url,
        StripeChargeListing("sk_test_1", api_base=url) as listing,
    ):
        [found] = (
            await listing.charges(frozenset({"testshop"}), NOW - timedelta(days=1), NOW, None, 10)
        ).items
    assert found.charge.refunded == Money(refunded, "EUR")
