"""Telling a shopper how the payment goes, while the order is under way."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

from temporalio import workflow

with workflow.unsafe.imports_passed_through():
    from orders.payment_news import PaymentDeclined, PaymentNews, PaymentPending, settled
    from workflows.life import Life


class Paying:
    """What a shopper has to know now. Stages tell it; whoever asks hears it, or waits for it.

    It changes nothing about the order, and leaves nothing in its history but the questions.
    """

    def __init__(self) -> None:
        self._turn = 0
        self._told: PaymentNews | None = None
        self._code = ""

    def tell(self, news: PaymentNews) -> None:
        """This holds from now on, until ``over`` or the order's status says more."""
        self._told = news
        self._turn += 1
        if isinstance(news, PaymentDeclined):
            self._code = news.code

    def over(self) -> None:
        """What was told no longer holds, and nothing else is known."""
        self._told = None

    @contextlib.contextmanager
    def telling(self, news: PaymentNews | None) -> Iterator[None]:
        """This holds for the length of the block; None: nothing is known in it either."""
        if news is not None:
            self.tell(news)
        try:
            yield
        finally:
            self.over()

    def news(self, life: Life) -> PaymentNews:
        """What is known now."""
        reason = life.stop.reason if life.stop else None
        known = settled(life.status, life.total, reason, self._code)
        return known or self._told or PaymentPending(self._turn)

    async def outcome(self, life: Life) -> PaymentNews:
        """What is known, once something is."""
        await workflow.wait_condition(
            lambda: life.settled or not isinstance(self.news(life), PaymentPending)
        )
        return self.news(life)
