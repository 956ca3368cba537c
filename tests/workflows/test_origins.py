"""Temporal is no way in: what does not come from an order's own run moves nothing.

The stranger here is whoever reaches the namespace, with a worker of their own where they need one.
"""

from __future__ import annotations

import copy
from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from itertools import count
from typing import Any

import pytest
from temporalio import workflow
from temporalio.activity import _Definition  # the SDK has no public way to name a method's activity
from temporalio.client import ActivityFailureError, Client, WorkflowFailureError, WorkflowHandle
from temporalio.exceptions import ActivityError, ApplicationError
from temporalio.worker import UnsandboxedWorkflowRunner, Worker

from activities.error_types import NOT_FROM_ITS_RUN
from activities.origins import ORIGINS
from durable_orders.contracts.error_types import WRONG_WORKFLOW_ID
from durable_orders.domain import activity_messages as m
from durable_orders.domain.audit.messages import (
    AuditPage,
    AuditPosition,
    DiscrepancySettlement,
    OrderExamination,
)
from durable_orders.domain.audit.model import AuditTerms, Discrepancy, DiscrepancyKind, Remedy
from durable_orders.domain.disputes.messages import (
    DisputeDue,
    PaymentRiskInput,
    PaymentRiskRef,
    PaymentRiskSnapshot,
)
from durable_orders.domain.ids import (
    TASK_QUEUE,
    payment_risk_workflow_id,
    refund_workflow_id,
    workflow_id,
)
from durable_orders.domain.lifecycle import Status, Stop, StopReason
from durable_orders.domain.parcels import Parcel
from durable_orders.domain.refunds import messages as rm
from durable_orders.domain.refunds.refund import RefundRequest, RefundState
from tests.support.eventually import eventually
from tests.workflows import refunds
from tests.workflows.conftest import QUANTITY, TOTAL, Clients, Shop
from tests.workflows.test_audit import Audited, LaggingRuns, opened
from workflows.order import OrderWorkflow
from workflows.payment_risk import PaymentRiskWorkflow
from workflows.refund import RefundWorkflow

_numbers = count(1)

LIMIT = timedelta(seconds=20)
THEIR_QUEUE = "strangers"


@dataclass(frozen=True)
class Wanted:
    """What a stranger wants done, and about what."""

    activity: str
    about: Any


@workflow.defn(name="Mine")
class StrangersWorkflow:
    """A workflow of the stranger's own that has our worker do an activity."""

    @workflow.run
    async def run(self, activity: str, about: Any) -> Any:
        return await workflow.execute_activity(
            activity, about, task_queue=TASK_QUEUE, start_to_close_timeout=LIMIT
        )


@workflow.defn(name="Order")
class StrangersOrder(StrangersWorkflow):
    """The same, named as ours."""

    @workflow.run
    async def run(self, activity: str, about: Any) -> Any:
        return await StrangersWorkflow.run(self, activity, about)


@pytest.fixture
async def strangers(clients: Clients) -> AsyncIterator[Client]:
    async with Worker(
        clients.patient,
        task_queue=THEIR_QUEUE,
        workflows=[StrangersWorkflow, StrangersOrder],
        workflow_runner=UnsandboxedWorkflowRunner(),
    ):
        yield clients.patient


@pytest.fixture
async def audited(clients: Clients) -> AsyncIterator[Audited]:
    """A shop whose worker has every activity."""
    async with opened(clients) as audited:
        yield audited


@pytest.fixture
def shop(audited: Audited) -> Shop:
    return audited.shop


