"""Every text that somebody may send to a workflow is bounded, and one that is none does nothing.

The messages are those of the handlers: one that is added is tested without a change here.
"""

from __future__ import annotations

import asyncio
import types
from collections.abc import Iterator
from dataclasses import MISSING, dataclass, fields, is_dataclass, replace
from datetime import datetime, timedelta
from enum import Enum
from typing import (
    Annotated,
    Any,
    Final,
    Literal,
    Union,
    get_args,
    get_origin,
    get_type_hints,
)

import pytest
from temporalio.client import WorkflowFailureError
from temporalio.exceptions import ApplicationError
from temporalio.workflow import _Definition  # the SDK has no public way to list a class's handlers

from durable_orders.contracts.error_types import MALFORMED, WRONG_WORKFLOW_ID
from durable_orders.domain.activity_messages import OrderInput
from durable_orders.domain.audit.messages import AuditInput, AuditPosition, AuditReport
from durable_orders.domain.disputes.messages import PaymentRiskInput
from durable_orders.domain.ids import TASK_QUEUE, refund_workflow_id
from durable_orders.domain.lifecycle import Status
from durable_orders.domain.money import Money
from durable_orders.domain.parcels import MOST_PARCELS, ParcelStatus
from durable_orders.domain.refunds.messages import ShopRefundTerms
from durable_orders.domain.refunds.refund import RefundRequest, RefundState
from durable_orders.domain.senders import is_well_sent
from durable_orders.domain.terms import ShopTerms
from durable_orders.domain.texts import TextFormat, check_texts
from durable_orders.domain.workflow_messages import Approve, ParcelUpdate
from tests.workflows import refunds
from tests.workflows.conftest import TOTAL, Shop
from tests.workflows.refunds import begin, new_id
from tests.workflows.test_delivery import fulfilled, parcel_of, tell
from tests.workflows.test_waiting import reached, refused
from workflows.audit import ExaminationWorkflow, ReconcileWorkflow
from workflows.order import OrderWorkflow
from workflows.payment_risk import PaymentRiskWorkflow
from workflows.refund import RefundWorkflow

WORKFLOWS: Final = (
    OrderWorkflow,
    RefundWorkflow,
    PaymentRiskWorkflow,
    ReconcileWorkflow,
    ExaminationWorkflow,
)
#: What no text of a message may hold, or be.
HOSTILE: Final = {
    "NUL": "a\x00b",
    "a line break": "a\nb",
    "ESC": "\x1b[2J",
    "CSI of C1": "\x9b2J",
    "a line separator": "a\u2028b",
    "an override": "a\u202eb",
    "an isolate": "a\u2066b",
    "half a character": "a\ud800",
    "100 KB": "x" * 100_000,
}
#: Read by a run only when an earlier run has continued as this one: tested in ``test_origins``, and
#: for audits below.
CONTINUED: Final = {
    (OrderInput, "so_far"),
    (PaymentRiskInput, "so_far"),
    (AuditInput, "position"),
    (AuditInput, "report"),
}
#: It refuses by itself whatever is no three letters.
CHECKED_BY_ITSELF: Final = {(Money, "currency")}

Path = tuple[str | int, ...]


@dataclass(frozen=True)
class Text:
    """A text in a message: where it is, and its format."""

    at: Path
    format: TextFormat | None


def texts_of(hint: Any, at: Path = ()) -> Iterator[Text]:
    """The texts in a type; those that are one of a few words aside."""
    if get_origin(hint) is Annotated:
        [format_] = [one for one in hint.__metadata__ if isinstance(one, TextFormat)]
        yield Text(at, format_)
    elif hint is str:
        yield Text(at, None)
    elif is_dataclass(hint) and isinstance(hint, type):
        hints = get_type_hints(hint, include_extras=True)
        for field in fields(hint):
            if (hint, field.name) not in CONTINUED | CHECKED_BY_ITSELF:
                yield from texts_of(hints[field.name], (*at, field.name))
    elif get_origin(hint) is not Literal:
        for place, part in enumerate(get_args(hint)):
            inside = get_origin(hint) not in {Union, types.UnionType}
            yield from texts_of(part, (*at, place) if inside else at)


def messages(of: type) -> Iterator[tuple[str, str, Any]]:
    """The kind, the name and the type of each message of a workflow; each member of a union."""
    found = _Definition.must_from_class(of)
    handlers: list[tuple[str, str, Any]] = [
        ("run", "run", found.run_fn),
        *(("signal", str(name), one.fn) for name, one in found.signals.items()),
        *(("update", str(name), one.fn) for name, one in found.updates.items()),
        *(("query", str(name), one.fn) for name, one in found.queries.items()),
    ]
    for kind, name, handler in handlers:
        hints = get_type_hints(handler, include_extras=True)
        del hints["return"]
        for hint in hints.values():
            for one in (get_args(hint) or (hint,)) if not is_dataclass(hint) else (hint,):
                if one is not type(None):
                    yield kind, name, one


