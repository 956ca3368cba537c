"""Parcels that are to be sent again: the warehouse is asked until it has said whether it does."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from temporalio import workflow
from temporalio.exceptions import FailureError

with workflow.unsafe.imports_passed_through():
    from activities.fulfillment import FulfillmentActivities
    from durable_orders.domain import activity_messages as m
    from durable_orders.domain.workflow_messages import ResendParcel
    from workflows import retry_policies
    from workflows.operator_attention import problem_of
    from workflows.order_state import OrderState
    from workflows.step_runner import Step

#: Acts on what the warehouse says to a request, before the caller of that is answered.
OnAnswer = Callable[[ResendParcel, m.ResendAnswer], Awaitable[None]]


@dataclass
class _Resend:
    """One parcel that the warehouse is asked to send again."""

    request: ResendParcel
    #: Why it is not known what became of it; empty while the first tries go on.
    problem: str = ""
    #: An operator has found out, and settled the parcel: the warehouse is asked no more.
    settled: bool = False
    task: asyncio.Task[None] | None = None
    asking: asyncio.Task[m.ResendAnswer] | None = None
    answer: m.ResendAnswer | None = None
    #: Nothing is asked any more; what came of it is written down, then it is ``over``.
    ending: bool = False
    over: bool = False

    @property
    def is_unanswered(self) -> bool:
        return bool(self.problem) and not self.ending

    def describe(self) -> m.ResendUnanswered:
        return m.ResendUnanswered(
            self.request.parcel_id, self.request.by, self.problem, self.request.actor
        )


class Resends:
    """The parcels of one order that the warehouse is asked to send again.

    Silence is no refusal: the warehouse may have sent what it did not tell of. So it is asked by
    the same key until it answers, or until an operator has found out and settled the parcel, across
    as many runs as that takes. ``on_change`` is called whenever there is something new to show.
    """

    def __init__(
        self, order: OrderState, *, on_answer: OnAnswer, on_change: Callable[[], None]
    ) -> None:
        self._order = order
        self._on_answer = on_answer
        self._on_change = on_change
        self._open: dict[str, _Resend] = {}

    def restore(self, unanswered: tuple[m.ResendUnanswered, ...]) -> None:
        """Take over what an earlier run has asked in vain; ``resume`` asks again."""
        for known in unanswered:
            request = ResendParcel(known.parcel_id, known.by, known.actor)
            self._open[known.parcel_id] = _Resend(request, known.problem)

    def resume(self) -> None:
        """Go on asking what an earlier run has asked."""
        for resend in self._open.values():
            if resend.task is None:
                self._start(resend)

    async def ask(self, request: ResendParcel) -> m.ResendAnswer | m.ResendUnanswered:
        """Have a parcel sent again, and return what the warehouse says; ``ResendUnanswered`` once
        the first tries got no answer. Whoever asks meanwhile shares the one request.
        """
        resend = self._open.get(request.parcel_id)
        if resend is None:
            resend = self._open[request.parcel_id] = _Resend(request)
            self._start(resend)
        asked = resend
        await workflow.wait_condition(lambda: asked.is_unanswered or asked.over)
        return asked.answer or asked.describe()

    def settle(self, parcel_id: str) -> None:
        """An operator knows what became of the parcel, if it was to be sent again: ask no more. An
        answer that comes all the same is acted on.
        """
        if resend := self._open.get(parcel_id):
            resend.settled = True
            if resend.asking is not None:
                resend.asking.cancel()

    @property
    def are_over(self) -> bool:
        """Whether it is known of every parcel what became of it."""
        return not self._open

    @property
    def unanswered(self) -> tuple[m.ResendUnanswered, ...]:
        """Those of which it is not known whether the warehouse sends them again."""
        return tuple(each.describe() for each in self._open.values() if each.is_unanswered)

    @property
    def are_idle(self) -> bool:
        """Whether nothing but an answer of the warehouse is waited for, as another run can, too."""
        return len(self.unanswered) == len(self._open)

    def is_open(self, parcel_id: str) -> bool:
        """Whether the warehouse is being asked to send this parcel again."""
        return parcel_id in self._open

    def is_unanswered(self, parcel_id: str) -> bool:
        """Whether it is not known if the warehouse sends this parcel again."""
        return self.is_open(parcel_id) and self._open[parcel_id].is_unanswered

    def _start(self, resend: _Resend) -> None:
        resend.task = asyncio.create_task(self._ask_until_known(resend))

    async def _ask_until_known(self, resend: _Resend) -> None:
        resend.answer = await self._answer(resend)
        resend.ending = True
        if resend.answer is not None:
            await self._on_answer(resend.request, resend.answer)
        resend.over = True
        del self._open[resend.request.parcel_id]
        self._on_change()

    async def _answer(self, resend: _Resend) -> m.ResendAnswer | None:
        """What the warehouse says, however long that takes; None when an operator knew before."""
        steps, pause = self._order.steps, retry_policies.REPEAT_PAUSE_FIRST
        step: Step[m.ParcelRef, m.ResendAnswer] = FulfillmentActivities.resend_parcel
        lost = m.ParcelRef(self._order.order_id, resend.request.parcel_id)

        def tell(silence: FailureError) -> None:
            resend.problem = problem_of(silence)
            self._on_change()

        while not resend.settled:
            resend.asking = asyncio.create_task(
                steps.run_beside(
                    "having a parcel resent", step, lost, retry_policies.RESEND, on_silence=tell
                )
            )
            try:
                return await resend.asking
            except FailureError as error:
                # A refusal of the warehouse is an answer: this is a fault of ours.
                if not resend.settled:
                    tell(error)
            except asyncio.CancelledError:
                if not resend.settled:
                    raise
            with contextlib.suppress(TimeoutError):
                await workflow.wait_condition(lambda: resend.settled, timeout=pause)
            pause = min(pause * 2, retry_policies.REPEAT_PAUSE_LONGEST)
        return None
