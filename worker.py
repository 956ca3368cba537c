"""The worker process, `python worker.py`: runs workflows and activities. Any number may run."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import sys
from collections.abc import AsyncIterator, Callable, Coroutine
from functools import partial
from typing import Any, TypeVar

from temporalio.api.workflowservice.v1 import DescribeNamespaceRequest
from temporalio.client import Client
from temporalio.worker import UnsandboxedWorkflowRunner, Worker, WorkflowRunner

from activities.audit import ReconciliationActivities
from activities.audit_risks import PaymentRiskAudit
from activities.disputes import DisputeActivities
from activities.fulfillment import FulfillmentActivities
from activities.handover import ChargePace, Handover
from activities.interceptor import (
    ActivityInterceptor,
    hold_open,
    is_activity_running,
    wait_until_idle,
)
from activities.inventory import InventoryActivities
from activities.notifications import NotificationActivities
from activities.orders import OrderBookActivities
from activities.payments import PaymentActivities
from activities.refunds import RefundActivities
from durable_orders.binding import BindingCheck
from durable_orders.clients.connection import connect, translate_rpc_errors
from durable_orders.clients.errors import UnreachableError
from durable_orders.clients.run_inspector import (
    TemporalOrderRuns,
    TemporalPaymentRiskRuns,
    TemporalRefundRuns,
)
from durable_orders.domain.activity_messages import ChargeAnswer
from durable_orders.domain.disputes.ports import DisputeRepository, PaymentRiskReader
from durable_orders.domain.ids import TASK_QUEUE
from durable_orders.domain.installation import OtherAccountError
from durable_orders.domain.ports import (
    Cards,
    Inventory,
    Mailer,
    OrderRepository,
    PaymentLedger,
    ProviderError,
    Warehouse,
)
from durable_orders.domain.refunds.messages import ShopRefundTerms
from durable_orders.domain.refunds.ports import RefundBook
from durable_orders.domain.terms import ShopTerms
from durable_orders.observability.health_file import kept_fresh
from durable_orders.observability.logging import configure_logging
from durable_orders.process import PROGRAM, exit_process, refuse_arguments
from durable_orders.providers.resend.mailer import ResendMailer
from durable_orders.providers.stripe.account import read_account
from durable_orders.providers.stripe.disputes import StripeDisputes
from durable_orders.providers.stripe.listing import StripeChargeListing
from durable_orders.providers.warehouse.client import HttpWarehouse
from durable_orders.readiness import check_database, check_temporal
from durable_orders.settings import SettingsError, WorkerSettings, temporal_profile
from durable_orders.stopping import StopSignals
from durable_orders.store import database as store
from durable_orders.store.audit import PostgresAuditRepository
from durable_orders.store.audit_findings import PostgresFindingRepository
from durable_orders.store.disputes import PostgresDisputeRepository
from durable_orders.store.installation import PostgresInstallationRepository
from durable_orders.store.inventory import PostgresInventory
from durable_orders.store.orders import PostgresOrderRepository
from durable_orders.store.payments import PostgresPaymentLedger
from durable_orders.store.refunds import PostgresRefundBook
from workflows import retry_policies
from workflows.audit import ExaminationWorkflow, ReconcileWorkflow
from workflows.order import OrderWorkflow
from workflows.payment_risk import PaymentRiskWorkflow
from workflows.refund import RefundWorkflow
from workflows.sandbox import RUNNER

log = logging.getLogger("worker")

T = TypeVar("T")


def order_worker(
    client: Client,
    *,
    cards: Cards,
    ledger: PaymentLedger,
    warehouse: Warehouse,
    mailer: Mailer,
    inventory: Inventory,
    orders: OrderRepository,
    refunds: RefundBook,
    disputes: DisputeRepository | None = None,
    risks: PaymentRiskReader | None = None,
    shop: ShopTerms = ShopTerms(),  # noqa: B008 - frozen
    refund_terms: ShopRefundTerms = ShopRefundTerms(),  # noqa: B008 - frozen
    approver: str | None = None,
    audit: ReconciliationActivities | None = None,
    max_concurrent_activities: int = 100,
    workflow_runner: WorkflowRunner = RUNNER,
    pace: ChargePace | None = None,
    max_cached_workflows: int = 1_000,
    handover: Handover[ChargeAnswer] | None = None,
) -> Worker:
    """Create a worker for the task queue "orders" with these ports and the shop's terms.

    Without ``audit`` it has no activities for audits, without ``disputes`` and ``risks`` none for
    disputes. Workflows run in the SDK's sandbox unless another ``workflow_runner`` is given.
    ``pace`` is of the charges that this process has made so far, none unless it is given;
    ``handover`` of those that outlive a workflow task.
    """
    pace = pace or ChargePace()
    payments = PaymentActivities(
        cards,
        ledger,
        orders,
        refunds,
        disputes,
        risks,
        pace=pace,
        handover=handover or Handover(hold_open),
    )
    fulfillment = FulfillmentActivities(warehouse, orders)
    notifications = NotificationActivities(mailer, orders, approver, disputes)
    stock = InventoryActivities(inventory)
    book = OrderBookActivities(orders, inventory, shop, pace)
    paying_back = RefundActivities(cards, refunds, orders, mailer, refund_terms)
    disputed: list[Callable[..., Any]] = []
    if disputes is not None and risks is not None:
        disputed.append(DisputeActivities(risks, disputes, orders, shop).review_payment_risks)
    return Worker(
        client,
        task_queue=TASK_QUEUE,
        workflows=[
            OrderWorkflow,
            RefundWorkflow,
            PaymentRiskWorkflow,
            ReconcileWorkflow,
            ExaminationWorkflow,
        ],
        workflow_runner=workflow_runner,
        activities=[
            book.read_order,
            book.begin_order,
            book.begin_undo,
            book.record_status,
            book.record_note,
            book.record_parcel,
            stock.reserve_inventory,
            stock.release_inventory,
            stock.update_inventory,
            payments.charge_card,
            payments.check_payment,
            payments.capture_payment,
            payments.refund_card,
            payments.record_given_back_by_hand,
            fulfillment.fulfill_order,
            fulfillment.cancel_fulfillment,
            fulfillment.read_fulfillment,
            fulfillment.resend_parcel,
            notifications.send_confirmation_email,
            notifications.send_closing_email,
            notifications.send_payment_request_email,
            notifications.send_shipped_email,
            notifications.send_approval_reminder,
            notifications.send_refund_approval_reminder,
            notifications.send_dispute_reminder,
            *disputed,
            *([] if audit is None else audit.all),
            paying_back.reserve_refund,
            paying_back.record_refund_state,
            paying_back.issue_refund,
            paying_back.check_refund,
            paying_back.restock_refund,
            paying_back.send_refund_email,
        ],
        interceptors=[ActivityInterceptor()],
        max_concurrent_activities=max_concurrent_activities,
        max_cached_workflows=max_cached_workflows,
        sticky_queue_schedule_to_start_timeout=retry_policies.STICKY_QUEUE,
        graceful_shutdown_timeout=retry_policies.GRACEFUL_SHUTDOWN,
    )


@contextlib.asynccontextmanager
async def composed(
    settings: WorkerSettings,
    client: Client,
    *,
    pace: ChargePace | None = None,
    handover: Handover[ChargeAnswer] | None = None,
) -> AsyncIterator[tuple[Worker, BindingCheck]]:
    """The worker with the database and providers of ``settings``, which are closed after it;
    ``pace`` and ``handover`` as for ``order_worker``.

    Until the check of the account has passed, the worker asks nothing of the card provider.
    """
    async with contextlib.AsyncExitStack() as stack:
        database = store.connect(
            settings.database_url.get_secret_value(), pool_size=settings.database_pool_size
        )
        stack.push_async_callback(database.close)
        await _look_at(database)
        key, base = settings.stripe_api_key.get_secret_value(), settings.stripe_api_base
        installations = PostgresInstallationRepository(database)
        check = BindingCheck(partial(read_account, key, api_base=base), installations)
        cards = await stack.enter_async_context(
            StripeChargeListing(
                key,
                api_base=base,
                timeout=retry_policies.CARD_REQUEST.total_seconds(),
                money_timeout=retry_policies.MONEY_REQUEST.total_seconds(),
                require=check.require,
            )
        )
        mailer = await stack.enter_async_context(
            ResendMailer(
                settings.resend_api_key.get_secret_value(),
                sender=settings.mail_from,
                api_url=settings.resend_api_url,
            )
        )
        warehouse = await stack.enter_async_context(
            HttpWarehouse(settings.fulfillment_url, settings.fulfillment_api_key.get_secret_value())
        )
        ledger, disputes = PostgresPaymentLedger(database), PostgresDisputeRepository(database)
        risks = StripeDisputes(cards)
        orders = PostgresOrderRepository(database)
        refunds = PostgresRefundBook(database)
        worker = order_worker(
            client,
            cards=cards,
            ledger=ledger,
            warehouse=warehouse,
            mailer=mailer,
            inventory=PostgresInventory(database),
            orders=orders,
            refunds=refunds,
            disputes=disputes,
            risks=risks,
            shop=settings.shop_terms(),
            refund_terms=settings.refund_terms(),
            approver=settings.approver_email,
            audit=ReconciliationActivities(
                charges=cards,
                cards=cards,
                ledger=ledger,
                book=PostgresAuditRepository(database),
                runs=TemporalOrderRuns(client, orders),
                findings=PostgresFindingRepository(database),
                installations=installations,
                refunds=refunds,
                refund_runs=TemporalRefundRuns(client, refunds),
                risks=PaymentRiskAudit(risks, risks, disputes, TemporalPaymentRiskRuns(client)),
            ),
            max_concurrent_activities=settings.max_concurrent_activities,
            workflow_runner=UnsandboxedWorkflowRunner(),
            max_cached_workflows=settings.max_cached_workflows,
            pace=pace,
            handover=handover,
        )
        if settings.worker_health_file is not None:
            checks = {
                "Temporal": partial(check_temporal, client),
                "database": partial(check_database, database),
            }
            await stack.enter_async_context(
                kept_fresh(
                    settings.worker_health_file, checks, is_working=lambda: worker.is_running
                )
            )
        yield worker, check


async def _look_at(database: store.Database) -> None:
    """Say when orders will wait for the database. The worker starts: their runs are asked by it."""
    try:
        await database.require_writable()
    except ProviderError as error:
        log.warning("orders wait for the database: %s", error)


async def run(settings: WorkerSettings) -> None:
    """Run until SIGTERM or SIGINT, then let activities in flight finish.

    Raises ``OtherAccountError``, as soon as that is known.
    """
    signals = StopSignals(
        limit=retry_policies.STOPPED_WITHIN,
        busy_limit=retry_policies.GRACEFUL_SHUTDOWN + retry_policies.STOPPED_WITHIN,
        is_busy=is_activity_running,
    )
    signals.install()
    stop = signals.asked
    client = await _unless(stop, _connected())
    if client is None:
        return
    async with composed(settings, client) as (worker, check):
        await _unless(stop, check.at_start())
        working = asyncio.create_task(worker.run())
        stopping = asyncio.create_task(_told_to(stop, check))
        log.info("ready: working on the queue %r", TASK_QUEUE)
        await asyncio.wait([working, stopping], return_when=asyncio.FIRST_COMPLETED)
        if not working.done():
            log.info("stopping: letting activities in flight finish")
            await asyncio.wait([working, asyncio.create_task(worker.shutdown())])
            await wait_until_idle()
        stopping.cancel()
        await working
        with contextlib.suppress(asyncio.CancelledError):
            await stopping
    log.info("stopped")


async def _told_to(stop: asyncio.Event, check: BindingCheck) -> None:
    """Return when ``stop`` is set. Raises ``OtherAccountError`` when the check ends in it."""
    await _unless(stop, check.until_known())
    await stop.wait()


async def _connected() -> Client:
    """Connect to Temporal, wait until it answers, and check that it has our namespace."""
    client = await connect(temporal_profile(), patience=None)
    with translate_rpc_errors(client):
        await client.workflow_service.describe_namespace(
            DescribeNamespaceRequest(namespace=client.namespace)
        )
    return client


async def _unless(stop: asyncio.Event, work: Coroutine[Any, Any, T]) -> T | None:
    """The result of ``work``, or None if ``stop`` is set first."""
    working = asyncio.ensure_future(work)
    stopping = asyncio.ensure_future(stop.wait())
    await asyncio.wait([working, stopping], return_when=asyncio.FIRST_COMPLETED)
    stopping.cancel()
    if working.done():
        return await working
    working.cancel()
    await asyncio.wait([working])
    return None


def main() -> int:
    """Run the process; its exit code."""
    try:
        settings = WorkerSettings.load()
    except SettingsError as error:
        print(error, file=sys.stderr)  # noqa: T201 - a sentence for the person who started it
        return 1
    configure_logging(settings.log_level, settings.log_format)
    try:
        asyncio.run(run(settings))
    except OtherAccountError as error:
        log.critical("%s", error.with_commands(PROGRAM))
        return 1
    except (SettingsError, UnreachableError, RuntimeError) as error:
        # The SDK raises RuntimeError when the server refuses the worker.
        log.critical("%s", error)
        return 1
    return 0


if __name__ == "__main__":
    refuse_arguments("Run one worker until SIGTERM or Ctrl-C. Any number may run.")
    exit_process(main())
