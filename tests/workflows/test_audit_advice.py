"""What a finding advises is followed days later: the providers have forgotten their keys by then.

What was done before the run was terminated is not done again: nothing is charged, shipped, mailed
or given back twice. Runs that are put back without being stranded: test_put_back.py.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, replace
from datetime import timedelta
from itertools import groupby

import pytest
from temporalio.client import WorkflowHandle

from durable_orders.domain.activity_messages import Outcome
from durable_orders.domain.audit.advice import advice
from durable_orders.domain.audit.model import DiscrepancyKind
from durable_orders.domain.ids import workflow_id
from durable_orders.domain.lifecycle import Status
from durable_orders.domain.parcels import ParcelStatus
from durable_orders.domain.refunds.refund import RefundRequest, RefundState
from durable_orders.domain.terms import CaptureMethod, ShopTerms
from tests.fakes.cards import REFUND_PENDING
from tests.fakes.script import Scripted
from tests.support.eventually import eventually
from tests.support.keys import refund_key
from tests.support.servers import Servers
from tests.workflows.conftest import Clients, Shop, ended
from tests.workflows.refunds import begin, reached
from tests.workflows.test_audit import FIVE, Audited, opened, reset_to_last_workflow_task, run_of
from tests.workflows.test_delivery import parcel_of, tell
from tests.workflows.test_late_refunds import age, found_of
from tests.workflows.test_replay import DELIVERY
from tests.workflows.test_waiting import reached as order_reached
from workflows.order import OrderWorkflow
from workflows.refund import RefundWorkflow

DAYS = 3
Handle = WorkflowHandle[OrderWorkflow, Outcome]
AT_FULFILLMENT = ShopTerms(capture=CaptureMethod.AT_FULFILLMENT)


@dataclass(frozen=True)
class Stranding:
    """An order whose run is terminated once a neighbour has done this."""

    name: str
    of: Callable[[Shop], Scripted]
    method: str
    ends: Status = Status.COMPLETED
    terms: ShopTerms = ShopTerms()  # noqa: RUF009 - frozen
    refused: bool = False


STRANDINGS = [
    Stranding("charged", lambda shop: shop.cards, "confirm"),
    Stranding("held", lambda shop: shop.cards, "confirm", terms=AT_FULFILLMENT),
    Stranding("accepted", lambda shop: shop.warehouse, "fulfill"),
    Stranding("captured", lambda shop: shop.cards, "capture", terms=AT_FULFILLMENT),
    Stranding("given back", lambda shop: shop.cards, "refund", Status.REFUNDED, refused=True),
]


@pytest.fixture(scope="module")
async def clients(servers: Servers) -> Clients:
    return await Clients.of(servers.temporal("audits"))


@pytest.fixture
def terms() -> ShopTerms:
    return ShopTerms()


@pytest.fixture
async def audited(clients: Clients, terms: ShopTerms) -> AsyncIterator[Audited]:
    async with opened(clients, terms) as audited:
        yield audited


def days_pass(audited: Audited, order_id: str) -> None:
    """Days later: keys are forgotten, and what was announced then is old."""
    age(audited, order_id, DAYS)
    audited.shop.mailer.forget_keys()
    audited.shop.cards.forget_keys()
    payment = audited.shop.database.row(order_id).payment
    if payment is not None:
        payment.tries = {
            number: replace(one, announced_at=one.announced_at - timedelta(days=DAYS))
            for number, one in payment.tries.items()
        }


async def follow_advice(audited: Audited, order_id: str) -> Handle:
    """Reset the run, as the finding says."""

    async def found_stranded() -> bool:
        await audited.audit()
        return bool(found_of(audited, order_id))

    # The step that was under way may still move the order: the audit leaves it alone until then.
    await eventually(found_stranded)
    [kind] = found_of(audited, order_id)
    found = audited.finding(DiscrepancyKind(kind), order_id)
    assert found.kind in {DiscrepancyKind.STRANDED, DiscrepancyKind.STRANDED_WITH_MONEY}
    [command] = advice(found).temporal_commands
    assert command.startswith(f"workflow reset --workflow-id order-{order_id} --type LastWorkflow")
    id_ = workflow_id(order_id)
    client = audited.shop.client
    await reset_to_last_workflow_task(
        client, client.get_workflow_handle_for(OrderWorkflow.run, id_)
    )
    return client.get_workflow_handle_for(OrderWorkflow.run, id_)


def mails(shop: Shop) -> dict[str, int]:
    """How often each mail was sent, by its subject."""
    subjects = sorted(sent.mail.subject for sent in shop.mailer.sent)
    return {subject: len(list(each)) for subject, each in groupby(subjects)}


async def happened(shop: Shop, order_id: str, event: str) -> None:
    """Wait until the order's history says so."""

    async def told() -> bool:
        return any(line.event == event for line in shop.database.row(order_id).history)

    await eventually(told)


