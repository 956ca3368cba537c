"""Runs started by code of yesterday go on with code of today.

`histories/` holds what real runs recorded. A change of a workflow that makes one of them fail
would strand every run in flight at the deploy: guard it with ``workflow.patched``, or record the
histories again (`pytest tests/workflows/test_replay.py --record-histories`) while nothing is
deployed yet. See docs/operations.md.
"""

from __future__ import annotations

import contextlib
import json
import re
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from temporalio.client import WorkflowFailureError, WorkflowHandle, WorkflowHistory
from temporalio.worker import UnsandboxedWorkflowRunner, WorkflowRunner

from durable_orders.clients.audits import AuditClient
from durable_orders.domain.disputes.dispute import ConcernKind
from durable_orders.domain.ids import examination_workflow_id
from durable_orders.domain.lifecycle import Status, Stop, StopReason
from durable_orders.domain.money import Money
from durable_orders.domain.parcels import ParcelStatus
from durable_orders.domain.ports import BusyError, LockedOutError, NoAnswerError, RefusedError
from durable_orders.domain.refunds.messages import ShopRefundTerms
from durable_orders.domain.refunds.refund import RefundRequest, RefundState
from durable_orders.domain.terms import CaptureMethod, ShopTerms
from durable_orders.domain.workflow_messages import (
    Approve,
    RefundParcel,
    ResendParcel,
    Resolve,
    RetryNow,
)
from tests.fakes.cards import REFUND_PENDING
from tests.support.eventually import eventually
from tests.support.keys import refund_key
from tests.support.servers import Servers
from tests.workflows import refunds
from tests.workflows import test_card_tries as tries
from tests.workflows import test_delivery as delivery
from tests.workflows import test_long_histories as longest
from tests.workflows import test_lost_answers as unheard
from tests.workflows import test_off_session as away
from tests.workflows import test_resends as resends
from tests.workflows import test_uncertain_money as uncertain
from tests.workflows import test_undo_refund as undone
from tests.workflows.conftest import TOTAL, Clients, Shop, replayed
from tests.workflows.test_audit import AT_ONCE, Audited, opened
from tests.workflows.test_payment_risk import asks, payment_of, tell
from tests.workflows.test_waiting import DECLINED, THREE_D_SECURE, reached, wanted
from workflows.order import OrderWorkflow
from workflows.refund import RefundWorkflow
from workflows.sandbox import RUNNER

Handle = WorkflowHandle[Any, Any]

HISTORIES = Path(__file__).parent / "histories"


# -- scenarios of an order -------------------------------------------------------------------------


async def completed(shop: Shop) -> Handle:
    return await shop.order()


async def declined(shop: Shop) -> Handle:
    return await shop.order(DECLINED)


async def tried_again(shop: Shop) -> Handle:
    """Another card is declined too, and a third one pays."""
    handle = await shop.order(DECLINED, waits=True)
    await tries.new_card(handle, DECLINED)
    await tries.new_card(handle, tries.MASTERCARD)
    return handle


async def paid_in_browser(shop: Shop) -> Handle:
    """The customer fails 3-D Secure, and pays with another card in the browser."""
    handle = await shop.order(THREE_D_SECURE, waits=True)
    await reached(shop, handle, Status.AWAITING_PAYMENT)
    payment_id = tries.charge_of(shop, handle).payment_id
    shop.cards.authenticate(payment_id, succeeds=False)
    await handle.signal(OrderWorkflow.payment_updated)
    await wanted(handle)
    shop.cards.confirm_in_browser(payment_id)
    await handle.signal(OrderWorkflow.payment_updated)
    return handle


async def tried_by_itself(shop: Shop) -> Handle:
    """The customer is away, and the bank says "not now" three times."""
    return await shop.order_from_away(tries.NOT_NOW)


async def asked(shop: Shop) -> Handle:
    """The customer is away when their bank wants to hear from them; they pay in the browser."""
    return await away.pays(shop)


async def asked_in_vain(shop: Shop) -> Handle:
    return await shop.order_from_away(away.WANTS_CUSTOMER)