def wanted_of(order_id: str, refund_id: str) -> list[Wanted]:
    """Every activity of the worker, with what it is asked."""
    now, terms = datetime.now(UTC), AuditTerms()
    found = Discrepancy(DiscrepancyKind.LIVE_CHARGE, order_id, "made up", Remedy.RELEASE)
    order, refund = m.OrderRef(order_id), rm.RefundRef(order_id, refund_id)
    attempt = rm.RefundAttempt(refund)
    parcel = m.OrderParcel(order_id, Parcel("par_1"))
    return [
        Wanted("read_order", order),
        Wanted("begin_order", m.Reservation(order_id)),
        Wanted("begin_undo", m.UndoRequest(order_id, Stop(StopReason.CANCELLED, "by a stranger"))),
        Wanted("record_status", m.StatusChange(order_id, Status.REFUNDED)),
        Wanted("record_note", m.Note(order_id, "stray", {})),
        Wanted("record_parcel", parcel),
        Wanted("reserve_inventory", m.Reservation(order_id)),
        Wanted("release_inventory", order),
        Wanted("update_inventory", m.CommitRequest(order_id)),
        Wanted("charge_card", m.ChargeRequest(order_id, 7)),
        Wanted("check_payment", order),
        Wanted("capture_payment", order),
        Wanted("refund_card", order),
        Wanted("record_given_back_by_hand", m.ManualRefund(order_id, TOTAL, "ceo", "mine")),
        Wanted("fulfill_order", order),
        Wanted("cancel_fulfillment", order),
        Wanted("read_fulfillment", order),
        Wanted("resend_parcel", m.ParcelRef(order_id, "par_1")),
        Wanted("send_confirmation_email", m.Confirmation(order_id)),
        Wanted("send_closing_email", m.Closing(order_id)),
        Wanted("send_payment_request_email", m.PaymentRequest(order_id, "https://evil.example")),
        Wanted("send_shipped_email", parcel),
        Wanted("send_approval_reminder", order),
        Wanted("send_refund_approval_reminder", rm.RefundAwaitingApproval(refund, TOTAL)),
        Wanted("send_dispute_reminder", DisputeDue(order_id, "dp_1", datetime.now(UTC))),
        Wanted("review_payment_risks", PaymentRiskRef(order_id)),
        Wanted("reserve_refund", RefundRequest(order_id, refund_id)),
        Wanted("record_refund_state", rm.RefundStateChange(refund, RefundState.SETTLED)),
        Wanted("issue_refund", attempt),
        Wanted("check_refund", attempt),
        Wanted("restock_refund", refund),
        Wanted("send_refund_email", attempt),
        Wanted("review_page", AuditPage(AuditPosition(now), terms)),
        Wanted("settle_discrepancy", DiscrepancySettlement(found, now, terms)),
        Wanted("examine_order", OrderExamination(order_id, now, terms)),
    ]


@dataclass(frozen=True)
class Books:
    """All that could be moved, as it is now."""

    rows: Any
    products: Any
    refunds: Any
    charges: Any
    parcels: Any
    calls: tuple[str, ...]

    @classmethod
    async def of(cls, shop: Shop) -> Books:
        neighbours = (shop.cards, shop.warehouse, shop.mailer, shop.inventory, shop.ledger)
        return cls(
            rows=copy.deepcopy(shop.database.rows),
            products=copy.deepcopy(shop.database.products),
            refunds=[await shop.refunds.refunds_of(order_id) for order_id in shop.database.rows],
            charges=copy.deepcopy(shop.cards.charges),
            parcels=copy.deepcopy(shop.warehouse.parcels),
            calls=tuple(call for one in neighbours for call in one.calls),
        )


async def refunded_in_part(shop: Shop) -> str:
    """An order that is completed and has a refund ``r1``."""
    order_id = await refunds.paid(shop)
    await refunds.refund(shop, RefundRequest(order_id, "r1", refunds.ONE_MUG))
    return order_id


async def refusal_of(client: Client, wanted: Wanted) -> ApplicationError:
    """How an activity that somebody asks for by itself ends."""
    with pytest.raises(ActivityFailureError) as failure:
        await client.execute_activity(
            wanted.activity,
            wanted.about,
            id=f"stray-{next(_numbers)}",
            task_queue=TASK_QUEUE,
            start_to_close_timeout=LIMIT,
        )
    assert isinstance(failure.value.cause, ApplicationError)
    return failure.value.cause


