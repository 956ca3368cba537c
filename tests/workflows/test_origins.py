"""Temporal is no way in: what does not come from an order's own run moves nothing.

The stranger here is whoever reaches the namespace, with a worker of their own where they need one.
"""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from itertools import count
from typing import Any

import pytest
from temporalio import workflow
from temporalio.client import ActivityFailureError, Client, WorkflowFailureError
from temporalio.common import RetryPolicy
from temporalio.exceptions import ActivityError, ApplicationError
from temporalio.worker import UnsandboxedWorkflowRunner, Worker

from activities.error_types import NOT_FROM_ITS_RUN
from activities.origins import ORIGINS
from durable_orders.contracts.error_types import WRONG_WORKFLOW_ID
from durable_orders.domain import activity_messages as m
from durable_orders.domain.disputes.messages import (
    DisputeDue,
    PaymentRiskInput,
    PaymentRiskRef,
    PaymentRiskSnapshot,
)
from durable_orders.domain.ids import TASK_QUEUE, refund_workflow_id, workflow_id
from durable_orders.domain.lifecycle import Status
from durable_orders.domain.parcels import Parcel
from durable_orders.domain.refunds import messages as rm
from durable_orders.domain.refunds.refund import RefundRequest, RefundState
from tests.workflows import refunds
from tests.workflows.conftest import ON_HAND, QUANTITY, TOTAL, Clients, Shop
from tests.workflows.test_audit import opened
from worker import order_worker
from workflows.order import OrderWorkflow
from workflows.payment_risk import PaymentRiskWorkflow
from workflows.refund import RefundWorkflow

_numbers = count(1)

SECONDS = timedelta(seconds=20)
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
            activity, about, task_queue=TASK_QUEUE, start_to_close_timeout=SECONDS
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


def wanted_of(order_id: str, refund_id: str = "r1") -> list[Wanted]:
    """Every activity of the worker that has to do with an order, with what it is asked."""
    order, refund = m.OrderRef(order_id), rm.RefundRef(order_id, refund_id)
    attempt = rm.RefundAttempt(refund)
    parcel = m.OrderParcel(order_id, Parcel("par_1"))
    return [
        Wanted("read_order", order),
        Wanted("record_status", m.StatusChange(order_id, Status.REFUNDED)),
        Wanted("record_note", m.Note(order_id, "stray", {})),
        Wanted("record_parcel", parcel),
        Wanted("reserve_inventory", order),
        Wanted("release_inventory", order),
        Wanted("update_inventory", order),
        Wanted("charge_card", m.ChargeRequest(order_id, 7)),
        Wanted("check_payment", order),
        Wanted("capture_payment", order),
        Wanted("refund_card", order),
        Wanted("record_given_back_by_hand", m.ManualRefund(order_id, TOTAL, TOTAL, "ceo", "mine")),
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
    ]
