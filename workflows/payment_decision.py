"""Waiting until the money of an order is certain, or a person decides about it all the same."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import datetime, timedelta

from temporalio import workflow

with workflow.unsafe.imports_passed_through():
    from durable_orders.domain import activity_messages as m
    from durable_orders.domain.disputes.concerns import hold_problem, stop_for
    from durable_orders.domain.disputes.dispute import PaymentConcern
    from durable_orders.domain.lifecycle import Stop, StopReason
    from durable_orders.domain.senders import sender, sender_detail
    from durable_orders.domain.workflow_messages import Approve, Reject
    from workflows import retry_policies
    from workflows.approval import Approval
    from workflows.charge import Charge
    from workflows.order_state import OrderState
    from workflows.saga import OrderStopped

#: The Updates that decide, as attention names them.
_DECISIONS = ("approve", "reject")


class PaymentDecision:
    """Holds an order whose money is uncertain, until it is certain or a person has decided.

    ``approval`` is the decision that was waited for last, if any was.
    """

    def __init__(self, order: OrderState, charge: Charge) -> None:
        self.approval: Approval | None = None
        self._order = order
        self._charge = charge

    async def obtain(self, departed: Callable[[], bool] | None = None) -> None:
        """Return when nothing is uncertain that nobody has accepted: at once in an ordinary order.

        ``departed`` is given once the warehouse has accepted the order: what has left is not held.
        Raises ``OrderStopped`` when a person rejects the order, when the shop's terms do, and when
        the money is gone or the bank lets go of it meanwhile.
        """
        if self._charge.concerns:
            try:
                await self._decide(departed)
            except Exception:
                self._order.steps.operator.clear()
                raise
            self._order.steps.operator.clear()

    async def _decide(self, departed: Callable[[], bool] | None) -> None:
        order = self._order
        shown: Sequence[PaymentConcern] = ()
        pause = retry_policies.POLL_INTERVAL_FIRST
        while (concerns := self._charge.concerns) and not (departed and departed()):
            if stop := stop_for(concerns, order.terms):
                raise OrderStopped(stop)
            if self.approval is None or self.approval.decision is not None:
                self.approval = Approval(
                    order.steps, f"order {order.order_id}", order.describe, order.asked_by
                )
            with self.approval.open():
                if concerns != shown:
                    shown = concerns
                    await self._show(concerns, accepted=departed is not None)
                came = await self._wait(concerns, departed, pause)
            await self._apply(self.approval, concerns)
            if not came:
                pause = min(pause * 2, retry_policies.POLL_INTERVAL_LONGEST)

    async def _show(self, concerns: Sequence[PaymentConcern], *, accepted: bool) -> None:
        """Ask a person to decide, and write down why the order is held."""
        problem = hold_problem(concerns, accepted=accepted, hold_ends=self._hold_ends())
        self._order.steps.operator.flag("payment", problem, _DECISIONS)
        await self._order.add_note("payment_questioned", why=problem)

    async def _wait(
        self,
        concerns: Sequence[PaymentConcern],
        departed: Callable[[], bool] | None,
        pause: timedelta,
    ) -> bool:
        """Wait until something else is to be done about the order; False when nothing came.

        The charge is looked at when news come, and after the pause: news may be lost.
        """
        order, charge, approval = self._order, self._charge, self.approval
        ends = self._hold_ends()
        left = pause if ends is None else min(pause, ends - workflow.now())

        def decided() -> bool:
            return approval is not None and approval.decision is not None

        def changed() -> bool:
            return decided() or charge.concerns != concerns or bool(departed and departed())

        doing, steps = "waiting for a decision about the payment", order.steps
        with charge.watched():
            await steps.wait(doing, lambda: changed() or steps.must_stop, max(left, timedelta(0)))
            # A decision came before a cancellation: none is accepted after it.
            if not decided():
                steps.stop_if_asked()
            if changed():
                return True
        if ends is not None and workflow.now() >= ends:
            message = "nobody decided about the payment before the bank let go of the money"
            raise OrderStopped(Stop(StopReason.HOLD_LAPSED, message))
        charge.tell(None)
        return False

    async def _apply(self, approval: Approval, concerns: Sequence[PaymentConcern]) -> None:
        """Do what was decided about the concerns, if anything was."""
        about = ", ".join(concern.id for concern in concerns)
        match approval.decision:
            case Approve(note=note) as decision:
                self._charge.accept(concerns)
                who = sender_detail(decision)
                await self._order.add_note("payment_accepted", **who, note=note, about=about)
                self._order.steps.stop_if_asked()
            case Reject(reason=reason) as decision:
                event, who = "payment_not_accepted", sender_detail(decision)
                await self._order.add_note(event, **who, reason=reason, about=about)
                why = f"rejected by {sender(decision)}: {reason}"
                raise OrderStopped(Stop(StopReason.NOT_APPROVED, why))

    def _hold_ends(self) -> datetime | None:
        """Until when money that is only held can be waited with."""
        answer = self._charge.answer
        if not isinstance(answer, m.Held) or answer.capture_before is None:
            return None
        return answer.capture_before - retry_policies.HOLD_MARGIN
