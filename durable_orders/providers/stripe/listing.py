"""Lists of Stripe's payments and refunds, for the audit.

From ``list``, never ``search``: a search lags behind, and an audit must not miss the last hour.
https://docs.stripe.com/api/payment_intents/list, https://docs.stripe.com/api/refunds/list
"""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import stripe

from durable_orders.domain.audit.model import ListedCharge, ListedRefund
from durable_orders.domain.audit.ports import CursorPage
from durable_orders.domain.ids import InvalidOrderIdError, checked_order_id
from durable_orders.domain.money import Money, total
from durable_orders.providers.stripe.cards import StripeCards
from durable_orders.providers.stripe.errors import NoSuchObjectError
from durable_orders.providers.stripe.money import from_stripe
from durable_orders.providers.stripe.objects import charge_of, refund_as_it_is, refunded_by


class StripeChargeListing(StripeCards):
    """``ChargeList`` and ``Cards``, over the same connections."""

    async def charges(
        self, after: datetime, before: datetime, cursor: str | None, limit: int
    ) -> CursorPage[ListedCharge]:
        # The refunded amount is on each intent's charge.
        wanted: Any = {**_page(after, before, cursor, limit), "expand": ["data.latest_charge"]}
        async with self._translate_errors("list payments"):
            page = await self._intents.list_async(wanted)
            ours = (_listed(intent) for intent in page.data)
            return CursorPage(tuple(filter(None, ours)), _next(page))

    async def refunds(
        self, after: datetime, before: datetime, cursor: str | None, limit: int
    ) -> CursorPage[ListedRefund]:
        async with self._translate_errors("list refunds"):
            page = await self._refunds.list_async(_page(after, before, cursor, limit))
            made = (_refund(refund) for refund in page.data if refund.payment_intent)
            return CursorPage(tuple(made), _next(page))

    async def find(self, payment_id: str) -> ListedCharge | None:
        try:
            async with self._translate_errors("read a payment"):
                intent = await self._intents.retrieve_async(
                    payment_id, {"expand": ["latest_charge"]}
                )
                listed = _listed(intent)
        except NoSuchObjectError:
            return None
        if listed is None or not listed.charge.captured:
            return listed
        async with self._translate_errors("list refunds"):
            made = await self._refunds_of(payment_id)
            refunded = total(map(refunded_by, made), listed.charge.amount.currency)
            charge = replace(listed.charge, refunded=refunded)
            return replace(listed, charge=charge, refunds=tuple(map(_refund, made)))


def _page(after: datetime, before: datetime, cursor: str | None, limit: int) -> Any:
    created = {"gte": int(after.timestamp()), "lte": int(before.timestamp())}
    page: dict[str, Any] = {"created": created, "limit": min(limit, 100)}
    return page if cursor is None else {**page, "starting_after": cursor}


def _next(page: stripe.ListObject[Any]) -> str | None:
    return str(page.data[-1].id) if page.has_more else None


def _listed(intent: stripe.PaymentIntent) -> ListedCharge | None:
    """The charge, or None when its metadata names no order of ours: others may use the account."""
    order_id, attempt = _metadata(intent, "order_id"), _metadata(intent, "attempt")
    try:
        checked_order_id(order_id)
    except InvalidOrderIdError:
        return None
    if not attempt.isdecimal():
        return None
    created_at = datetime.fromtimestamp(intent.created, UTC)
    charge = replace(charge_of(intent), refunded=_refunded(intent))
    return ListedCharge(order_id, int(attempt), created_at, charge)


def _metadata(intent: stripe.PaymentIntent, name: str) -> str:
    return str(getattr(intent.metadata, name, ""))


def _refunded(intent: stripe.PaymentIntent) -> Money:
    """Amount refunded, without failed refunds; ``latest_charge`` must be expanded."""
    charge = intent.latest_charge
    amount = charge.amount_refunded if isinstance(charge, stripe.Charge) else 0
    return from_stripe(amount, intent.currency)


def _refund(refund: stripe.Refund) -> ListedRefund:
    created_at = datetime.fromtimestamp(refund.created, UTC)
    return ListedRefund(str(refund.payment_intent), created_at, refund_as_it_is(refund))