async def refusal_in(
    client: Client, wanted: Wanted, *, workflow_type: str, run_id: str
) -> ApplicationError:
    """How an activity ends that a workflow of the stranger's asks for."""
    with pytest.raises(WorkflowFailureError) as failure:
        await client.execute_workflow(
            workflow_type, args=[wanted.activity, wanted.about], id=run_id, task_queue=THEIR_QUEUE
        )
    error = failure.value.cause
    assert isinstance(error, ActivityError)
    assert isinstance(error.cause, ApplicationError)
    return error.cause


async def failure_of(handle: WorkflowHandle[Any, Any]) -> ApplicationError:
    with pytest.raises(WorkflowFailureError) as failure:
        await handle.result()
    assert isinstance(failure.value.cause, ApplicationError)
    return failure.value.cause


async def test_every_activity_of_the_worker_has_an_origin(clients: Clients) -> None:
    shop = Shop(clients.skipping, clients.patient)
    audit = Audited(shop, LaggingRuns(clients.skipping, shop.book)).activities
    async with shop.worker(clients.skipping, audit=audit) as worker:
        activities = worker.config()["activities"]
    known = {_Definition.must_from_callable(one).name for one in activities}
    assert known == set(ORIGINS)
    assert {wanted.activity for wanted in wanted_of("1001", "r1")} == known


async def test_an_activity_that_somebody_asks_for_by_itself_does_nothing(
    shop: Shop, caplog: pytest.LogCaptureFixture
) -> None:
    order_id = await refunded_in_part(shop)
    before = await Books.of(shop)
    for wanted in wanted_of(order_id, "r1"):
        caplog.clear()
        refused = await refusal_of(shop.patient_client, wanted)
        assert (refused.type, refused.non_retryable) == (NOT_FROM_ITS_RUN, True)
        assert "this came from no workflow" in refused.message
        said = [one for one in caplog.records if one.name == "activities.interceptor"]
        assert [one.getMessage() for one in said] == [refused.message]
    assert await Books.of(shop) == before


@pytest.mark.parametrize("state", ["placed", "paid", "waiting"])
async def test_an_order_is_charged_refunded_and_shipped_by_its_own_run_alone(
    shop: Shop, state: str
) -> None:
    if state == "placed":
        order_id = await shop.place()
    elif state == "paid":
        order_id = await refunds.paid(shop)
    else:
        order_id = await shop.place("pm_card_authenticationRequired")
        await shop.start(order_id, waits=True)
        await eventually(lambda: waits_for_customer(shop, order_id))
    before = await Books.of(shop)
    for name in ("charge_card", "refund_card", "fulfill_order", "cancel_fulfillment"):
        [wanted] = [one for one in wanted_of(order_id, "r1") if one.activity == name]
        await refusal_of(shop.patient_client, wanted)
    assert await Books.of(shop) == before


async def waits_for_customer(shop: Shop, order_id: str) -> bool:
    return (await shop.book.view(order_id)).order.status is Status.AWAITING_PAYMENT


async def test_a_workflow_of_their_own_has_nothing_done(shop: Shop, strangers: Client) -> None:
    order_id = await refunded_in_part(shop)
    before = await Books.of(shop)
    for wanted in wanted_of(order_id, "r1"):
        own = refund_workflow_id(order_id, "r1")
        for workflow_type, run_id in (
            ("Mine", f"mine-{next(_numbers)}"),
            ("Mine", workflow_id(order_id)),
            ("Mine", own),
            ("Order", f"order-mine{next(_numbers)}"),
            ("Order", own),
        ):
            refused = await refusal_in(
                strangers, wanted, workflow_type=workflow_type, run_id=run_id
            )
            assert (refused.type, refused.non_retryable) == (NOT_FROM_ITS_RUN, True)
            assert f"from the run {run_id!r} of the type {workflow_type!r}" in refused.message
    assert await Books.of(shop) == before


