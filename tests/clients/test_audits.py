"""The audit's schedule on the real Temporal server: one, whatever is asked how often."""

from __future__ import annotations

from datetime import timedelta

import pytest
from temporalio.client import Client, ScheduleActionStartWorkflow, ScheduleOverlapPolicy

from durable_orders.clients.audits import AuditClient
from durable_orders.clients.errors import UnreachableError
from durable_orders.clients.run_inspector import TemporalOrderRuns
from durable_orders.contracts.data_converter import DATA_CONVERTER
from durable_orders.domain.audit.messages import AUDIT_ID
from durable_orders.domain.audit.model import RunState
from durable_orders.domain.ports import NoAnswerError
from sandbox.ports import free_port
from tests.support.eventually import eventually
from tests.support.servers import Temporal
from tests.support.shop import Shop

HOUR = timedelta(hours=1)


@pytest.fixture
async def temporal(scheduling_server: Temporal) -> Client:
    return await scheduling_server.connect()


@pytest.fixture
async def nobody() -> Client:
    address = f"127.0.0.1:{free_port()}"
    return await Client.connect(address, data_converter=DATA_CONVERTER, lazy=True)


async def test_a_schedule_asked_for_twice_is_one_with_the_latest_wish(temporal: Client) -> None:
    audits = AuditClient(temporal)

    assert await audits.schedule(HOUR)
    assert not await audits.schedule(HOUR)
    assert not await audits.schedule(2 * HOUR)

    known = (await temporal.get_schedule_handle(AUDIT_ID).describe()).schedule
    [interval] = known.spec.intervals
    assert interval.every == 2 * HOUR
    assert known.policy.overlap is ScheduleOverlapPolicy.SKIP
    assert isinstance(known.action, ScheduleActionStartWorkflow)
    assert known.action.workflow == "Reconcile"

    async def listed() -> bool:
        schedules = [one.id async for one in await temporal.list_schedules()]
        return schedules == [AUDIT_ID]

    await eventually(listed)


async def test_a_schedule_that_somebody_paused_stays_paused(temporal: Client) -> None:
    audits = AuditClient(temporal)
    await audits.schedule(HOUR)
    handle = temporal.get_schedule_handle(AUDIT_ID)
    await handle.pause(note="stocktaking")

    await audits.schedule(2 * HOUR)

    state = (await handle.describe()).schedule.state
    assert (state.paused, state.note) == (True, "stocktaking")


async def test_the_audit_says_when_temporal_is_away(nobody: Client, closed_shop: Shop) -> None:
    with pytest.raises(UnreachableError):
        await AuditClient(nobody).schedule(HOUR)
    with pytest.raises(NoAnswerError):
        await TemporalOrderRuns(nobody, closed_shop.book).look("1001")


async def test_runs_are_seen_as_they_are(closed_shop: Shop) -> None:
    runs = TemporalOrderRuns(closed_shop.temporal, closed_shop.book)
    assert (await runs.look("nobody")).state is RunState.NONE

    order_id = await closed_shop.place()
    assert await runs.start(order_id)
    assert await runs.start(order_id)
    assert (await runs.look(order_id)).state is RunState.OPEN

    async def listed() -> bool:
        page = await runs.open_runs(None, 100)
        return order_id in {run.order_id for run in page.items}

    await eventually(listed)
    await closed_shop.abandon()
    ended = await runs.look(order_id)
    assert (ended.state, ended.word) == (RunState.CLOSED, "terminated")
    assert ended.closed_at is not None


async def test_open_runs_are_listed_page_by_page(closed_shop: Shop) -> None:
    runs = TemporalOrderRuns(closed_shop.temporal, closed_shop.book)
    started = {await closed_shop.start() for _ in range(3)}

    async def all_listed() -> bool:
        seen: set[str] = set()
        cursor: str | None = None
        while True:
            page = await runs.open_runs(cursor, 1)
            seen |= {run.order_id for run in page.items}
            if (cursor := page.cursor) is None:
                return started <= seen

    await eventually(all_listed)
