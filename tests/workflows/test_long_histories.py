"""Long lives in short histories: what a whole life leaves, and how a run continues as new."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any, NoReturn

import pytest
from temporalio import workflow
from temporalio.api.enums.v1 import EventType, WorkflowTaskFailedCause
from temporalio.api.sdk.v1 import WorkflowMetadata
from temporalio.client import WorkflowHistory

from durable_orders.contracts.error_types import TOO_LATE
from durable_orders.contracts.search_attributes import ORDER_STATUS
from durable_orders.domain.activity_messages import CancelRequest
from durable_orders.domain.lifecycle import Status
from durable_orders.domain.parcels import ParcelStatus
from durable_orders.domain.ports import NoAnswerError
from durable_orders.domain.terms import CaptureMethod, ShopTerms
from durable_orders.domain.workflow_messages import Approve, NewCard, ResendParcel
from tests.support.eventually import eventually
from tests.workflows.conftest import TOTAL, Shop, events, replayed
from tests.workflows.test_delivery import Handle, flagged, parcel_of, tell
from tests.workflows.test_waiting import DECLINED, THREE_D_SECURE, reached, refused
from workflows import retry_policies
from workflows.order import OrderWorkflow

#: How Temporal refuses the end of a run that has news to hear.
REFUSED = WorkflowTaskFailedCause.WORKFLOW_TASK_FAILED_CAUSE_UNHANDLED_COMMAND

LONGEST = ShopTerms(
    approval_above={"EUR": 0},
    capture=CaptureMethod.AT_FULFILLMENT,
    delivery_deadline=timedelta(days=30),
)
WITH_EVERYTHING = replace(LONGEST, new_card_window=timedelta(hours=2))


async def approved(shop: Shop, card: str) -> Handle:
    """An order that a person had to let pass, and did."""
    handle = await shop.order(card, waits=True)
    await reached(shop, handle, Status.AWAITING_APPROVAL)
    await handle.execute_update(OrderWorkflow.approve, Approve("ops-7"))
    return handle


async def confirm(shop: Shop, handle: Handle) -> None:
    """The customer confirms the newest charge at his bank (3-D Secure)."""
    await reached(shop, handle, Status.AWAITING_PAYMENT)
    await eventually(lambda: at_rest(handle))
    charge = shop.cards.charges_of(handle.id.removeprefix("order-"))[-1]
    shop.cards.authenticate(charge.payment_id)
    await handle.signal(OrderWorkflow.payment_updated)


async def at_rest(handle: Handle) -> bool:
    """Whether nothing is left to do in the order's newest run. No query: one that meets a local
    activity makes the worker end its workflow task, and begin another one.
    """
    known = (await handle.describe()).raw_description
    return not known.HasField("pending_workflow_task") and not known.pending_activities


async def handed_on(handle: Handle, run_id: str | None) -> None:
    async def by_now() -> bool:
        return (await handle.describe()).run_id != run_id

    await eventually(by_now)


async def mailed(shop: Shop) -> bool:
    return bool(shop.mailer.sent)


async def deliver(shop: Shop, handle: Handle) -> None:
    """One after the other the parcels leave, and one after the other they arrive."""
    await reached(shop, handle, Status.FULFILLED)
    await eventually(lambda: at_rest(handle))
    parcel_ids = shop.warehouse.parcels[handle.id.removeprefix("order-")]
    for status in (ParcelStatus.SHIPPED, ParcelStatus.DELIVERED):
        for parcel_id in parcel_ids:
            await tell(handle, parcel_id, status)
            await noted(shop, handle, f"parcel_{status}", parcel_id)


async def noted(shop: Shop, handle: Handle, event: str, parcel_id: str) -> None:
    async def there() -> bool:
        view = await shop.book.view(handle.id.removeprefix("order-"))
        told = [line.detail for line in view.history if line.event == event]
        return parcel_id in {detail["parcel_id"] for detail in told}

    await eventually(there)


async def longest_ordinary_life(shop: Shop) -> Handle:
    """Approved by a person, confirmed by the customer, held, captured, shipped, delivered."""
    handle = await approved(shop, THREE_D_SECURE)
    await confirm(shop, handle)
    await deliver(shop, handle)
    return handle


async def life_with_everything(shop: Shop) -> Handle:
    """The longest one, with a declined card before the good one, and two parcels."""
    order_id = await shop.place(DECLINED)
    shop.warehouse.pack(order_id, "par_first", "par_second")
    handle = await shop.start(order_id, waits=True)
    await reached(shop, handle, Status.AWAITING_APPROVAL)
    await handle.execute_update(OrderWorkflow.approve, Approve("ops-7"))
    await reached(shop, handle, Status.AWAITING_PAYMENT)
    card = NewCard(THREE_D_SECURE)
    await handle.execute_update(OrderWorkflow.submit_payment_method, card)
    await confirm(shop, handle)
    await handed_on(handle, handle.first_execution_run_id)
    await deliver(shop, handle)
    return handle


async def histories(shop: Shop, handle: Handle) -> list[WorkflowHistory]:
    """Those of all runs of an order, in the order they were run."""
    run_id = handle.first_execution_run_id
    found = []
    while run_id:
        history = await shop.client.get_workflow_handle(handle.id, run_id=run_id).fetch_history()
        found.append(history)
        last = history.events[-1]
        run_id = last.workflow_execution_continued_as_new_event_attributes.new_execution_run_id
    return found


class TestTheLongestOrdinaryLife:
    @pytest.fixture
    def terms(self) -> ShopTerms:
        return LONGEST

    async def test_it_takes_one_run_few_events_and_no_polling(self, shop: Shop) -> None:
        handle = await longest_ordinary_life(shop)
        assert (await handle.result()).status is Status.COMPLETED
        [history] = await histories(shop, handle)
        told = events(history)
        ours = [name for name in told if not name.startswith("WORKFLOW_TASK_")]
        # And eight workflow tasks of three events each: the start, four times news, three answers
        # of neighbours. Fewer when some of these fall together, never more.
        assert len(ours) <= 40, f"{len(ours)} events: {ours}"
        assert len(told) < 67, f"{len(told)} events: {told}"


class TestALifeWithEverything:
    @pytest.fixture
    def terms(self) -> ShopTerms:
        return WITH_EVERYTHING

    async def test_neither_of_its_two_histories_is_longer(self, shop: Shop) -> None:
        handle = await life_with_everything(shop)
        assert (await handle.result()).status is Status.COMPLETED
        told = [events(history) for history in await histories(shop, handle)]
        assert len(told) == 2
        assert max(map(len, told)) < 67, "\n".join(str((len(names), names)) for names in told)


class TestContinuingAsNew:
    """Runs that continue as new whenever they have nothing else to do."""

    @pytest.fixture
    def terms(self) -> ShopTerms:
        return ShopTerms(delivery_deadline=timedelta(days=30))

    @pytest.fixture(autouse=True)
    def soon(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(retry_policies, "LONG_HISTORY", 8)
        monkeypatch.setattr(retry_policies, "CONTINUE_AS_NEW_PAUSE", timedelta(milliseconds=50))

    async def waiting(self, shop: Shop, *parcel_ids: str) -> Handle:
        """An order whose second run waits for parcels."""
        order_id = await shop.place()
        shop.warehouse.pack(order_id, *parcel_ids)
        handle = await shop.start(order_id, waits=True)
        await handed_on(handle, handle.first_execution_run_id)
        await eventually(lambda: at_rest(handle))
        return handle

    async def test_the_next_run_is_shown_as_the_first_one_was(self, shop: Shop) -> None:
        handle = await self.waiting(shop, "par_a")
        metadata = await handle.query("__temporal_workflow_metadata", result_type=WorkflowMetadata)
        order_id = handle.id.removeprefix("order-")
        assert f"Order {order_id}, {TOTAL}: goes on" in metadata.current_details
        known = await handle.describe()
        assert known.typed_search_attributes[ORDER_STATUS] == Status.FULFILLED
        assert (await handle.query(OrderWorkflow.status)).status is Status.FULFILLED
        await handle.terminate()

    async def test_a_lost_parcel_goes_on_asking_for_a_person(self, shop: Shop) -> None:
        handle = await self.waiting(shop, "par_b", "par_c")
        await tell(handle, "par_b", ParcelStatus.SHIPPED, ParcelStatus.LOST)
        await eventually(lambda: flagged(handle))
        before = (await handle.query(OrderWorkflow.status)).attention
        for _ in range(2):
            run_id = (await handle.describe()).run_id
            await tell(handle, "par_of_somebody_else", *[ParcelStatus.SHIPPED] * 9)
            await handed_on(handle, run_id)
        assert (await handle.query(OrderWorkflow.status)).attention == before
        assert await flagged(handle)

        resent = await handle.execute_update(OrderWorkflow.resend_parcel, ResendParcel("par_b"))
        await tell(handle, "par_c", ParcelStatus.DELIVERED)
        await eventually(lambda: at_rest(handle))
        assert not await flagged(handle)
        await tell(handle, resent.parcel_id, ParcelStatus.DELIVERED)
        outcome = await handle.result()
        assert (outcome.status, outcome.confirmed) == (Status.COMPLETED, True)
        assert outcome.parcel_ids == ("par_b", "par_c", resent.parcel_id)
        mails = [mail.key.rpartition(":")[2] for mail in shop.mailer.sent]
        assert mails.count("confirmation") == 1

    async def test_the_deadline_stays_the_first_runs(self, shop: Shop) -> None:
        begun = datetime.now(UTC).replace(microsecond=0)
        handle = await shop.order()  # time is skipped
        await eventually(lambda: flagged(handle))
        attention = (await handle.query(OrderWorkflow.status)).attention
        assert attention is not None
        assert "is late" in attention.problem
        late_since = datetime.fromisoformat(attention.since)
        assert timedelta(days=30) <= late_since - begun < timedelta(days=31)
        assert len(await histories(shop, handle)) > 1
        await tell(handle, parcel_of(shop, handle), ParcelStatus.DELIVERED)
        assert (await handle.result()).status is Status.COMPLETED

    async def test_it_stays_too_late_to_cancel(self, shop: Shop) -> None:
        handle = await self.waiting(shop, "par_d")
        await handle.signal(OrderWorkflow.cancel_order)
        refusal = await refused(handle.execute_update(OrderWorkflow.cancel, CancelRequest()))
        assert refusal.type == TOO_LATE
        await handle.cancel()
        await tell(handle, "par_d", ParcelStatus.DELIVERED)
        outcome = await handle.result()
        assert (outcome.status, outcome.taken) == (Status.COMPLETED, TOTAL)
        assert outcome.stop is None

    async def test_a_neighbour_that_repeats_itself_is_heard_in_short_histories(
        self, shop: Shop
    ) -> None:
        handle = await self.waiting(shop, "par_e")
        # A repetition that comes alone is six events: a signal, a workflow task, one timer for
        # another. What is left of one seven and the next one may meet in a run, and no more.
        for _ in range(9):
            run_id = (await handle.describe()).run_id
            await tell(handle, "par_e", *[ParcelStatus.SHIPPED] * 7)
            await handed_on(handle, run_id)
        await tell(handle, "par_e", ParcelStatus.DELIVERED)
        assert (await handle.result()).status is Status.COMPLETED
        told = [events(history) for history in await histories(shop, handle)]
        assert sum(names.count("WORKFLOW_EXECUTION_SIGNALED") for names in told) == 64
        assert max(map(len, told)) < 100

    @pytest.mark.parametrize("later", [False, True], ids=["at once", "after news"])
    async def test_news_in_the_very_moment_of_handing_on_are_heard(
        self, shop: Shop, monkeypatch: pytest.MonkeyPatch, *, later: bool
    ) -> None:
        order_id = await shop.place()
        shop.warehouse.pack(order_id, "par_f", "par_g")
        loop, really = asyncio.get_running_loop(), workflow.continue_as_new
        runs: list[str] = []

        def meanwhile(*args: Any, **more: Any) -> NoReturn:
            run_id = workflow.info().run_id
            if run_id not in runs:
                runs.append(run_id)
                if len(runs) == (2 if later else 1):
                    # The worker's thread waits here, in the middle of its workflow task.
                    news = tell(handle, "par_f", ParcelStatus.SHIPPED)
                    asyncio.run_coroutine_threadsafe(news, loop).result(timeout=1)
            really(*args, **more)

        monkeypatch.setattr(workflow, "continue_as_new", meanwhile)
        handle = await shop.start(order_id, waits=True)
        if later:
            await handed_on(handle, handle.first_execution_run_id)
            await tell(handle, "par_g", *[ParcelStatus.SHIPPED] * 9)
        await noted(shop, handle, "parcel_shipped", "par_f")

        await tell(handle, "par_f", ParcelStatus.DELIVERED)
        await tell(handle, "par_g", ParcelStatus.DELIVERED)
        outcome = await handle.result()
        assert (outcome.status, outcome.confirmed) == (Status.COMPLETED, True)
        told = await histories(shop, handle)
        failed = [
            event.workflow_task_failed_event_attributes.cause
            for history in told
            for event in history.events
            if event.event_type == EventType.EVENT_TYPE_WORKFLOW_TASK_FAILED
        ]
        assert set(failed) == {REFUSED}
        for history in told:
            await replayed(history)

    async def test_a_confirmation_on_its_way_is_waited_for(self, shop: Shop) -> None:
        shop.mailer.fail_until_healed("send", NoAnswerError("nobody answers"))
        handle = await shop.order(waits=True)
        # The first run continues as new before it mails.
        await handed_on(handle, handle.first_execution_run_id)
        await self.stays_until_mailed(shop, handle, "par_of_somebody_else", ["confirmation"])

    async def test_a_mail_of_a_departure_on_its_way_is_waited_for(self, shop: Shop) -> None:
        handle = await self.waiting(shop, "par_h")
        await eventually(lambda: mailed(shop))
        shop.mailer.fail_until_healed("send", NoAnswerError("nobody answers"))
        await self.stays_until_mailed(shop, handle, "par_h", ["confirmation", "shipped-par_h"])

    async def stays_until_mailed(
        self, shop: Shop, handle: Handle, about: str, wanted: list[str]
    ) -> None:
        """Its run, whose history is long, continues as new once the mailer answers, not before."""
        run_id = (await handle.describe()).run_id
        await tell(handle, about, *[ParcelStatus.SHIPPED] * 9)

        async def tried_for_longer_than_the_pause() -> bool:
            known = await handle.describe()
            assert known.run_id == run_id
            return any(mail.attempt > 2 for mail in known.raw_description.pending_activities)

        await eventually(tried_for_longer_than_the_pause)

        shop.mailer.heal("send")
        await handed_on(handle, run_id)
        await tell(handle, parcel_of(shop, handle), ParcelStatus.DELIVERED)
        assert (await handle.result()).confirmed
        mails = [mail.key.partition(":mail:")[2] for mail in shop.mailer.sent]
        assert mails == wanted