EVERY: Final = [(of, *message) for of in WORKFLOWS for message in messages(of)]


def sample(hint: Any) -> Any:
    """A good value: what may be left out is."""
    if get_origin(hint) is Annotated:
        [format_] = [one for one in hint.__metadata__ if isinstance(one, TextFormat)]
        return next(text for text in ("a", "pm_1") if format_.matches(text))
    if isinstance(hint, type) and issubclass(hint, Enum):
        return next(iter(hint))
    if is_dataclass(hint) and isinstance(hint, type):
        hints = get_type_hints(hint, include_extras=True)
        needed = (
            field.name
            for field in fields(hint)
            if field.default is MISSING and field.default_factory is MISSING
        )
        return hint(**{name: sample(hints[name]) for name in needed})
    if get_origin(hint) is tuple:
        return tuple(sample(one) for one in get_args(hint) if one is not ...)
    return {int: 1, bool: False}[hint]


def with_text(message: Any, hint: Any, at: Path, text: str) -> Any:
    """The message with this text there."""
    if not at:
        return text
    step, left = at[0], at[1:]
    if isinstance(step, str):
        inside = get_type_hints(hint, include_extras=True)[step]
        value = with_text(getattr(message, step), inside, left, text)
        return replace(message, **{step: value})
    inside = get_args(hint)[step]
    whole = sample(hint)
    return tuple(
        with_text(one, inside, left, text) if place == step else one
        for place, one in enumerate(whole)
    )


def broken(hint: Any) -> Iterator[tuple[str, Any]]:
    """Messages of this type, each with one text that is none, and which."""
    for text in texts_of(hint):
        for kind, hostile in HOSTILE.items():
            where = ".".join(map(str, text.at))
            yield f"{where}: {kind}", with_text(sample(hint), hint, text.at, hostile)


def of_kind(of: type, kind: str) -> list[tuple[str, str, Any]]:
    """The handler, what is broken, and the message, of all broken messages of this kind."""
    return [
        (name, what, message)
        for each, kind_, name, hint in EVERY
        if each is of and kind_ == kind
        for what, message in broken(hint)
    ]


@pytest.fixture
def terms() -> ShopTerms:
    return ShopTerms(approval_above={"EUR": TOTAL.amount - 1}, delivery_deadline=timedelta(days=30))


@pytest.fixture
def refund_terms() -> ShopRefundTerms:
    return ShopRefundTerms(approval_above={"EUR": 10_00})


def test_every_text_of_every_message_has_a_format() -> None:
    without = [
        (of.__name__, name, text.at)
        for of, _, name, hint in EVERY
        for text in texts_of(hint)
        if text.format is None
    ]
    assert without == []
    assert {kind for _, kind, _, _ in EVERY} == {"run", "signal", "update"}
    assert len({name for _, kind, name, _ in EVERY if kind == "update"}) == 9


@pytest.mark.parametrize("hint", dict.fromkeys(hint for *_, hint in EVERY), ids=str)
def test_a_message_is_checked_to_its_last_text(hint: Any) -> None:
    check_texts(sample(hint))
    for what, message in broken(hint):
        assert not is_well_sent(message), what


def test_money_is_of_three_letters() -> None:
    for text in HOSTILE.values():
        with pytest.raises(ValueError, match="a currency is three capital letters"):
            Money(1, text)


def sendable(message: Any) -> bool:
    """Whether it can be sent at all: JSON in UTF-8 holds no half of a character."""
    return "\\ud800" not in repr(message)


async def awaiting_approval(shop: Shop) -> Any:
    handle = await shop.order(waits=True)
    await reached(shop, handle, Status.AWAITING_APPROVAL)
    return handle


async def all_refused(handle: Any, updates: list[tuple[str, str, Any]]) -> int:
    """How many were tried, each refused for what it holds."""
    asked = [(name, what, message) for name, what, message in updates if sendable(message)]
    limit = asyncio.Semaphore(8)  # a run has at most ten at once

    async def ask(name: str, what: str, message: Any) -> None:
        async with limit:
            refusal = await refused(handle.execute_update(name, message))
        assert refusal.type == MALFORMED, (name, what)
        assert len(refusal.message) < 1_000
        assert refusal.message.isprintable()

    await asyncio.gather(*(ask(*one) for one in asked))
    return len(asked)


async def test_no_broken_update_reaches_an_order(shop: Shop) -> None:
    handle = await awaiting_approval(shop)
    assert await all_refused(handle, of_kind(OrderWorkflow, "update")) > 150
    await handle.execute_update(OrderWorkflow.approve, Approve("ops-7"))
    await reached(shop, handle, Status.FULFILLED)
    await tell(handle, parcel_of(shop, handle), ParcelStatus.SHIPPED, ParcelStatus.DELIVERED)
    assert (await handle.result()).status is Status.COMPLETED


