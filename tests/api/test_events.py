"""Following an order over HTTP, with a real server and a real client between."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from datetime import timedelta

import httpx
import pytest

from durable_orders.api import auth, sse
from durable_orders.api.app import create_app
from durable_orders.api.dependencies import ApiLimits
from durable_orders.api.sse import Streams
from durable_orders.domain.lifecycle import Status
from durable_orders.domain.operators.api_keys import Scope, Token
from tests.api.api_clients import OPERATOR, a_key, edge_of, is_problem
from tests.api.real import RealShop, real, served
from tests.fakes.keys import InMemoryKeys
from tests.support.eventually import eventually
from tests.support.shop import Shop

__all__ = ["real"]


@dataclass
class Event:
    name: str = ""
    id: str = ""
    data: dict[str, object] = field(default_factory=dict)


@dataclass
class Heard:
    """A response under way, as an EventSource reads it."""

    response: httpx.Response
    comments: int = 0

    def __post_init__(self) -> None:
        self._lines = self.response.aiter_lines()

    async def events(self) -> AsyncIterator[Event]:
        event = Event()
        async for line in self._lines:
            if line.startswith(":"):
                self.comments += 1
            elif line.startswith("event: "):
                event.name = line.removeprefix("event: ")
            elif line.startswith("id: "):
                event.id = line.removeprefix("id: ")
            elif line.startswith("data: "):
                event.data = json.loads(line.removeprefix("data: "))
            elif not line and event.name:
                yield event
                event = Event()


@asynccontextmanager
async def following(
    address: str, order_id: str, last: str | None = None, token: Token = OPERATOR
) -> AsyncIterator[Heard]:
    headers = {"Authorization": f"Bearer {token}"} | ({"Last-Event-ID": last} if last else {})
    async with (
        httpx.AsyncClient(base_url=address, headers=headers, timeout=30) as http,
        http.stream("GET", f"/orders/{order_id}/events") as response,
    ):
        yield Heard(response)


async def until(heard: Heard, said: str) -> list[Event]:
    """The events up to the one that says this."""
    found = []
    async for event in heard.events():
        found.append(event)
        if event.data.get("event") == said:
            return found
    raise AssertionError(f"the stream ended before {said}")


@pytest.fixture(scope="module")
async def address(real: RealShop) -> AsyncIterator[str]:
    """Where the shop with nothing in memory is served."""
    async with served(real.app) as url:
        yield url


async def test_an_order_is_followed_from_before_its_payment_to_its_end(
    real: RealShop, address: str
) -> None:
    order_id = await real.place(flagged=True)
    await real.http.post("/checkout", json={"order_id": order_id, "wait_seconds": 15})

    async with following(address, order_id) as heard:
        assert heard.response.status_code == 200
        assert heard.response.headers["content-type"].startswith("text/event-stream")
        assert heard.response.headers["cache-control"] == "no-store"
        before = await until(heard, "order_awaiting_approval")
        await real.http.post(f"/orders/{order_id}/approve")
        after = [event async for event in heard.events()]

    *lines, end = [*before, *after]
    shown = (await real.http.get(f"/orders/{order_id}")).json()
    # What the order's mail said comes after its end; the stream waits for the run.
    assert [line.data for line in lines] == shown["history"]
    assert {line.name for line in lines} == {"history"}
    assert len({line.id for line in lines}) == len(lines)
    assert (end.name, end.id) == ("end", "end")
    assert end.data == {"order_id": order_id, "status": "completed", "reason": None}


async def test_who_comes_back_goes_on_after_the_last_event_without_repeats(
    real: RealShop, address: str
) -> None:
    order_id = await real.place(flagged=True)
    await real.http.post("/checkout", json={"order_id": order_id, "wait_seconds": 15})
    async with following(address, order_id) as heard:
        before = await until(heard, "order_awaiting_approval")

    await real.http.post(f"/orders/{order_id}/approve")
    await real.edge.orders.result(order_id)
    async with following(address, order_id, before[-1].id) as heard:
        after = [event async for event in heard.events()]

    history = (await real.http.get(f"/orders/{order_id}")).json()["history"]
    assert [event.data for event in (*before, *after[:-1])] == history
    async with following(address, order_id, after[-1].id) as heard:
        assert heard.response.status_code == 204  # an EventSource comes back no more


async def test_an_id_that_is_none_of_the_orders_starts_from_the_beginning(
    real: RealShop, address: str
) -> None:
    order_id = await real.completed()
    async with following(address, order_id, "0123456789abcdef") as heard:
        events = [event async for event in heard.events()]
    assert events[0].data["event"] == "order_placed"
    assert events[-1].name == "end"


async def test_what_is_wrong_is_a_problem_and_takes_no_room(real: RealShop, address: str) -> None:
    placed = await real.place()
    headers = {"Authorization": f"Bearer {OPERATOR}"}
    async with httpx.AsyncClient(base_url=address, headers=headers) as http:
        for _ in range(10):  # more than there is room for
            is_problem(await http.get("/orders/nobody/events"), 404, "there is no order nobody")
            is_problem(await http.get(f"/orders/{placed}/events"), 409, "start it first")
        is_problem(await http.get("/orders/a%20b/events"), 422, "is not an order id")


async def test_whoever_goes_away_leaves_nothing_behind(closed_shop: Shop) -> None:
    app = create_app(replace(edge_of(closed_shop), limits=ApiLimits(streams=2)))
    streams: Streams = app.state.streams
    order_id = await closed_shop.start()

    async with served(app) as url:
        before = len(asyncio.all_tasks())
        async with following(url, order_id) as one, following(url, order_id) as two:
            for heard in (one, two):
                await until(heard, "order_placed")
            assert streams.open == 2
            async with following(url, order_id) as refused:
                await refused.response.aread()
                is_problem(refused.response, 503, "come back in a moment")

        async def all_is_free() -> bool:
            return streams.open == 0 and len(asyncio.all_tasks()) <= before

        await eventually(all_is_free)
        async with following(url, order_id) as again:
            await until(again, "order_placed")


async def test_a_stream_with_nothing_to_tell_says_that_it_is_there(closed_shop: Shop) -> None:
    limits = ApiLimits(heartbeat=timedelta(milliseconds=50))
    order_id = await closed_shop.start()

    async with (
        served(create_app(replace(edge_of(closed_shop), limits=limits))) as url,
        following(url, order_id) as heard,
    ):
        reading = asyncio.create_task(until(heard, "order_paid"))

        async def heard_some() -> bool:
            return heard.comments >= 3

        await eventually(heard_some)
        async with closed_shop.worker():
            await reading
            assert (await closed_shop.orders.result(order_id)).status is Status.COMPLETED


async def test_one_key_does_not_take_all_streams(closed_shop: Shop) -> None:
    limits = ApiLimits(streams=9, streams_per_key=2)
    other = Token.of(b"others", bytes(range(32)))
    keys = InMemoryKeys(
        a_key(OPERATOR, "operator", Scope.OPERATOR), a_key(other, "other", Scope.READ)
    )
    app = create_app(replace(edge_of(closed_shop), limits=limits, keys=keys))
    order_id = await closed_shop.start()
    async with (
        served(app) as url,
        following(url, order_id) as one,
        following(url, order_id) as two,
        following(url, order_id) as refused,
        following(url, order_id, token=other) as of_another,
    ):
        for heard in (one, two, of_another):
            await until(heard, "order_placed")
        await refused.response.aread()
        is_problem(refused.response, 503, "the key operator has 2 streams")


async def test_the_streams_of_a_revoked_key_end(
    closed_shop: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sse, "CACHE_TTL", timedelta(milliseconds=50))
    monkeypatch.setattr(auth, "CACHE_TTL", timedelta(milliseconds=50))
    keys = InMemoryKeys(a_key(OPERATOR, "operator", Scope.OPERATOR))
    app = create_app(replace(edge_of(closed_shop), keys=keys))
    order_id = await closed_shop.start()
    async with served(app) as url, following(url, order_id) as heard:
        await until(heard, "order_placed")
        await keys.revoke(keys.keys[OPERATOR.key_id])
        rest = [event async for event in heard.events()]
        async with following(url, order_id) as again:
            assert again.response.status_code == 401
    assert rest == []


async def test_a_process_that_stops_ends_its_streams(closed_shop: Shop) -> None:
    app = create_app(edge_of(closed_shop))
    order_id = await closed_shop.start()

    async with served(app) as url, following(url, order_id) as heard:
        await until(heard, "order_placed")
        app.state.streams.stop()
        rest = [event async for event in heard.events()]

    assert rest == []  # and no end: the caller comes back


async def test_a_run_that_is_gone_ends_the_stream_and_then_is_a_problem(
    closed_shop: Shop,
) -> None:
    order_id = await closed_shop.start()
    async with served(create_app(edge_of(closed_shop))) as url:
        async with following(url, order_id) as heard:
            await until(heard, "order_placed")
            await closed_shop.abandon()
            assert [event async for event in heard.events()] == []
        async with following(url, order_id) as heard:
            await heard.response.aread()
            is_problem(heard.response, 409, "nothing carries it on")
