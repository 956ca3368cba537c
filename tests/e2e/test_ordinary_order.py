"""What an ordinary order costs, counted: with real servers, processes and webhooks."""

from __future__ import annotations

from collections.abc import AsyncIterator
from statistics import median

import httpx
import pytest

from demo.environment import DemoEnvironment
from demo.worker_process import WorkerProcess
from durable_orders.domain.ids import workflow_id
from durable_orders.domain.lifecycle import Status
from sandbox.round_trips import RoundTrips
from tests.e2e.api_processes import events_about, neighbours_tell, start_edge
from tests.support.eventually import eventually
from tests.workflows.conftest import events

#: Orders after which the worker knows that charges are quick, and all connections are in use.
WARM_UP = 8


@pytest.fixture
async def counted(environment: DemoEnvironment) -> AsyncIterator[RoundTrips]:
    """What a worker and an API ask PostgreSQL, while Stripe tells the API what happens."""
    worker: WorkerProcess | None = None
    async with RoundTrips(environment.sandbox.database_url) as proxy:
        through_proxy = {"DATABASE_URL": proxy.url}
        async with neighbours_tell(environment) as port:
            edge = await start_edge(environment, port, **through_proxy)
            try:
                worker = await environment.start_worker(**through_proxy)
                await worker.ready()
                yield proxy
            finally:
                if worker is not None:
                    await worker.kill()
                await edge.stop()


async def completed(environment: DemoEnvironment, order_id: str) -> None:
    """An order from its start to its end, and what Stripe tells of it."""
    await environment.place(order_id, sku="STICKER")
    await environment.orders.start(order_id)
    assert (await environment.orders.result(order_id)).status is Status.COMPLETED

    async def told() -> bool:
        found = await events_about(environment, order_id)
        return bool(found) and all(event.ended_at for event in found)

    await eventually(told, within=30)


async def requests(environment: DemoEnvironment) -> list[str]:
    """The paths at Stripe that were asked so far."""
    async with httpx.AsyncClient(base_url=environment.sandbox.stand_in_url, timeout=30) as http:
        found = (await http.get("/sandbox/requests")).json()["requests"]
    return [request["path"] for request in found if request["path"] != "/v1/account"]


async def test_it_takes_two_workflow_tasks_and_few_round_trips(
    environment: DemoEnvironment, counted: RoundTrips
) -> None:
    for number in range(WARM_UP):
        await completed(environment, f"ordinary-{number}")
    trips: list[int] = []
    for number in range(5):
        counted.take()
        asked = await requests(environment)
        await completed(environment, f"counted-{number}")
        trips.append(counted.take())
        [create, confirm] = (await requests(environment))[len(asked) :]
        assert create == "/v1/payment_intents"
        assert confirm.endswith("/confirm")

        run = environment.temporal.get_workflow_handle(workflow_id(f"counted-{number}"))
        told = events(await run.fetch_history())
        assert told.count("WORKFLOW_TASK_COMPLETED") == 2
        assert told.count("ACTIVITY_TASK_SCHEDULED") + told.count("MARKER_RECORDED") == 5
        assert len(told) <= 18
        books = await environment.books.order(f"counted-{number}")
        [payment] = books.payments
        assert [charge.status for charge in payment.charges] == ["succeeded"]
        assert (len(books.fulfillments), len(books.mails)) == (1, 1)
    # Besides, the API looks for events that are due, once a second.
    assert median(trips) <= 15, trips