async def returned(shop: Shop) -> Handle:
    """Its money is given back in the dashboard while the warehouse is silent."""
    shop.warehouse.fail_until_healed("fulfill", NoAnswerError("nobody answers"))
    handle = await shop.order(waits=True)

    async def taken() -> bool:
        return bool(shop.cards.taken(handle.id.removeprefix("order-")))

    async def told() -> bool:
        return (await handle.query(OrderWorkflow.status)).attention is not None

    await eventually(taken)
    shop.cards.refund_by_hand(tries.charge_of(shop, handle).payment_id)
    await handle.signal(OrderWorkflow.payment_updated)
    await eventually(told)
    await handle.execute_update(OrderWorkflow.operate, Resolve("seen", "ops-7"))
    return handle


async def questioned(shop: Shop) -> Handle:
    """The bank asks about its payment while it is at the warehouse, then the money is in review."""
    handle = await uncertain.in_the_warehouse(shop)
    await uncertain.held(handle, await uncertain.bring(shop, handle, ConcernKind.INQUIRY))
    again = shop.warehouse.hold("fulfill")
    await uncertain.approve(handle)
    await again.entered()
    review = await uncertain.bring(shop, handle, ConcernKind.REVIEW)
    await uncertain.held(handle, review)
    await uncertain.solve(shop, handle, ConcernKind.REVIEW, review)
    return handle


async def captured_in_part(shop: Shop) -> Handle:
    """A part of its hold is captured by hand, when the warehouse has accepted it already."""
    gate = shop.cards.hold("capture")
    handle = await shop.order(waits=True)
    await gate.entered()
    shop.cards.capture_by_hand(tries.charge_of(shop, handle).payment_id, uncertain.A_PART)
    gate.release()
    await uncertain.held(handle, "is captured")
    await uncertain.reject(handle)
    return handle


async def cancelled(shop: Shop) -> Handle:
    gate = shop.warehouse.hold("fulfill")
    handle = await shop.order()
    await gate.entered()
    await handle.signal(OrderWorkflow.cancel_order)
    return handle


async def cancelled_unstarted(shop: Shop) -> Handle:
    """Nobody had started it: its run only tells the customer."""
    order_id = await shop.place()
    stop = Stop(StopReason.CANCELLED, "cancelled by customer")
    assert await shop.book.cancel_unstarted(order_id, stop, datetime.now(UTC))
    return await shop.start(order_id)


async def refused(shop: Shop) -> Handle:
    order_id = await shop.place()
    shop.warehouse.refuse(order_id, "the roof leaks")
    return await shop.start(order_id)


async def unanswered(shop: Shop) -> Handle:
    shop.cards.fail_until_healed("create", NoAnswerError("nobody answers"))
    return await shop.order()


async def busy(shop: Shop) -> Handle:
    """The card provider has too much to do, then is silent once, then refuses our key."""
    shop.cards.fail_next("create", BusyError("too many requests"), times=4)
    shop.cards.fail_next("create", NoAnswerError("nobody answers"))
    shop.cards.fail_next("create", LockedOutError("the key is wrong"), times=2)
    shop.cards.fail_next("create", BusyError("too many requests"))
    return await shop.order()


async def outage(shop: Shop) -> Handle:
    shop.inventory.fail_next("reserve", NoAnswerError("nobody answers"), times=6)
    shop.warehouse.fail_next("fulfill", NoAnswerError("nobody answers"), times=8)
    shop.mailer.fail_next("send", NoAnswerError("nobody answers"), times=8)
    return await shop.order()


async def undecided(shop: Shop) -> Handle:
    """Nobody lets it pass, in spite of a reminder."""
    return await shop.order()


async def lapsed(shop: Shop) -> Handle:
    """The bank holds the money no more when it is to be taken."""
    gate = shop.cards.hold("capture")
    handle = await shop.order(waits=True)
    await gate.entered()
    [charge] = shop.cards.charges_of(handle.id.removeprefix("order-"))
    shop.cards.lapse(charge.payment_id)
    gate.release()
    return handle