async def test_no_broken_update_reaches_a_refund(shop: Shop) -> None:
    order_id = await completed(shop)
    handle = await begin(shop, RefundRequest(order_id, new_id()), waits=True)
    await refunds.reached(shop, handle, RefundState.AWAITING_APPROVAL)
    assert await all_refused(handle, of_kind(RefundWorkflow, "update")) > 100
    await handle.execute_update(RefundWorkflow.approve, Approve("ops-7"))
    assert (await refunds.ended(shop, handle, order_id)).state is RefundState.SUCCEEDED


async def completed(shop: Shop) -> str:
    handle = await awaiting_approval(shop)
    await handle.execute_update(OrderWorkflow.approve, Approve("ops-7"))
    await reached(shop, handle, Status.FULFILLED)
    await tell(handle, parcel_of(shop, handle), ParcelStatus.SHIPPED, ParcelStatus.DELIVERED)
    return str((await handle.result()).order_id)


class TestParcels:
    @pytest.fixture
    def terms(self) -> ShopTerms:
        return ShopTerms(delivery_deadline=timedelta(days=30))

    async def test_broken_news_of_a_parcel_is_dropped(self, shop: Shop) -> None:
        handle = await fulfilled(shop, "a")
        signals = [one for one in of_kind(OrderWorkflow, "signal") if one[0] == "parcel_updated"]
        told = 0
        for _, what, news in signals:
            if sendable(news):
                await handle.signal(
                    OrderWorkflow.parcel_updated, replace(news, status=ParcelStatus.DELIVERED)
                )
                told += 1
            assert news.parcel_id == "a" or "parcel_id" in what
        assert told >= 16
        # Were one of them taken, the order would have ended.
        assert (await handle.query(OrderWorkflow.status)).status is Status.FULFILLED
        await tell(handle, "a", ParcelStatus.SHIPPED, ParcelStatus.DELIVERED)
        outcome = await handle.result()
        assert outcome.status is Status.COMPLETED
        [parcel] = (await shop.book.view(outcome.order_id)).parcels
        assert (parcel.parcel_id, parcel.tracking) == ("a", "T-a")

    async def test_news_of_ever_more_parcels_does_not_grow_an_order(self, shop: Shop) -> None:
        handle = await fulfilled(shop, "par_a")
        others = [ParcelUpdate(f"par_{n}", ParcelStatus.SHIPPED) for n in range(MOST_PARCELS + 20)]
        await asyncio.gather(
            *(handle.signal(OrderWorkflow.parcel_updated, other) for other in others)
        )
        await tell(handle, "par_a", ParcelStatus.SHIPPED, ParcelStatus.DELIVERED)
        outcome = await handle.result()
        assert outcome.status is Status.COMPLETED
        assert outcome.parcel_ids == ("par_a",)


async def failure_of(handle: Any) -> ApplicationError:
    with pytest.raises(WorkflowFailureError) as failure:
        await handle.result()
    assert isinstance(failure.value.cause, ApplicationError)
    return failure.value.cause


async def test_no_run_begins_with_a_broken_text(shop: Shop) -> None:
    order_id = await completed(shop)
    given_back = shop.cards.given_back(order_id)
    begun = 0
    for of in (OrderWorkflow, RefundWorkflow, PaymentRiskWorkflow, ExaminationWorkflow):
        for _, what, message in of_kind(of, "run"):
            if not sendable(message):
                continue
            if of is RefundWorkflow:
                # Under its own id, where it can have one.
                is_own = "order_id" not in what and "refund_id" not in what
                message = replace(message, order_id=order_id) if is_own else message  # noqa: PLW2901
                run_id = refund_workflow_id(order_id, "a") if is_own else f"mine-{new_id()}"
            else:
                run_id = f"mine-{new_id()}"
            run: Any = of.run
            handle = await shop.client.start_workflow(
                run, message, id=run_id, task_queue=TASK_QUEUE
            )
            failed = await failure_of(handle)
            assert failed.type in {MALFORMED, WRONG_WORKFLOW_ID}, what
            assert len(failed.message) < 1_000
            begun += 1
    assert begun >= 60
    assert shop.cards.given_back(order_id) == given_back
    assert await shop.refunds.refunds_of(order_id) == ()


async def test_an_audit_that_goes_on_from_a_made_up_place_does_nothing(shop: Shop) -> None:
    position = AuditPosition(datetime.fromisoformat("2026-03-01T00:00:00Z"), cursor="x" * 100_000)
    for made_up in (
        AuditInput(position=position),
        AuditInput(report=AuditReport(found={"x" * 100_000: 1})),
    ):
        handle = await shop.client.start_workflow(
            ReconcileWorkflow.run, made_up, id=f"reconcile-{new_id()}", task_queue=TASK_QUEUE
        )
        assert (await failure_of(handle)).type == WRONG_WORKFLOW_ID