async def nothing_twice(audited: Audited, order_id: str) -> None:
    shop = audited.shop
    assert len(shop.cards.charges_of(order_id)) == 1
    assert len(shop.cards.sent) == 1  # confirmed once
    assert set(mails(shop).values()) == {1}
    assert len(shop.cards.refunds) <= 1
    assert (await audited.audit()).found == {}


class TestAnOrderThatIsStranded:
    @pytest.fixture(params=STRANDINGS, ids=lambda stranding: stranding.name)
    def stranding(self, request: pytest.FixtureRequest) -> Stranding:
        kind: Stranding = request.param
        return kind

    @pytest.fixture
    def terms(self, stranding: Stranding) -> ShopTerms:
        return stranding.terms

    async def test_goes_on_days_later_and_nothing_is_done_twice(
        self, audited: Audited, stranding: Stranding
    ) -> None:
        shop = audited.shop
        order_id = await shop.place()
        if stranding.refused:
            shop.warehouse.refuse(order_id, "the roof leaks")
        done = stranding.of(shop).hold(stranding.method, where="after")
        run = await shop.start(order_id, waits=True)
        await done.entered()
        await run.terminate("by a hand in the Web UI")
        done.release()
        days_pass(audited, order_id)

        outcome = await ended(await follow_advice(audited, order_id))

        assert outcome.status is stranding.ends
        await nothing_twice(audited, order_id)
        await shop.check(outcome)


@pytest.mark.parametrize("shipped", [(), (ParcelStatus.SHIPPED,)], ids=["confirmed", "shipped"])
async def test_what_the_customer_was_told_by_mail_is_told_once(
    clients: Clients, shipped: tuple[ParcelStatus, ...]
) -> None:
    """The run is terminated while it waits for the parcel's delivery."""
    async with opened(clients, DELIVERY) as audited:
        shop = audited.shop
        run = await shop.order(waits=True)
        order_id = run.id.removeprefix("order-")
        await order_reached(shop, run, Status.FULFILLED)
        parcel_id = parcel_of(shop, run)
        await happened(shop, order_id, "confirmation_mailed")
        await tell(run, parcel_id, *shipped)
        if shipped:
            await happened(shop, order_id, f"shipped-{parcel_id}_mailed")
        await run.terminate("by a hand in the Web UI")
        days_pass(audited, order_id)

        again = await follow_advice(audited, order_id)
        await tell(again, parcel_id, ParcelStatus.SHIPPED)
        await happened(shop, order_id, f"shipped-{parcel_id}_mailed")
        await tell(again, parcel_id, ParcelStatus.DELIVERED)

        assert (await ended(again)).status is Status.COMPLETED
        assert len(mails(shop)) == 2  # the confirmation, and that the parcel has left
        await nothing_twice(audited, order_id)


async def test_a_refund_that_goes_on_days_later_is_made_and_told_of_once(audited: Audited) -> None:
    """The provider made it, nobody heard, and the run was terminated: the audit starts it again."""
    shop = audited.shop
    order_id = (await (await shop.order()).result()).order_id
    made = shop.cards.hold("refund", where="after")
    run = await begin(shop, RefundRequest(order_id, "r1", amount=FIVE), waits=True)
    await made.entered()
    await run.terminate("by a hand in the Web UI")
    [listed] = await shop.refunds.unfinished(shop.cards.clock() + timedelta(days=1), 10)
    days_pass(audited, order_id)

    assert (await audited.audit()).found["refund_stranded"] == 1

    made.release()
    outcome = await run_of(shop, listed).result()
    assert getattr(outcome, "state", None) is RefundState.SUCCEEDED
    assert shop.cards.given_back(order_id) == FIVE.amount
    assert set(mails(shop).values()) == {1}
    assert len(mails(shop)) == 2


@pytest.mark.parametrize("card", ["pm_card_visa", REFUND_PENDING])
async def test_a_refund_whose_run_is_reset_after_its_end_mails_nothing_again(
    audited: Audited, card: str
) -> None:
    shop = audited.shop
    order_id = (await (await shop.order(card)).result()).order_id
    run = await begin(shop, RefundRequest(order_id, "r1", amount=FIVE), waits=True)
    if card == REFUND_PENDING:
        await reached(shop, run, RefundState.PENDING)
        shop.cards.settle_refund(refund_key(order_id, "r1"))
        await run.signal(RefundWorkflow.refund_updated)
    await run.result()
    before = mails(shop)
    assert len(before) == 2
    days_pass(audited, order_id)

    await reset_to_last_workflow_task(shop.client, run)
    await shop.client.get_workflow_handle(run.id).result()

    assert mails(shop) == before
    assert shop.cards.given_back(order_id) == FIVE.amount