async def left(shop: Shop) -> Handle:
    """Cancelled when its parcel had left: the money that was only held has to be taken."""
    gate = shop.cards.hold("capture")
    handle = await shop.order(waits=True)
    await gate.entered()
    shop.warehouse.dispatch(handle.id.removeprefix("order-"))
    await handle.signal(OrderWorkflow.cancel_order)
    return handle


async def left_unheard(shop: Shop) -> Handle:
    """Accepted short, and the answer lost; cancelled when its parcel had left."""
    handle = await unheard.left_unheard(shop, await unheard.place_short(shop))
    await handle.signal(OrderWorkflow.cancel_order)
    return handle


async def operated(shop: Shop) -> Handle:
    """The bank refuses to give the money back until an operator has it asked again."""
    shop.cards.fail_until_healed("refund", RefusedError("the balance is too low"))
    order_id = await shop.place()
    shop.warehouse.refuse(order_id, "the roof leaks")
    handle = await shop.start(order_id, waits=True)

    async def flagged() -> bool:
        return (await handle.query(OrderWorkflow.status)).attention is not None

    await eventually(flagged)
    shop.cards.heal("refund")
    await handle.execute_update(OrderWorkflow.operate, RetryNow("ops-7"))
    return handle


async def operated_capture(shop: Shop) -> Handle:
    """What is held is not captured until an operator has it asked again."""
    soon, never = timedelta(milliseconds=10), timedelta(hours=3)
    shop.cards.fail_next("capture", NoAnswerError("nobody answers", retry_after=soon), times=6)
    shop.cards.fail_next("capture", NoAnswerError("nobody answers", retry_after=never))
    handle = await shop.order(waits=True)
    await eventually(lambda: _was_asked(shop, "capture", times=7))
    await handle.execute_update(OrderWorkflow.operate, RetryNow("ops-7"))
    return handle


async def _was_asked(shop: Shop, method: str, *, times: int) -> bool:
    return shop.cards.calls.count(method) == times


async def short(shop: Shop) -> Handle:
    """The warehouse lacks one of the two mugs: a refund of its own begins."""
    order_id = await shop.place()
    shop.warehouse.run_short(order_id, (("MUG", 1),))
    return await shop.start(order_id)


async def resent(shop: Shop) -> Handle:
    """Its parcel is lost and sent again."""
    handle = await shop.order(waits=True)
    await reached(shop, handle, Status.FULFILLED)
    lost = delivery.parcel_of(shop, handle)
    await delivery.tell(handle, lost, ParcelStatus.SHIPPED, ParcelStatus.LOST)
    await eventually(lambda: delivery.flagged(handle))
    again = await handle.execute_update(OrderWorkflow.resend_parcel, ResendParcel(lost))
    await delivery.tell(handle, again.parcel_id, ParcelStatus.SHIPPED, ParcelStatus.DELIVERED)
    return handle


async def resent_unheard(shop: Shop) -> Handle:
    """Its parcel is lost, and the warehouse sends it again without a word for a while."""
    handle, lost = await resends.lost(shop)
    resends.go_silent(shop, resends=True)
    await resends.unanswered(shop, handle, lost)
    await resends.follows_the_new_one(shop, handle, lost)
    return handle


async def parcel_refunded(shop: Shop) -> Handle:
    """Its parcel is lost, and what it held is refunded."""
    handle = await shop.order(waits=True)
    await reached(shop, handle, Status.FULFILLED)
    lost = delivery.parcel_of(shop, handle)
    await delivery.tell(handle, lost, ParcelStatus.SHIPPED, ParcelStatus.LOST)
    await eventually(lambda: delivery.flagged(handle))
    await handle.execute_update(OrderWorkflow.refund_parcel, RefundParcel(lost))
    return handle


# -- scenarios of a refund -------------------------------------------------------------------------


