"""The first charge of an order, within its first workflow task where charges are quick."""

from __future__ import annotations

from datetime import timedelta

import pytest

from activities.handover import ChargePace
from durable_orders.domain.activity_messages import CancelRequest
from durable_orders.domain.lifecycle import Status
from durable_orders.domain.ports import BusyError, LockedOutError, NoAnswerError
from durable_orders.domain.terms import ShopTerms
from durable_orders.domain.workflow_messages import Approve
from tests.support.eventually import eventually
from tests.workflows.conftest import TOTAL, Shop, ended, events, quick_pace
from tests.workflows.test_card_tries import new_card
from tests.workflows.test_replay import Handle
from tests.workflows.test_waiting import DECLINED, reached
from workflows.order import OrderWorkflow

SILENCE = NoAnswerError("nobody answers")


@pytest.fixture
def pace() -> ChargePace:
    """The worker's last charges were quick."""
    return quick_pace()


async def count(handle: Handle, event: str) -> int:
    return events(await handle.fetch_history()).count(event)


async def scheduled(handle: Handle) -> list[str]:
    """The normal activities of a run, by name."""
    return [
        event.activity_task_scheduled_event_attributes.activity_type.name
        for event in (await handle.fetch_history()).events
        if event.HasField("activity_task_scheduled_event_attributes")
    ]


async def test_an_order_is_two_workflow_tasks_and_one_activity_between_them(shop: Shop) -> None:
    handle = await shop.order()
    outcome = await shop.check(await handle.result())

    assert outcome.status is Status.COMPLETED
    told = events(await handle.fetch_history())
    assert len(told) <= 18  # 17 when its client says whose it is
    assert told.count("WORKFLOW_TASK_COMPLETED") == 2
    assert told.count("MARKER_RECORDED") == 4
    assert await scheduled(handle) == ["fulfill_order"]
    assert shop.cards.calls == ["create", "confirm"]
    assert shop.warehouse.calls == ["fulfill"]
    assert shop.mailer.calls == ["send"]


async def test_one_that_takes_its_time_is_handed_over_and_not_asked_again(shop: Shop) -> None:
    held = shop.cards.hold("confirm")
    handle = await shop.order(waits=True)
    await held.entered()

    async def handed_over() -> bool:
        return await scheduled(handle) == ["charge_card"]

    await eventually(handed_over)
    held.release()
    await shop.check(await handle.result())
    assert shop.cards.calls == ["create", "confirm"]


async def test_a_cancellation_is_heard_while_it_takes_its_time(shop: Shop) -> None:
    held = shop.cards.hold("confirm", is_cut=False)
    handle = await shop.order(waits=True)
    await held.entered()
    await handle.signal(OrderWorkflow.cancel_order, CancelRequest("a customer"))

    async def heard() -> bool:
        return (await handle.query(OrderWorkflow.status)).cancel_requested

    await eventually(heard)
    held.release()
    outcome = await shop.check(await handle.result())
    assert outcome.status is Status.REFUNDED
    assert shop.warehouse.calls.count("fulfill") == 0


@pytest.mark.parametrize("silent", [1, 2])
async def test_one_without_an_answer_is_tried_again(shop: Shop, silent: int) -> None:
    shop.cards.fail_next("confirm", SILENCE, times=silent)
    outcome = await shop.check(await (await shop.order()).result())
    assert outcome.status is Status.COMPLETED


async def test_the_local_try_is_one_of_three(shop: Shop) -> None:
    shop.cards.fail_next("confirm", SILENCE, times=3)
    outcome = await shop.check(await ended(await shop.order()))
    assert outcome.status is Status.REJECTED
    assert shop.cards.calls.count("confirm") == 3


@pytest.mark.parametrize("error", [BusyError("too many"), LockedOutError("a rotated key")])
async def test_load_and_a_fault_of_ours_use_up_no_try(shop: Shop, error: NoAnswerError) -> None:
    shop.cards.fail_next("confirm", error, times=4)
    outcome = await shop.check(await (await shop.order()).result())
    assert outcome.status is Status.COMPLETED


async def test_a_lost_answer_is_read_and_not_charged_again(shop: Shop) -> None:
    shop.cards.lose_answer_next("confirm")
    outcome = await shop.check(await (await shop.order()).result())
    assert outcome.taken == TOTAL


class TestAnotherCard:
    @pytest.fixture
    def terms(self) -> ShopTerms:
        return ShopTerms(new_card_window=timedelta(hours=1))

    async def test_it_is_charged_by_a_normal_activity(self, shop: Shop) -> None:
        handle = await shop.order(DECLINED, waits=True)
        await new_card(handle, "pm_card_visa")
        await shop.check(await handle.result())
        assert await scheduled(handle) == ["charge_card", "fulfill_order"]


class TestAfterApproval:
    @pytest.fixture
    def terms(self) -> ShopTerms:
        return ShopTerms(approval_above={"EUR": TOTAL.amount - 1})

    async def test_it_is_a_normal_activity(self, shop: Shop) -> None:
        handle = await shop.order(waits=True)
        await reached(shop, handle, Status.AWAITING_APPROVAL)
        await handle.execute_update(OrderWorkflow.approve, Approve("ops-7"))
        await shop.check(await handle.result())
        assert await scheduled(handle) == ["charge_card", "fulfill_order"]


async def test_our_database_taking_its_time_is_waited_out(shop: Shop) -> None:
    shop.inventory.fail_next("begin", NoAnswerError("away", retry_after=timedelta(hours=1)))
    outcome = await shop.check(await (await shop.order()).result())
    assert outcome.status is Status.COMPLETED


class TestPace:
    def test_nothing_is_known_at_first(self) -> None:
        pace = ChargePace()
        pace.record(0.01)
        assert not pace.is_quick

    def test_one_slow_bank_among_quick_ones_changes_nothing(self) -> None:
        pace = quick_pace()
        pace.record(30)
        assert pace.is_quick

    def test_when_half_are_slow_it_is_slow_until_they_are_quick_again(self) -> None:
        pace = quick_pace()
        for _ in range(4):
            pace.record(0.6)
        assert not pace.is_quick
        for _ in range(5):
            pace.record(0.2)
        assert pace.is_quick
