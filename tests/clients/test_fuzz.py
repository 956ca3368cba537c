"""Whatever the arguments of a client's method: it does what it says or raises an error of ours, and
where it refuses, the database is as before.

The methods are the clients' own, their arguments are made up from the types. A method that is added
is tested without a change here.
"""

from __future__ import annotations

import asyncio
import contextlib
import inspect
from collections.abc import AsyncIterator
from dataclasses import dataclass, replace
from datetime import UTC, timedelta, timezone
from itertools import count
from typing import Any, Final, get_type_hints

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from durable_orders.clients.errors import (
    NotStartedError,
    NoWorkerError,
    OrderClientError,
    UndecidedError,
)
from durable_orders.clients.order_operations import OrderOperations
from durable_orders.clients.orders import OrderClient
from durable_orders.clients.payment_risks import PaymentRiskClient
from durable_orders.clients.refunds import RefundClient
from durable_orders.domain.ids import (
    IdempotencyKey,
    IdempotencyKeyReusedError,
    InvalidOrderIdError,
    InvalidRefundIdError,
)
from durable_orders.domain.lifecycle import Status
from durable_orders.domain.listing import Cursor, InvalidLimitError, OrderFilter
from durable_orders.domain.money import Money
from durable_orders.domain.order import (
    Basket,
    FutureUsage,
    InvalidOrderError,
    PaymentOptions,
    Recipient,
)
from durable_orders.domain.parcels import ParcelStatus
from durable_orders.domain.ports import InvalidValueError, NoSuchOrderError, OrderExistsError
from durable_orders.domain.refunds.refund import UNFINISHED, RefundReason, RefundRequest
from durable_orders.domain.texts import InvalidTextError
from durable_orders.domain.workflow_messages import PaymentChange
from durable_orders.store.database import Database
from durable_orders.store.disputes import PostgresDisputeRepository
from durable_orders.store.orders import PostgresOrderRepository
from durable_orders.store.refunds import PostgresRefundBook
from tests.support.eventually import eventually
from tests.support.rows import rows_of
from tests.support.servers import Temporal
from tests.support.shop import basket
from tests.support.shop_with_store import ShopWithStore, shop

__all__ = ["shop"]

CLIENTS: Final = (OrderClient, OrderOperations, RefundClient, PaymentRiskClient)
METHODS: Final = [
    (client, name)
    for client in CLIENTS
    for name, _ in inspect.getmembers(client, inspect.isfunction)
    if not name.startswith("_")
]
#: What a caller has to expect. ``InvalidValueError``: a number that no column holds.
OURS: Final = (
    *(OrderClientError, NoSuchOrderError, OrderExistsError, InvalidOrderError, InvalidTextError),
    *(InvalidOrderIdError, InvalidRefundIdError, IdempotencyKeyReusedError, InvalidValueError),
    InvalidLimitError,
)
#: Nothing is known of what becomes of the request: it is not refused.
UNDECIDED: Final = (NoWorkerError, UndecidedError)
#: Stand for orders of the test's own.
COMPLETED, PLACED = "the completed order", "a placed order"

TEXTS: Final = st.one_of(
    st.sampled_from(
        [
            *(
                "",
                " ",
                "a/b",
                "..",
                "a\0b",
                "a\nb",
                "\ud800",
                "\x1b[31m",
                "ä",
                "%",
                "_",
                "' OR 1=1 --",
            )
        ]
    ),
    st.sampled_from(["x" * 100_000, "r1", "1001", "par_1", "pm_card_visa", "MUG", "undo", "-1"]),
    st.text(max_size=30),
    st.text(st.characters(codec="ascii", categories=["L", "N"]), min_size=1, max_size=20),
)
NUMBERS: Final = st.one_of(
    st.sampled_from([-(10**30), -(2**63), -1, 0, 1, 2**31, 2**63, 10**30]), st.integers()
)
WAITS: Final = st.sampled_from(
    [
        *(timedelta.min, timedelta(-1), timedelta(0), timedelta(microseconds=1)),
        *(timedelta(milliseconds=200), timedelta(seconds=3), timedelta.max),
    ]
)
MONEY: Final = st.builds(Money, NUMBERS, st.sampled_from(["EUR", "USD", "JPY", "XXX"]))
ORDER_IDS: Final = st.one_of(st.sampled_from([COMPLETED, PLACED]), TEXTS)
LINES: Final = st.lists(st.tuples(TEXTS, NUMBERS), max_size=3).map(tuple)
TIMES: Final = st.datetimes(timezones=st.sampled_from([UTC, timezone(timedelta(hours=14))]))


def tried(make: Any) -> Any:
    """The arguments of a call whose making may be refused by itself."""
    return lambda **values: lambda: make(**values)