async def refund(shop: Shop) -> Handle:
    request = RefundRequest(await refunds.paid(shop), "r1", lines=refunds.ONE_MUG, restock=True)
    return await refunds.begin(shop, request)


async def refund_approved(shop: Shop) -> Handle:
    """A person lets it pass, and the bank takes its time."""
    order_id = await refunds.paid(shop, REFUND_PENDING)
    handle = await refunds.begin(shop, RefundRequest(order_id, "r1"), waits=True)
    await refunds.reached(shop, handle, RefundState.AWAITING_APPROVAL)
    await handle.execute_update(RefundWorkflow.approve, Approve("ops-7", "seen it"))
    await refunds.reached(shop, handle, RefundState.PENDING)
    shop.cards.settle_refund(refund_key(order_id, "r1", 1))
    await handle.signal(RefundWorkflow.refund_updated)
    return handle


async def refund_undecided(shop: Shop) -> Handle:
    return await refunds.begin(shop, RefundRequest(await refunds.paid(shop), "r1"))


async def refund_refused(shop: Shop) -> Handle:
    request = RefundRequest(await refunds.paid(shop), "r1", amount=Money(99_00, "EUR"))
    return await refunds.begin(shop, request)


async def refund_owed_undecided(shop: Shop) -> Handle:
    """A refund that the order began itself, long after its time for approval."""
    request = RefundRequest(await refunds.paid(shop), "short", refunds.ONE_MUG, owed=True)
    handle = await refunds.begin(shop, request)
    await refunds.needs_a_person(handle)
    await handle.execute_update(RefundWorkflow.approve, Approve("ops-7"))
    return handle


async def refund_owed_refused(shop: Shop) -> Handle:
    """The same of pieces that another refund took back for less, settled by hand."""
    order_id = await refunds.paid(shop)
    less = RefundRequest(order_id, "r1", (("MUG", 2),), Money(5_00, "EUR"))
    await (await refunds.begin(shop, less)).result()
    request = RefundRequest(order_id, "short", refunds.ONE_MUG, owed=True)
    handle = await refunds.begin(shop, request, waits=True)
    await refunds.needs_a_person(handle)
    await handle.execute_update(RefundWorkflow.operate, RetryNow("ops-7"))
    await refunds.needs_a_person(handle)
    await handle.execute_update(RefundWorkflow.operate, Resolve("bank transfer", "ops-7"))
    return handle


async def undone_pending(shop: Shop) -> Handle:
    """An undone order ends while the bank has not accepted its refund."""
    order_id = await shop.place(REFUND_PENDING)
    shop.warehouse.refuse(order_id, "no shelf has it")
    return await shop.start(order_id, waits=True)


async def _undo_run(shop: Shop, order: Handle) -> tuple[Handle, str]:
    """The run that follows the order's refund, and the order's id."""
    order_id = order.id.removeprefix("order-")
    run = undone.run_of(shop, order_id)
    run_id = (await run.describe()).run_id
    return shop.client.get_workflow_handle_for(
        RefundWorkflow.run, run.id, first_execution_run_id=run_id
    ), order_id


async def undo_refund(shop: Shop) -> Handle:
    """The refund of an undone order is followed until it arrives."""
    order = await undone_pending(shop)
    await order.result()
    run, order_id = await _undo_run(shop, order)
    await refunds.reached(shop, run, RefundState.PENDING)
    shop.cards.settle_refund(undone.key_of(shop, order_id))
    await run.signal(RefundWorkflow.refund_updated)
    return run


async def undo_refund_failed(shop: Shop) -> Handle:
    """It fails, and a person has it made again."""
    order = await undone_pending(shop)
    await order.result()
    run, order_id = await _undo_run(shop, order)
    await refunds.reached(shop, run, RefundState.PENDING)
    shop.cards.fail_refund(undone.key_of(shop, order_id))
    await run.signal(RefundWorkflow.refund_updated)
    await refunds.needs_a_person(run)
    await run.execute_update(RefundWorkflow.operate, RetryNow())
    await refunds.reached(shop, run, RefundState.PENDING)
    shop.cards.settle_refund(undone.key_of(shop, order_id, 2))
    await run.signal(RefundWorkflow.refund_updated)
    return run