# -- our workflows, started by strangers -----------------------------------------------------------


async def test_an_order_under_another_workflow_id_does_nothing(shop: Shop) -> None:
    order_id = await shop.place()
    before = await Books.of(shop)
    for run_id in (f"mine-{next(_numbers)}", order_id, workflow_id(f"{order_id}.2")):
        handle = await shop.client.start_workflow(
            OrderWorkflow.run, m.OrderInput(order_id), id=run_id, task_queue=TASK_QUEUE
        )
        refused = await failure_of(handle)
        assert refused.type == WRONG_WORKFLOW_ID
        assert f"the run {run_id!r} does nothing: the workflow id is order-" in refused.message
    assert await Books.of(shop) == before
    assert (await (await shop.start(order_id)).result()).status is Status.COMPLETED


async def test_a_refund_under_another_workflow_id_does_nothing(shop: Shop) -> None:
    order_id = await refunds.paid(shop)
    before = await Books.of(shop)
    for run_id in (f"mine-{next(_numbers)}", refund_workflow_id(order_id, "r2")):
        handle = await shop.client.start_workflow(
            RefundWorkflow.run, RefundRequest(order_id, "r1"), id=run_id, task_queue=TASK_QUEUE
        )
        assert (await failure_of(handle)).type == WRONG_WORKFLOW_ID
    assert await Books.of(shop) == before


async def test_disputes_are_not_followed_under_another_workflow_id(shop: Shop) -> None:
    order_id = await refunds.paid(shop)
    before = await Books.of(shop)
    handle = await shop.client.start_workflow(
        PaymentRiskWorkflow.run,
        PaymentRiskInput(order_id),
        id=f"mine-{next(_numbers)}",
        task_queue=TASK_QUEUE,
    )
    assert (await failure_of(handle)).type == WRONG_WORKFLOW_ID
    assert await Books.of(shop) == before


@pytest.mark.parametrize("order_id", ["", "a/b", "x" * 65, "1001\n"])
async def test_a_run_of_what_cannot_be_an_order_fails(shop: Shop, order_id: str) -> None:
    handle = await shop.client.start_workflow(
        OrderWorkflow.run,
        m.OrderInput(order_id),
        id=f"order-{next(_numbers)}",
        task_queue=TASK_QUEUE,
    )
    refused = await failure_of(handle)
    assert refused.type == WRONG_WORKFLOW_ID
    assert "an order id" in refused.message


async def test_a_run_that_goes_on_from_a_made_up_state_does_nothing(shop: Shop) -> None:
    """It would refund what that state says is short."""
    order_id = await refunds.paid(shop)
    before = await Books.of(shop)
    now = datetime.now(UTC)
    made_up = m.OrderSnapshot(
        terms=shop.terms.of(TOTAL, flagged=False, off_session=False),
        status=Status.FULFILLED,
        total=TOTAL,
        taken=TOTAL,
        parcel_ids=("par_1",),
        short=(("MUG", QUANTITY),),
        contents={},
        parcels=(),
        settled=(),
        deadline=now + timedelta(days=1),
        confirmed=None,
    )
    order = await shop.client.start_workflow(
        OrderWorkflow.run,
        m.OrderInput(order_id, made_up),
        id=workflow_id(order_id),
        task_queue=TASK_QUEUE,
    )
    risk = await shop.client.start_workflow(
        PaymentRiskWorkflow.run,
        PaymentRiskInput(order_id, PaymentRiskSnapshot(told=7)),
        id=payment_risk_workflow_id(order_id),
        task_queue=TASK_QUEUE,
    )
    for handle in (order, risk):
        refused = await failure_of(handle)
        assert refused.type == WRONG_WORKFLOW_ID
        assert "no earlier run continued as this one" in refused.message
    assert await Books.of(shop) == before
