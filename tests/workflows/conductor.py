"""Neighbours whose every call waits for a conductor to say what becomes of it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import timedelta
from typing import TypeVar

from temporalio import activity

from durable_orders.domain.money import Money
from durable_orders.domain.ports import CardRefund, NoAnswerError, RefusedError
from tests.fakes.cards import InMemoryCards
from tests.fakes.mailer import InMemoryMailer
from tests.fakes.script import Scripted
from tests.fakes.warehouse import InMemoryWarehouse

T = TypeVar("T")


class WaitingCall:
    """A neighbour's call that has come in and waits.

    ``is_done``: its effect is there, and the answer is on its way. A cancelled caller hangs up only
    when ``may_be_cut``, so that both are played: the answer that comes first, and the one that is
    not heard any more.
    """

    def __init__(self, name: str) -> None:
        self.name = name
        self.is_done = False
        self.may_be_cut = False
        self.error: Exception | None = None
        self._is_decided = False
        self._moved = asyncio.Event()

    def do(self) -> None:
        """Do the work, and keep the answer back."""
        self.is_done = True
        self._moved.set()

    def answer(self) -> None:
        """Do the work, unless that is done, and answer."""
        self.error = None
        self._decide()

    def fail(self, error: Exception) -> None:
        """Raise at the caller: with nothing done, or the answer lost."""
        self.error = error
        self._decide()

    def cut(self) -> None:
        """Have the caller hang up when it is cancelled."""
        self.may_be_cut = True
        self._moved.set()

    def _decide(self) -> None:
        self._is_decided = True
        self._moved.set()

    async def play(self, work: Callable[[], T]) -> T:
        result: list[T] = []
        while True:
            if self.is_done and not result:
                result.append(work())
            if self._is_decided:
                break
            self._moved.clear()
            try:
                await self._moved.wait()
            except asyncio.CancelledError:
                if self.may_be_cut:
                    raise
        if self.error is not None:
            raise self.error
        return result[0] if result else work()


@dataclass
class Conductor:
    """The calls that wait, of all neighbours. Local activities are answered at once: the run's
    whole workflow task would wait with them. So are refunds' runs.

    While ``plays_itself`` every call is answered at once. ``away`` are methods that nobody answers.
    """

    plays_itself: bool = True
    waiting: list[WaitingCall] = field(default_factory=list)
    away: set[str] = field(default_factory=set)

    async def conduct(self, name: str, work: Callable[[], T]) -> T:
        if name in self.away:
            raise NoAnswerError(f"{name}: nobody answers", retry_after=timedelta(hours=8))
        if self.plays_itself or not _is_of_order():
            return work()
        call = WaitingCall(name)
        self.waiting.append(call)
        try:
            return await call.play(work)
        finally:
            self.waiting.remove(call)

    def play_on(self) -> None:
        """Answer everything from now on."""
        self.plays_itself = True
        self.away.clear()
        for call in list(self.waiting):
            call.answer()


def _is_of_order() -> bool:
    """Whether it is asked in a normal activity of an order's own run."""
    if not activity.in_activity() or activity.info().is_local:
        return False
    return activity.info().workflow_type == "Order"


class _Conducted(Scripted):
    """Mixed into a fake: the conductor decides, not a script."""

    conductor: Conductor
    prefix: str

    async def _play(self, method: str, work: Callable[[], T]) -> T:
        name = f"{self.prefix}.{method}"
        return await self.conductor.conduct(name, lambda: self._now(method, work))

    def _now(self, method: str, work: Callable[[], T]) -> T:
        self.calls.append(method)
        return work()


class ConductedCards(_Conducted, InMemoryCards):
    """The card provider, conducted. What is ``charged_back`` it does not give back itself."""

    prefix = "cards"

    def __init__(self, conductor: Conductor) -> None:
        super().__init__()
        self.conductor = conductor
        self.charged_back: set[str] = set()

    def _refund(
        self, payment_id: str, amount: Money, mark: tuple[str, str], key: str
    ) -> CardRefund:
        if payment_id in self.charged_back and key not in self.refunds:
            raise RefusedError(f"{payment_id} is charged back")
        return super()._refund(payment_id, amount, mark, key)


class ConductedWarehouse(_Conducted, InMemoryWarehouse):
    """The warehouse, conducted."""

    prefix = "warehouse"

    def __init__(self, conductor: Conductor) -> None:
        super().__init__()
        self.conductor = conductor


class ConductedMailer(_Conducted, InMemoryMailer):
    """The mail service, conducted."""

    prefix = "mailer"

    def __init__(self, conductor: Conductor) -> None:
        super().__init__()
        self.conductor = conductor
