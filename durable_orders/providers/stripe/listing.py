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
from durable_orders.domain.audit.ports import CursorPage, Marks
from durable_orders.domain.ids import (
    CARD_REFUND_ID,
    PAYMENT_ID,
    InvalidOrderIdError,
    checked_order_id,
)
from durable_orders.domain.installation import MARK
from durable_orders.domain.money import Money, total
from durable_orders.domain.texts import TextFormat
from durable_orders.providers.http_replies import checked_id
from durable_orders.providers.stripe.cards import StripeCards
from durable_orders.providers.stripe.errors import NoSuchObjectError
from durable_orders.providers.stripe.money import from_stripe
from durable_orders.providers.stripe.objects import charge_of, refund_as_it_is, refunded_by


class StripeChargeListing(StripeCards):
    """``ChargeList`` and ``Cards``, over the same connections."""

    async def charges(
        self, ours: Marks, after: datetime, before: datetime, cursor: str | None, limit: int
    ) -> CursorPage[ListedCharge]:
        # The refunded amount is on each intent's charge.
        wanted: Any = {**_page(after, before, cursor, limit), "expand": ["data.latest_charge"]}
        async with self._translate_errors("list payments"):
            page = await self._intents.list_async(wanted)
            found = (_listed(intent, ours) for intent in page.data)
            return CursorPage(tuple(filter(None, found)), next_cursor(page, PAYMENT_ID))

    async def refunds(
        self, ours: Marks, after: datetime, before: datetime, cursor: str | None, limit: int
    ) -> CursorPage[ListedRefund]:
        async with self._translate_errors("list refunds"):
            page = await self._refunds.list_async(_page(after, before, cursor, limit))
            made = (refund for refund in page.data if refund.payment_intent)
            found = (_refund(one) for one in made if _metadata(one, MARK) in {"", *ours})
            return CursorPage(tuple(found), next_cursor(page, CARD_REFUND_ID))

    async def find(self, ours: Marks, payment_id: str) -> ListedCharge | None:
        try:
            async with self._translate_errors("read a payment"):
                intent = await self._intents.retrieve_async(
                    payment_id, {"expand": ["latest_charge"]}
                )
                listed = _listed(intent, ours)
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


def next_cursor(page: stripe.ListObject[Any], format_: TextFormat) -> str | None:
    """The cursor of the next page, if there is one: the last id of this one."""
    return checked_id(format_, page.data[-1].id) if page.has_more else None


def _listed(intent: stripe.PaymentIntent, ours: Marks) -> ListedCharge | None:
    """The charge, or None when its metadata does not carry our mark."""
    if _metadata(intent, MARK) not in ours:
        return None
    order_id = _metadata(intent, "order_id")
    try:
        checked_order_id(order_id)
    except InvalidOrderIdError:
        return None
    created_at = datetime.fromtimestamp(intent.created, UTC)
    charge = replace(charge_of(intent), refunded=_refunded(intent))
    return ListedCharge(order_id, created_at, charge)


def _metadata(thing: stripe.PaymentIntent | stripe.Refund, name: str) -> str:
    return str(getattr(thing.metadata, name, ""))


def _refunded(intent: stripe.PaymentIntent) -> Money:
    """Amount refunded, without failed refunds; ``latest_charge`` must be expanded.

    What was never captured was never refunded: before API version 2025-03-31.basil a released hold
    counted as a refund of its whole amount.
    """
    charge = intent.latest_charge
    if not isinstance(charge, stripe.Charge) or not charge.captured:
        return Money(0, intent.currency.upper())
    return from_stripe(charge.amount_refunded, intent.currency)


def _refund(refund: stripe.Refund) -> ListedRefund:
    created_at = datetime.fromtimestamp(refund.created, UTC)
    payment_id = checked_id(PAYMENT_ID, _intent_id(refund))
    return ListedRefund(payment_id, created_at, refund_as_it_is(refund))


def _intent_id(refund: stripe.Refund) -> object:
    intent = refund.payment_intent
    return intent.id if isinstance(intent, stripe.PaymentIntent) else intent
