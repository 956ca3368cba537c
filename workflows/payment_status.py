"""The payment status that a shopper sees while the order is under way."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

from temporalio import workflow

with workflow.unsafe.imports_passed_through():
    from durable_orders.domain.payment_status import (
        PaymentDeclined,
        PaymentPending,
        PaymentProgress,
        payment_from_status,
    )
    from workflows.order_state import OrderState


class PaymentStatus:
    """What a shopper has to know of the payment now. Stages report it; clients query it, or wait
    for it with an Update.

    It changes nothing about the order, and adds nothing to its history but those Updates.
    """

    def __init__(self) -> None:
        self._turn = 0
        self._reported: PaymentProgress | None = None
        self._code = ""

    def report(self, news: PaymentProgress) -> None:
        """Show this from now on, until ``clear`` or until the order's status says more."""
        self._reported = news
        self._turn += 1
        if isinstance(news, PaymentDeclined):
            self._code = news.code

    def clear(self) -> None:
        """What was reported no longer holds, and nothing else is known."""
        self._reported = None

    @contextlib.contextmanager
    def reporting(self, news: PaymentProgress | None) -> Iterator[None]:
        """Show this during the block; None: nothing is known in it either."""
        if news is not None:
            self.report(news)
        try:
            yield
        finally:
            self.clear()

    def current(self, order: OrderState) -> PaymentProgress:
        """What is known now: from the order's status, else what was reported last."""
        reason = order.stop.reason if order.stop else None
        amount = order.taken or order.total
        known = payment_from_status(order.status, amount, reason, self._code)
        return known or self._reported or PaymentPending(self._turn)

    async def wait_until_known(self, order: OrderState) -> PaymentProgress:
        """Wait until something is known, and return it."""
        await workflow.wait_condition(
            lambda: order.ended or not isinstance(self.current(order), PaymentPending)
        )
        return self.current(order)
