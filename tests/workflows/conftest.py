"""A shop in memory, and the real Temporal server with time skipping: no test waits for a timer."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from itertools import count
from typing import Any

import pytest
from temporalio.api.enums.v1 import EventType
from temporalio.api.sdk.v1 import WorkflowMetadata
from temporalio.client import Client, WorkflowFailureError, WorkflowHandle, WorkflowHistory
from temporalio.exceptions import ApplicationError
from temporalio.testing import TimeSkipper
from temporalio.worker import Replayer, Worker, WorkflowReplayResult, WorkflowRunner

from activities.handover import ChargePace
from durable_orders.contracts.data_converter import DATA_CONVERTER
from durable_orders.contracts.error_types import ORDER_FAILED
from durable_orders.domain.activity_messages import OrderInput, Outcome
from durable_orders.domain.ids import TASK_QUEUE, mail_key, workflow_id
from durable_orders.domain.lifecycle import Status
from durable_orders.domain.money import Money
from durable_orders.domain.order import Basket, PaymentOptions, Recipient
from durable_orders.domain.ports import NoAnswerError
from durable_orders.domain.refunds.messages import ShopRefundTerms
from durable_orders.domain.terms import ShopTerms
from tests.fakes.cards import InMemoryCards
from tests.fakes.database import (
    InMemoryDatabase,
    InMemoryInventory,
    InMemoryOrderRepository,
    InMemoryPaymentLedger,
)
from tests.fakes.disputes import InMemoryDisputeRepository, InMemoryPaymentRiskReader
from tests.fakes.mailer import InMemoryMailer
from tests.fakes.refunds import InMemoryRefundBook
from tests.fakes.warehouse import InMemoryWarehouse
from tests.support.servers import Servers, Temporal
from worker import order_worker
from workflows.audit import ExaminationWorkflow, ReconcileWorkflow
from workflows.order import OrderWorkflow
from workflows.payment_risk import PaymentRiskWorkflow
from workflows.refund import RefundWorkflow
from workflows.sandbox import RUNNER

_numbers = count(1)

PRICE = Money(14_50, "EUR")
ON_HAND = 10
#: Every order buys two mugs.
QUANTITY = 2
TOTAL = PRICE * QUANTITY
#: An ordinary customer, who is there.
PRESENT = PaymentOptions()

#: A neighbour that is away for long and says so. Skipping a pause costs a moment each time, so
#: whoever waits for hours or a day is asked to come back in an hour instead of every ten minutes.
HOURS_OF_SILENCE = NoAnswerError("nobody answers", retry_after=timedelta(hours=1))


@dataclass
class Shop:
    """One shop with its neighbours, all in memory, all scriptable."""

    client: Client
    #: Starts runs that keep to the clock, for tests that meet an order while it waits.
    patient_client: Client
    database: InMemoryDatabase = field(default_factory=InMemoryDatabase)
    cards: InMemoryCards = field(default_factory=InMemoryCards)
    refund_terms: ShopRefundTerms = field(default_factory=ShopRefundTerms)
    warehouse: InMemoryWarehouse = field(default_factory=InMemoryWarehouse)
    mailer: InMemoryMailer = field(default_factory=InMemoryMailer)
    terms: ShopTerms = field(default_factory=ShopTerms)

    def __post_init__(self) -> None:
        self.inventory = InMemoryInventory(self.database)
        self.ledger = InMemoryPaymentLedger(self.database)
        self.book = InMemoryOrderRepository(self.database)
        self.refunds = InMemoryRefundBook(self.database)
        self.disputes = InMemoryDisputeRepository(self.database)
        self.risks = InMemoryPaymentRiskReader()
        self.database.add_product("MUG", "Mug", PRICE, ON_HAND)

    def worker(self, client: Client, **options: Any) -> Worker:
        """A worker with the shop's neighbours and terms; ``options`` as for ``order_worker``."""
        ports: dict[str, Any] = {
            "cards": self.cards,
            "ledger": self.ledger,
            "warehouse": self.warehouse,
            "mailer": self.mailer,
            "inventory": self.inventory,
            "orders": self.book,
            "refunds": self.refunds,
            "disputes": self.disputes,
            "risks": self.risks,
            "refund_terms": self.refund_terms,
            "shop": self.terms,
        }
        return order_worker(client, **ports | options)

    async def place(
        self,
        card: str = "pm_card_visa",
        *,
        flagged: bool = False,
        options: PaymentOptions = PRESENT,
    ) -> str:
        order_id = f"w{next(_numbers)}"
        recipient = Recipient("Ada Lovelace", "ada@example.com", "12 St James's Square, London")
        basket = Basket(order_id, "cus_1", recipient, (("MUG", QUANTITY),), card, flagged, options)
        await self.book.place(basket, datetime.now(UTC))
        return order_id

    async def start(
        self, order_id: str, *, waits: bool = False, task_timeout: timedelta | None = None
    ) -> WorkflowHandle[OrderWorkflow, Outcome]:
        """Start an order; time is skipped whenever it waits, or with ``waits`` is not.

        Its workflow tasks may take the SDK's ten seconds unless ``task_timeout`` says otherwise.
        """
        client = self.patient_client if waits else self.client
        return await client.start_workflow(
            OrderWorkflow.run,
            OrderInput(order_id),
            id=workflow_id(order_id),
            task_queue=TASK_QUEUE,
            task_timeout=task_timeout,
        )

    async def order(
        self,
        card: str = "pm_card_visa",
        *,
        waits: bool = False,
        options: PaymentOptions = PRESENT,
    ) -> WorkflowHandle[OrderWorkflow, Outcome]:
        """Place an order and start it."""
        return await self.start(await self.place(card, options=options), waits=waits)

    async def order_from_away(
        self, card: str = "pm_card_visa", *, waits: bool = False
    ) -> WorkflowHandle[OrderWorkflow, Outcome]:
        """Place an order on a saved card of a new customer, who is away, and start it."""
        customer = self.cards.add_customer()
        saved = self.cards.save_card(customer, card)
        options = PaymentOptions(customer=customer, off_session=True)
        return await self.order(saved, waits=waits, options=options)

    async def check(self, outcome: Outcome) -> Outcome:
        """The invariants: row, run, provider, stock, parcels and mails tell the same story."""
        order_id = outcome.order_id
        view = await self.book.view(order_id)
        assert view.order.status is outcome.status
        assert view.order.reason == (outcome.stop.reason if outcome.stop else None)

        taken, given_back = self.cards.taken(order_id), self.cards.given_back(order_id)
        assert (outcome.taken.amount, outcome.given_back.amount) == (taken, given_back)
        assert sum(p.captured.amount for p in view.payments) == taken
        assert sum(p.refunded.amount for p in view.payments) == given_back

        completed = outcome.status is Status.COMPLETED
        product = self.database.products["MUG"]
        assert taken - given_back == (TOTAL.amount if completed else 0)
        assert view.stock in ({"committed"} if completed else {"released"})
        assert product.reserved == 0
        assert product.on_hand == ON_HAND - (QUANTITY if completed else 0)
        assert len(self.warehouse.parcels.get(order_id, ())) == (1 if completed else 0)
        kind = "confirmation" if completed else "closing"
        mails = [
            mail.key
            for mail in self.mailer.sent
            if f"order-{order_id}:" in mail.key
            and not mail.key.endswith(("reminder", "payment_request"))
        ]
        key = mail_key(view.order.key_prefix, order_id, kind)
        assert mails == ([key] if outcome.confirmed else [])
        return outcome