BASKETS: Final = st.builds(
    tried(Basket),
    order_id=ORDER_IDS,
    customer_id=TEXTS,
    recipient=st.builds(Recipient, TEXTS, st.just("ada@example.com") | TEXTS, TEXTS),
    quantities=st.just((("MUG", 1),)) | LINES,
    payment_method=TEXTS,
    flagged=st.booleans(),
    options=st.builds(
        PaymentOptions,
        customer=st.none() | TEXTS,
        off_session=st.booleans(),
        setup_future_usage=st.none() | st.sampled_from(FutureUsage),
        receipt_email=st.none() | TEXTS,
    ),
)
REQUESTS: Final = st.builds(
    RefundRequest,
    order_id=ORDER_IDS,
    refund_id=TEXTS,
    lines=st.just(()) | LINES,
    amount=st.none() | MONEY,
    restock=st.booleans(),
    reason=st.sampled_from(RefundReason),
    message=TEXTS,
    requested_by=TEXTS,
)
BY_TYPE: Final[dict[Any, st.SearchStrategy[Any]]] = {
    str: TEXTS,
    str | None: st.none() | TEXTS,
    int: NUMBERS,
    bool: st.booleans(),
    timedelta: WAITS,
    Basket: BASKETS,
    RefundRequest: REQUESTS,
    Money | None: st.none() | MONEY,
    Status | None: st.none() | st.sampled_from(Status),
    ParcelStatus: st.sampled_from(ParcelStatus),
    PaymentChange | None: st.none() | st.sampled_from(PaymentChange),
    IdempotencyKey | None: st.none() | st.builds(tried(IdempotencyKey), text=TEXTS),
    OrderFilter: st.builds(
        tried(OrderFilter), status=st.none() | st.sampled_from(Status), customer_id=TEXTS
    ),
    Cursor | None: st.none() | st.builds(Cursor, TIMES, TEXTS),
}


def arguments_of(client: type, name: str) -> st.SearchStrategy[dict[str, Any]]:
    method = getattr(client, name)
    hints = get_type_hints(method)
    return st.fixed_dictionaries(
        {
            each: ORDER_IDS if each == "order_id" else BY_TYPE[hints[each]]
            for each in inspect.signature(method).parameters
            if each != "self"
        }
    )


@dataclass
class Subject:
    """The clients, on real servers, and the orders that they are called about."""

    clients: dict[type, Any]
    orders: OrderClient
    database: Database
    completed: str
    _numbers = count(1)

    async def placed(self) -> str:
        """A new order."""
        order_id = f"fuzz-{next(self._numbers)}"
        await self.orders.place(basket(order_id))
        return order_id

    async def ends(self, order_id: str) -> None:
        """Wait until nobody is at work any more: on this order, if it was started, or on a refund
        of the completed one.
        """
        with contextlib.suppress(NotStartedError):
            await self.orders.result(order_id)
        refunds: RefundClient = self.clients[RefundClient]

        async def all_are_made() -> bool:
            entries = await refunds.refunds_of(self.completed)
            return not [entry for entry in entries if entry.state in UNFINISHED]

        await eventually(all_are_made)


@pytest.fixture(scope="module")
async def subject(shop: ShopWithStore, temporal_server: Temporal, database: Database) -> Subject:
    temporal, book = await temporal_server.connect(), PostgresOrderRepository(database)
    await shop.orders.place(basket("fuzz-completed"))
    await shop.orders.start("fuzz-completed")
    await shop.orders.result("fuzz-completed")
    clients = {
        OrderClient: OrderClient(temporal, book, patience=timedelta(0)),
        OrderOperations: OrderOperations(temporal, book),
        RefundClient: RefundClient(temporal, PostgresRefundBook(database)),
        PaymentRiskClient: PaymentRiskClient(temporal, PostgresDisputeRepository(database)),
    }
    return Subject(clients, shop.orders, database, "fuzz-completed")


async def call(method: Any, arguments: dict[str, Any]) -> object:
    """Call it; what it returns, or all that it yields."""
    called = method(**arguments)
    if not isinstance(called, AsyncIterator):
        return await called
    return [each async for each in called]


@pytest.mark.parametrize(
    ("client", "name"), METHODS, ids=[f"{client.__name__}.{name}" for client, name in METHODS]
)
async def test_a_call_does_it_or_raises_an_error_of_ours(
    subject: Subject, client: type, name: str
) -> None:
    cases: list[dict[str, Any]] = []

    @settings(max_examples=25, derandomize=True, database=None)
    @given(arguments_of(client, name))
    def collect(arguments: dict[str, Any]) -> None:
        cases.append(arguments)

    collect()
    for arguments in cases:
        placed = await subject.placed()
        own = {COMPLETED: subject.completed, PLACED: placed}
        before = await rows_of(subject.database)
        try:
            async with asyncio.timeout(8):
                known = {each: about(value, own) for each, value in arguments.items()}
                await call(getattr(subject.clients[client], name), known)
            refusal = None
        except UNDECIDED:
            refusal = None
        except TimeoutError:
            assert arguments.get("wait", timedelta(0)) > timedelta(days=1), arguments
            refusal = None
        except OURS as error:
            refusal = error
        if refusal is not None:
            assert len(str(refusal)) < 1_000
            assert await rows_of(subject.database) == before, (arguments, refusal)
        await subject.ends(placed)


def about(value: object, own: dict[str, str]) -> object:
    """The argument, with an order of the test's own where it stands for one."""
    if isinstance(value, str):
        return own.get(value, value)
    if isinstance(value, RefundRequest):
        return replace(value, order_id=own.get(value.order_id, value.order_id))
    return value() if callable(value) else value