# -- each of them, recorded and replayed -----------------------------------------------------------


@dataclass(frozen=True)
class Scenario:
    """What happens to an order or a refund, and the rules of the shop where it happens."""

    play: Callable[[Shop], Awaitable[Handle]]
    terms: ShopTerms = ShopTerms()  # noqa: RUF009 - frozen
    refund_terms: ShopRefundTerms = ShopRefundTerms()  # noqa: RUF009 - frozen

    @property
    def name(self) -> str:
        return self.play.__name__


APPROVAL = ShopTerms(approval_above={"EUR": 0})
PAID_ON_A_PAGE = ShopTerms(payment_url="https://shop.example/{order_id}/pay")
NEW_CARDS = ShopTerms(new_card_window=timedelta(hours=2))
HOLD = ShopTerms(capture=CaptureMethod.AT_FULFILLMENT)
DELIVERY = ShopTerms(delivery_deadline=timedelta(days=30))
REFUND_APPROVAL = ShopRefundTerms(approval_above={"EUR": 0})

SCENARIOS = [
    *(
        Scenario(play)
        for play in (completed, declined, cancelled, refused, unanswered, busy, outage, short)
    ),
    Scenario(operated),
    Scenario(cancelled_unstarted),
    Scenario(left_unheard),
    *(Scenario(play) for play in (returned, questioned)),
    *(Scenario(play, NEW_CARDS) for play in (tried_again, paid_in_browser)),
    *(Scenario(play, PAID_ON_A_PAGE) for play in (tried_by_itself, asked, asked_in_vain)),
    Scenario(undecided, APPROVAL),
    *(Scenario(play, HOLD) for play in (lapsed, left, operated_capture, captured_in_part)),
    *(Scenario(play, DELIVERY) for play in (resent, resent_unheard, parcel_refunded)),
    Scenario(longest.longest_ordinary_life, longest.LONGEST),
    Scenario(longest.life_with_everything, longest.WITH_EVERYTHING),
    *(Scenario(play) for play in (refund, refund_refused, refund_owed_refused)),
    *(Scenario(play) for play in (undone_pending, undo_refund, undo_refund_failed)),
    *(
        Scenario(play, refund_terms=REFUND_APPROVAL)
        for play in (refund_approved, refund_undecided, refund_owed_undecided)
    ),
]
AUDITS = ("audit", "audit_continued")
EXAMINATION = "examination"
RISKS = ("payment_risk",)


@pytest.fixture(params=SCENARIOS, ids=lambda scenario: scenario.name)
def scenario(request: pytest.FixtureRequest) -> Scenario:
    kind: Scenario = request.param
    return kind


@pytest.fixture
def terms(scenario: Scenario) -> ShopTerms:
    return scenario.terms


@pytest.fixture
def refund_terms(scenario: Scenario) -> ShopRefundTerms:
    return scenario.refund_terms


Keep = Callable[[str, WorkflowHistory], None]


@pytest.fixture
def keep(request: pytest.FixtureRequest) -> Keep:
    """Writes a history down under a name, if this run of the tests is to record."""

    def write(name: str, history: WorkflowHistory) -> None:
        if request.config.getoption("--record-histories"):
            HISTORIES.mkdir(exist_ok=True)
            # Stack traces name files; where this checkout lies is nobody's business.
            text = history.to_json().replace(f"{Path.cwd()}/", "").replace(f"{sys.prefix}/", "")
            (HISTORIES / f"{name}.json").write_text(text + "\n")

    return write


async def test_a_run_can_be_replayed(shop: Shop, scenario: Scenario, keep: Keep) -> None:
    handle = await scenario.play(shop)
    with contextlib.suppress(WorkflowFailureError):
        await handle.result()
    for number, history in enumerate(await longest.histories(shop, handle), 1):
        await replayed(history)
        keep(scenario.name if number == 1 else f"{scenario.name}_{number}", history)


