"""Following an order live."""

from __future__ import annotations

import hashlib
import logging
from collections.abc import AsyncGenerator, AsyncIterator
from datetime import timedelta
from typing import Annotated, Final

from fastapi import APIRouter, Header, Request, Response
from fastapi.responses import StreamingResponse

from durable_orders.clients.errors import OrderClientError, UnreachableError
from edge.describing import declared
from edge.parts import OrderId, Orders
from edge.problems import (
    INVALID_ORDER_ID,
    MALFORMED,
    ORDER_NOT_STARTED,
    ORDER_STRANDED,
    TOO_MANY_STREAMS,
    UNAVAILABLE,
    UNKNOWN_ORDER,
)
from edge.shapes import History, Told
from edge.streams import Events, Streams, event
from orders.lifecycle import Status
from orders.ports import ProviderError
from orders.views import HistoryLine, Sighting

log = logging.getLogger(__name__)

router = APIRouter(prefix="/orders", tags=["orders"])

_END: Final = "end"
#: One event, as OpenAPI describes a stream of them. ``data`` is JSON.
_EVENT: Final = {
    "type": "object",
    "required": ["event", "id", "data"],
    "properties": {
        "event": {"type": "string", "enum": ["history", _END]},
        "id": {"type": "string"},
        "data": {"type": "string"},
        "retry": {"type": "integer"},
    },
}
_COME_BACK_AFTER: Final = timedelta(seconds=2)


class End(Told):
    """The order has ended, and with it the stream."""

    order_id: str
    status: Status
    reason: str | None


@router.get(
    "/{order_id}/events",
    response_class=StreamingResponse,
    responses={
        200: {
            "description": "Events: `history` for each line, then `end`.",
            "content": {
                "text/event-stream": {
                    "schema": _EVENT,
                    "example": (
                        "event: history\nid: 5f0c1d2e3a4b5c6d\n"
                        'data: {"at":"2026-03-01T10:00:00Z","event":"order_paid","detail":{},'
                        '"text":"order paid"}\n\n'
                        "event: end\nid: end\n"
                        'data: {"order_id":"1001","status":"completed","reason":null}\n\n'
                    ),
                }
            },
        },
        204: {"description": "You have had the end: there is nothing to come back for."},
        **declared(UNKNOWN_ORDER),
        **declared(ORDER_NOT_STARTED, ORDER_STRANDED),
        **declared(MALFORMED, INVALID_ORDER_ID),
        **declared(UNAVAILABLE, TOO_MANY_STREAMS),
    },
)
async def follow_order(
    order_id: OrderId,
    orders: Orders,
    request: Request,
    last_event_id: Annotated[
        str | None,
        Header(description="The id of the last event you have had.", max_length=100),
    ] = None,
) -> Response:
    """Follow an order: what happened to it, then each change as it happens, until it has ended.

    Each event has an id; a browser's EventSource sends the last one when it comes back, and goes on
    after it. A line that begins with a colon only keeps the connection open.
    """
    if last_event_id == _END:
        return Response(status_code=204)  # EventSource comes back after any other answer
    streams: Streams = request.app.state.streams
    streams.take()
    try:
        sightings = orders.watch_view(order_id)
        first = await anext(sightings)  # what is wrong with the request shows here
    except BaseException:
        streams.give_back()
        raise
    return streams.answer(_told(first, sightings, last_event_id))


async def _told(first: Sighting, sightings: AsyncIterator[Sighting], last: str | None) -> Events:
    """Each line of the order's history once, those after ``last``; then its end."""
    known = [_id_of(line) for line in first.view.history]
    had = set(known[: known.index(last) + 1]) if last in known else set[str]()
    retry: timedelta | None = _COME_BACK_AFTER
    seen = first
    try:
        while True:
            for line in seen.view.history:
                id_ = _id_of(line)
                if id_ not in had:
                    had.add(id_)
                    yield event(
                        "history", id_, History.model_validate(line).model_dump_json(), retry
                    )
                    retry = None
            if seen.doing == "ended":
                order = seen.view.order
                end = End(order_id=order.id, status=order.status, reason=order.reason)
                yield event(_END, _END, end.model_dump_json(), retry)
                return
            seen = await anext(sightings)
    except (OrderClientError, ProviderError, UnreachableError) as error:
        # Half an answer is out. Whoever comes back is told what is wrong, as a problem.
        log.warning("the events of an order end early: %s", error)
    finally:
        if isinstance(sightings, AsyncGenerator):
            await sightings.aclose()


def _id_of(line: HistoryLine) -> str:
    """The line's own: an order's history says everything once."""
    said = "\n".join(
        [line.event, *(f"{name} {text}" for name, text in sorted(line.detail.items()))]
    )
    return hashlib.sha256(said.encode()).hexdigest()[:16]
