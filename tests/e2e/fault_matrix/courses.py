"""The courses of the fault matrix: how the world brings an order to an activity, and to its end.

Each plays what customers, banks, the warehouse and people do, and asks again where it got no
answer. None knows of the fault that its order meets.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import timedelta
from functools import partial
from typing import Any, Final

import httpx
from temporalio.service import RPCError

from demo.environment import ADA, DemoEnvironment
from durable_orders.clients.audits import AuditClient
from durable_orders.clients.errors import (
    NotOperableError,
    NotWaitingError,
    NoWorkerError,
    UndecidedError,
    UnknownRefundError,
    UnreachableError,
)
from durable_orders.clients.payment_risks import PaymentRiskClient
from durable_orders.contracts.audit import ReconcileWorkflow
from durable_orders.domain.audit.messages import AUDIT_ID, AuditInput
from durable_orders.domain.audit.model import AuditTerms
from durable_orders.domain.disputes.messages import PaymentRiskProgress
from durable_orders.domain.ids import (
    TASK_QUEUE,
    UNDO_REFUND_ID,
    examination_workflow_id,
    payment_risk_workflow_id,
)
from durable_orders.domain.lifecycle import FULFILLED_OR_LATER, Status
from durable_orders.domain.order import Basket, PaymentOptions
from durable_orders.domain.parcels import ParcelStatus
from durable_orders.domain.ports import NoSuchOrderError
from durable_orders.domain.refunds.refund import NEVER_ISSUED, RefundRequest, RefundState
from durable_orders.store.disputes import PostgresDisputeRepository
from sandbox.books_client import OrderBooks
from tests.e2e.fault_matrix.table import REFUND, SHIP
from tests.support.eventually import eventually

SKU: Final = "MATRIX"
THREE_D_SECURE: Final = "pm_card_authenticationRequired"
#: Courses whose orders are begun under other terms, see ``Courses.begin_elsewhere``.
UNDER_OTHER_TERMS: Final = frozenset({"followed", "resent"})

#: A neighbour may be silent for as long as a bank, and be asked again after that.
LONG: Final = 170.0
#: Between two looks at an order: there are many, and each costs the others time.
PAUSE: Final = 0.3
CALL: Final = timedelta(seconds=40)

#: There was no answer, so the question is put again.
UNHEARD: Final = (NoWorkerError, UndecidedError, UnreachableError, RPCError)


@dataclass
class Courses:
    """The world around the orders of the matrix."""

    environment: DemoEnvironment
    #: Whose turn it is to audit: what an audit lists is of all orders, and so is a fault there.
    audits: asyncio.Semaphore

    async def run(self, name: str, order_id: str) -> None:
        """Bring an order to its end by the course of this name."""
        course: Callable[[str], Awaitable[None]] = getattr(self, name)
        await course(order_id)

    # -- orders that nothing is wrong with ---------------------------------------------------------

    async def ordinary(self, order_id: str) -> None:
        await self._start(order_id)
        await self._ended(order_id)

    async def approved(self, order_id: str) -> None:
        await self._start(order_id, flagged=True)
        await self._approve(order_id)
        await self._ended(order_id)

    async def approved_after_reminder(self, order_id: str) -> None:
        await self._start(order_id, flagged=True)
        await self._mailed(order_id, "approval_reminder")
        await self._approve(order_id)
        await self._ended(order_id)

    async def paid_from_away(self, order_id: str) -> None:
        customer, card = await self._customer(THREE_D_SECURE)
        options = PaymentOptions(customer, off_session=True)
        await self._start(order_id, card=card, options=options)
        await self._mailed(order_id, "payment_request")
        [payment] = (await self._books(order_id)).payments
        await self.environment.pay_in_browser(payment.id, "pm_card_visa")
        await self._heard(lambda: self.environment.orders.payment_updated(order_id))
        await self._ended(order_id)

    async def confirmed_at_bank(self, order_id: str) -> None:
        await self._start(order_id, card=THREE_D_SECURE)
        await self._confirm_at_bank(order_id)
        await self._ended(order_id)

    # -- orders that are undone --------------------------------------------------------------------

    async def unshippable(self, order_id: str) -> None:
        await self.environment.faults.inject(SHIP, "refuse", order_id=order_id, reason="no shelf")
        await self._start(order_id)
        await self._ended(order_id)

    async def given_back_by_hand(self, order_id: str) -> None:
        await self.environment.faults.inject(REFUND, "refuse", order_id=order_id)
        await self.environment.faults.inject(SHIP, "refuse", order_id=order_id, reason="no shelf")
        await self._start(order_id)
        await self.resolve(order_id)
        await self._ended(order_id)

    async def left_unheard(self, order_id: str) -> None:
        """The parcel leaves, and nobody here hears that the warehouse has accepted the order."""
        held = await self.environment.faults.inject(SHIP, "delay_after", order_id=order_id, times=1)
        await self._start(order_id)
        await self.environment.faults.wait_for_hits(held, timeout=LONG / 3)
        await self._at(f"warehouse/{order_id}/dispatch")
        await self._heard(lambda: self.environment.orders.request_cancel(order_id))
        await self._ended(order_id)
        await self.environment.faults.remove(held)

    # -- orders whose money is held, and whose parcels are followed --------------------------------

    async def begin_elsewhere(self, order_id: str) -> None:
        """Start an order under the terms of another worker, which leaves it to an approver."""
        await self.environment.faults.inject(SHIP, "split", order_id=order_id, parcels=2)
        await self._start(order_id, flagged=True)
        # Until then, its first workflow task might be another worker's, with other terms.
        await self.environment.wait_until_waiting(order_id)

    async def followed(self, order_id: str) -> None:
        await self._approve(order_id)
        await self._deliver(order_id)
        await self._ended(order_id)

    async def resent(self, order_id: str) -> None:
        await self._approve(order_id)
        await self._stands(order_id, FULFILLED_OR_LATER)
        lost, _ = (await self._books(order_id)).parcels
        operations = self.environment.operations
        await self._heard(lambda: operations.resend_parcel(order_id, lost.id, "ops-7", wait=CALL))
        await self._deliver(order_id)
        await self._ended(order_id)

    # -- refunds -----------------------------------------------------------------------------------

    async def refunded(self, order_id: str) -> None:
        await self._request_refund(order_id, pieces=1)
        await self._refund_ended(order_id)

    async def refund_approved(self, order_id: str) -> None:
        await self._request_refund(order_id, pieces=2)
        await self._approve_refund(order_id)
        await self._refund_ended(order_id)

    async def refund_approved_after_reminder(self, order_id: str) -> None:
        await self._request_refund(order_id, pieces=2)
        await self._mailed(order_id, "refund_approval_reminder")
        await self._approve_refund(order_id)
        await self._refund_ended(order_id)

    async def refund_pending(self, order_id: str) -> None:
        await self.environment.faults.inject(REFUND, "pending", order_id=order_id, times=1)
        await self._request_refund(order_id, pieces=1)
        await self._refund_stands(order_id, "r1", {RefundState.PENDING})
        await self._settle_refund(order_id, "succeed")
        await self._heard(lambda: self.environment.refunds.look_again(order_id, "r1"))
        await self._refund_ended(order_id)

    # -- disputes ----------------------------------------------------------------------------------

    async def disputed(self, order_id: str) -> None:
        await self._end_dispute(order_id, await self._open_dispute(order_id))

    async def dispute_nearly_due(self, order_id: str) -> None:
        dispute_id = await self._open_dispute(order_id, due_in=24 * 3600)
        await self._mailed(order_id, "dispute_reminder")
        await self._end_dispute(order_id, dispute_id)

    # -- the audit ---------------------------------------------------------------------------------

    async def audited(self, order_id: str) -> None:
        await self.ordinary(order_id)
        async with self.audits:
            # With a name of its own, as one has that a schedule starts.
            audit = await self.environment.temporal.start_workflow(
                ReconcileWorkflow.run,
                AuditInput(AuditTerms()),
                id=f"{AUDIT_ID}-{order_id}",
                task_queue=TASK_QUEUE,
            )
            await self._heard(audit.result)

    async def examined(self, order_id: str) -> None:
        """Its refund, which had arrived, is sent back; a person has it made again."""
        refunds = self.environment.refunds
        await self.unshippable(order_id)
        await self._refund_stands(order_id, UNDO_REFUND_ID, {RefundState.SUCCEEDED})
        await self._settle_refund(order_id, "fail")
        audits = AuditClient(self.environment.temporal)
        await self._heard(lambda: audits.examine(order_id))
        examination = examination_workflow_id(order_id)
        await self._heard(self.environment.temporal.get_workflow_handle(examination).result)
        await self._heard(lambda: refunds.look_again(order_id, UNDO_REFUND_ID))
        await self._refund_stands(order_id, UNDO_REFUND_ID, {RefundState.FAILED})
        await self._needs_person_for_refund(order_id, UNDO_REFUND_ID)
        await self._obeyed(lambda: refunds.retry_now(order_id, UNDO_REFUND_ID, "ops-7"))
        await self._heard(lambda: refunds.result(order_id, UNDO_REFUND_ID))

    # -- what a person does where the order asks for one -------------------------------------------

    async def resolve(self, order_id: str) -> None:
        """Give the customer their money another way, once the order asks for a person."""

        async def asked() -> bool:
            return (await self.environment.orders.status(order_id)).attention is not None

        await self._eventually(asked)
        operations = self.environment.operations
        await self._obeyed(lambda: operations.resolve(order_id, "by bank transfer", "ops-7"))

    async def resolve_refund(self, order_id: str) -> None:
        """The same for a refund of an order."""
        await self._needs_person_for_refund(order_id, "r1")
        refunds = self.environment.refunds
        await self._obeyed(lambda: refunds.resolve(order_id, "r1", "by bank transfer", "ops-7"))

    # -- parts -------------------------------------------------------------------------------------

    async def _start(
        self,
        order_id: str,
        *,
        card: str = "pm_card_visa",
        flagged: bool = False,
        options: PaymentOptions = PaymentOptions(),  # noqa: B008 - frozen
    ) -> None:
        basket = Basket(order_id, "customer-1", ADA, ((SKU, 2),), card, flagged, options)
        await self.environment.orders.place(basket)
        await self._heard(lambda: self.environment.orders.start(order_id))

    async def _ended(self, order_id: str) -> None:
        await self._heard(lambda: self.environment.orders.result(order_id))

    async def _approve(self, order_id: str) -> None:
        await self._stands(order_id, {Status.AWAITING_APPROVAL})
        operations = self.environment.operations
        await self._decided(lambda: operations.approve(order_id, "ops-7", wait=CALL))

    async def _confirm_at_bank(self, order_id: str) -> None:
        environment = self.environment
        await self._stands(order_id, {Status.AWAITING_PAYMENT})
        [payment] = (await self._books(order_id)).payments
        await environment.confirm_at_bank(payment.id)
        await self._heard(lambda: environment.orders.payment_updated(order_id))

    async def _deliver(self, order_id: str) -> None:
        await self._stands(order_id, FULFILLED_OR_LATER)
        orders = self.environment.orders
        for parcel in (await self._books(order_id)).parcels:
            for status in (ParcelStatus.SHIPPED, ParcelStatus.DELIVERED):
                await self._heard(partial(orders.parcel_updated, order_id, parcel.id, status))
                await self._parcel_stands(order_id, parcel.id, status)

    async def _parcel_stands(self, order_id: str, parcel_id: str, status: ParcelStatus) -> None:
        async def stands() -> bool:
            view = await self.environment.orders.view(order_id)
            return (parcel_id, status) in {(one.parcel_id, one.status) for one in view.parcels}

        await self._eventually(stands)

    async def _request_refund(self, order_id: str, *, pieces: int) -> None:
        await self.ordinary(order_id)
        wanted = RefundRequest(order_id, "r1", ((SKU, pieces),), restock=True)
        await self._heard(lambda: self.environment.refunds.request(wanted, wait=CALL))

    async def _approve_refund(self, order_id: str) -> None:
        await self._refund_stands(order_id, "r1", {RefundState.AWAITING_APPROVAL})
        await self._decided(lambda: self.environment.refunds.approve(order_id, "r1", "ops-7"))

    async def _refund_ended(self, order_id: str) -> None:
        await self._heard(lambda: self.environment.refunds.result(order_id, "r1"))

    async def _settle_refund(self, order_id: str, outcome: str) -> None:
        refund = (await self._books(order_id)).refunds[-1]
        await self._at(f"refunds/{refund.id}/settle", outcome=outcome)

    async def _open_dispute(self, order_id: str, **how: int) -> str:
        await self.ordinary(order_id)
        [payment] = (await self._books(order_id)).payments
        dispute = await self._at(f"payment_intents/{payment.id}/dispute", **how)
        await self._heard(lambda: self._risks.look_again(order_id))
        return str(dispute["id"])

    async def _end_dispute(self, order_id: str, dispute_id: str) -> None:
        async def asked() -> bool:
            told = await self._risks.status(order_id)
            return isinstance(told, PaymentRiskProgress) and told.attention is not None

        await self._eventually(asked)
        await self._at(f"disputes/{dispute_id}/lose")
        await self._heard(lambda: self._risks.look_again(order_id))
        risks = payment_risk_workflow_id(order_id)
        await self._heard(self.environment.temporal.get_workflow_handle(risks).result)

    @property
    def _risks(self) -> PaymentRiskClient:
        environment = self.environment
        return PaymentRiskClient(
            environment.temporal, PostgresDisputeRepository(environment.database)
        )

    async def _stands(self, order_id: str, wanted: frozenset[Status] | set[Status]) -> None:
        """Return once the order has one of these statuses, or has ended otherwise."""

        async def stands() -> bool:
            status = (await self.environment.orders.view(order_id)).order.status
            return status in wanted or status.is_final

        await self._eventually(stands)

    async def _refund_stands(self, order_id: str, refund_id: str, wanted: set[RefundState]) -> None:
        async def stands() -> bool:
            found = {
                one.request.refund_id: one.state
                for one in await self.environment.refunds.refunds_of(order_id)
            }
            return found.get(refund_id) in wanted | NEVER_ISSUED

        await self._eventually(stands)

    async def _needs_person_for_refund(self, order_id: str, refund_id: str) -> None:
        async def asked() -> bool:
            told = await self.environment.refunds.status(order_id, refund_id)
            return told.attention is not None

        await self._eventually(asked)

    async def _mailed(self, order_id: str, kind: str) -> None:
        async def mailed() -> bool:
            return kind in {mail.kind for mail in (await self._books(order_id)).mails}

        await self._eventually(mailed)

    async def _books(self, order_id: str) -> OrderBooks:
        return await self.environment.books.order(order_id)

    async def _customer(self, card: str) -> tuple[str, str]:
        made = await self._at("customers", payment_method=card)
        customer, saved = made.values()
        return str(customer), str(saved)

    async def _at(self, path: str, **body: Any) -> dict[str, Any]:
        """Have something happen in the world: at a bank, at Stripe, at the warehouse."""
        async with httpx.AsyncClient(
            base_url=self.environment.sandbox.stand_in_url, timeout=30
        ) as http:
            answer = await http.post(f"/sandbox/{path}", json=body)
        return dict(answer.raise_for_status().json())

    async def _eventually(self, condition: Callable[[], Awaitable[bool]]) -> None:
        async def holds() -> bool:
            try:
                return await condition()
            except (*UNHEARD, NoSuchOrderError, UnknownRefundError):
                return False  # not yet

        await eventually(holds, within=LONG, pause=PAUSE)

    async def _decided(self, decide: Callable[[], Awaitable[None]]) -> None:
        """Decide until somebody has. What waits says so in the books first, and listens then."""
        async with asyncio.timeout(LONG):
            while True:
                try:
                    await self._heard(decide)
                except NotWaitingError as error:
                    if "has approved it" in str(error):
                        return  # an answer was lost
                    await asyncio.sleep(PAUSE)
                else:
                    return

    async def _obeyed(self, command: Callable[[], Awaitable[None]]) -> None:
        """Give a command until it has an answer; one that is lost makes the next a refusal."""
        try:
            await command()
        except UNHEARD:
            with contextlib.suppress(NotOperableError):
                await self._heard(command)

    async def _heard(self, ask: Callable[[], Awaitable[Any]]) -> None:
        """Ask until there is an answer, of whatever kind."""
        async with asyncio.timeout(LONG):
            while True:
                try:
                    await ask()
                except UNHEARD:
                    await asyncio.sleep(PAUSE)
                else:
                    return