@pytest.fixture
async def audited(servers: Servers) -> AsyncIterator[Audited]:
    """In a namespace of its own: an audit looks at every run there is."""
    async with opened(await Clients.of(servers.temporal("replayed"))) as audited:
        yield audited


async def test_an_audit_can_be_replayed(audited: Audited, keep: Keep) -> None:
    await audited.held_for_nothing()  # to be released
    await audited.charged("ghost")  # to be flagged
    whole = await audited.begin(AT_ONCE)
    await whole.result()
    paged = await audited.begin(AT_ONCE, pages_per_run=1)
    await paged.result()
    client = audited.shop.client
    first = client.get_workflow_handle(paged.id, run_id=paged.first_execution_run_id)
    for name, run in zip(AUDITS, (whole, first), strict=True):
        history = await run.fetch_history()
        await replayed(history)
        keep(name, history)


async def test_an_examination_can_be_replayed(audited: Audited, keep: Keep) -> None:
    """A refund in the dashboard is recorded, and flagged by the second look."""
    outcome = await (await audited.shop.order()).result()
    [charge] = audited.shop.cards.charges_of(outcome.order_id)
    audited.shop.cards.refund_by_hand(charge.payment_id)
    await AuditClient(audited.shop.client).examine(outcome.order_id)
    run = audited.shop.client.get_workflow_handle(examination_workflow_id(outcome.order_id))
    await run.result()
    history = await run.fetch_history()
    await replayed(history)
    keep(EXAMINATION, history)


async def test_what_is_disputed_can_be_replayed(audited: Audited, keep: Keep) -> None:
    """A warning, and an inquiry that becomes a chargeback and is won; the approver is reminded."""
    shop = audited.shop
    order_id = await refunds.paid(shop)
    payment_id = payment_of(shop, order_id)
    shop.risks.warn(payment_id)
    inquiry = shop.risks.dispute(payment_id, TOTAL, inquiry=True, due_in=timedelta(days=1))
    handle = await tell(shop, order_id)
    await asks(handle)
    shop.risks.escalate(inquiry.dispute_id)
    shop.risks.settle_warnings(payment_id)
    await tell(shop, order_id)

    async def escalated() -> bool:
        return (await asks(handle)).startswith("chargeback")

    await eventually(escalated)
    shop.risks.win(inquiry.dispute_id)
    await tell(shop, order_id)
    await handle.result()
    history = await handle.fetch_history()
    await replayed(history)
    keep("payment_risk", history)


@pytest.fixture(params=sorted(HISTORIES.glob("*.json")), ids=lambda path: path.stem)
def recorded(request: pytest.FixtureRequest) -> WorkflowHistory:
    """A history that was recorded before."""
    path: Path = request.param
    return read_history(path.stem)


def read_history(name: str) -> WorkflowHistory:
    """A history that was recorded before, of the workflow id that it had."""
    text = (HISTORIES / f"{name}.json").read_text()
    begun = json.loads(text)["events"][0]["workflowExecutionStartedEventAttributes"]
    return WorkflowHistory.from_json(begun["workflowId"], text)


@pytest.mark.parametrize(
    "runner", [RUNNER, UnsandboxedWorkflowRunner()], ids=["sandboxed", "as in production"]
)
async def test_a_run_recorded_before_can_be_replayed(
    recorded: WorkflowHistory, runner: WorkflowRunner
) -> None:
    await replayed(recorded, runner)


def test_every_scenario_is_recorded() -> None:
    assert {*(scenario.name for scenario in SCENARIOS), *AUDITS, EXAMINATION, *RISKS} <= {
        p.stem for p in HISTORIES.glob("*.json")
    }


def test_a_recorded_history_names_no_directory_of_the_machine_it_was_recorded_on() -> None:
    absolute = re.compile(r"(?<![\w/.:])/(?:home|root|work|usr|opt|tmp|Users|var)/")
    for path in HISTORIES.glob("*.json"):
        assert absolute.search(path.read_text()) is None, path.name