async def ended(handle: WorkflowHandle[OrderWorkflow, Outcome]) -> Outcome:
    """How the order ended, whether its run completed or failed for want of an answer."""
    try:
        return await handle.result()
    except WorkflowFailureError as failure:
        cause = failure.cause
        assert isinstance(cause, ApplicationError)
        assert cause.type == ORDER_FAILED
        [outcome] = await decoded(cause)
        return outcome


async def decoded(error: ApplicationError) -> list[Outcome]:
    """The outcome in a failed run's details, with its type."""
    payloads = DATA_CONVERTER.payload_converter.to_payloads(list(error.details))
    return DATA_CONVERTER.payload_converter.from_payloads(payloads, [Outcome])


async def current_details(handle: WorkflowHandle[Any, Any]) -> str:
    """The run's current details, as the Web UI shows them."""
    metadata = await handle.query("__temporal_workflow_metadata", result_type=WorkflowMetadata)
    return str(metadata.current_details)


def events(history: WorkflowHistory) -> list[str]:
    """The names of a run's events, in order."""
    prefix = len("EVENT_TYPE_")
    return [EventType.Name(event.event_type)[prefix:] for event in history.events]


@dataclass(frozen=True)
class Clients:
    """Two of one namespace of the real server."""

    #: Each of its runs has a clock of its own that skips what nobody waits for.
    skipping: Client
    #: Its runs keep to the real clock.
    patient: Client

    @classmethod
    async def of(cls, temporal: Temporal) -> Clients:
        patient = await temporal.connect()
        return cls(TimeSkipper(patient).client, patient)


@pytest.fixture(scope="session")
async def clients(servers: Servers) -> Clients:
    return await Clients.of(servers.temporal("skipping"))


@pytest.fixture
def terms() -> ShopTerms:
    """The shop's rules; a module or class of tests may have others."""
    return ShopTerms()


@pytest.fixture
def refund_terms() -> ShopRefundTerms:
    """The shop's rules for refunds."""
    return ShopRefundTerms()


@pytest.fixture
def pace() -> ChargePace:
    """No charges were made yet, so that the first ones are normal activities."""
    return ChargePace()


def quick_pace() -> ChargePace:
    """The last charges were quick, so that the next one begins locally."""
    pace = ChargePace()
    for _ in range(3):
        pace.record(0.01)
    return pace


@pytest.fixture
async def shop(
    clients: Clients, terms: ShopTerms, refund_terms: ShopRefundTerms, pace: ChargePace
) -> AsyncIterator[Shop]:
    """An open shop: its worker is at work."""
    shop = Shop(clients.skipping, clients.patient, terms=terms, refund_terms=refund_terms)
    async with shop.worker(clients.skipping, approver="approver@example.com", pace=pace):
        yield shop


async def replayed(
    history: WorkflowHistory, runner: WorkflowRunner = RUNNER
) -> WorkflowReplayResult:
    """Run a history again as a worker would that has never seen it; raises where they differ."""
    replayer = Replayer(
        workflows=[
            OrderWorkflow,
            RefundWorkflow,
            PaymentRiskWorkflow,
            ReconcileWorkflow,
            ExaminationWorkflow,
        ],
        workflow_runner=runner,
        data_converter=DATA_CONVERTER,
    )
    return await replayer.replay_workflow(history)
