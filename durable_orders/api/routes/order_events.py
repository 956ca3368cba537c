"""Route: an order's history as server-sent events."""

from __future__ import annotations

import hashlib
import logging
from collections.abc import AsyncGenerator, AsyncIterator
from datetime import timedelta
from typing import Annotated, Final

from fastapi import APIRouter, Header, Request, Response
from fastapi.responses import StreamingResponse

from durable_orders.api.auth import Caller
from durable_orders.api.dependencies import OrderId, Orders
from durable_orders.api.openapi import problem_responses
from durable_orders.api.problems import (
    INVALID_ORDER_ID,
    MALFORMED,
    ORDER_NOT_STARTED,
    ORDER_STRANDED,
    TOO_MANY_STREAMS,
    UNAVAILABLE,
    UNKNOWN_ORDER,
)
from durable_orders.api.schemas import HistoryEntry, ResponseModel
from durable_orders.api.sse import Events, Streams, encode_event
from durable_orders.clients.errors import OrderClientError, UnreachableError
from durable_orders.domain.lifecycle import Status
from durable_orders.domain.ports import ProviderError
from durable_orders.domain.views import HistoryLine, OrderSnapshotView

log = logging.getLogger(__name__)

router = APIRouter(prefix="/orders", tags=["orders"])

_END: Final = "end"
#: One event of the stream, for OpenAPI. ``data`` is JSON.
_EVENT_SCHEMA: Final = {
    "type": "object",
    "required": ["event", "id", "data"],
    "properties": {
        "event": {"type": "string", "enum": ["history", _END]},
        "id": {"type": "string"},
        "data": {"type": "string"},
        "retry": {"type": "integer"},
    },
}
_RETRY: Final = timedelta(seconds=2)


class EndEvent(ResponseModel):
    """Data of the last event: the order has ended."""

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
                    "schema": _EVENT_SCHEMA,
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
        **problem_responses(UNKNOWN_ORDER),
        **problem_responses(ORDER_NOT_STARTED, ORDER_STRANDED),
        **problem_responses(MALFORMED, INVALID_ORDER_ID),
        **problem_responses(UNAVAILABLE, TOO_MANY_STREAMS),
    },
)
async def follow_order(
    order_id: OrderId,
    orders: Orders,
    request: Request,
    caller: Caller,
    last_event_id: Annotated[
        str | None,
        Header(description="The id of the last event you have had.", max_length=100),
    ] = None,
) -> Response:
    """Stream an order's history: the past events, then each new one, until the order has ended.

    Each event has an id. A browser's EventSource sends the last one when it reconnects, and the
    stream goes on after it. A line that begins with a colon only keeps the connection open.
    """
    if last_event_id == _END:
        return Response(status_code=204)  # EventSource reconnects after any other response
    streams: Streams = request.app.state.streams
    streams.acquire(caller)
    try:
        snapshots = orders.watch_view(order_id)
        first = await anext(snapshots)  # raises what is wrong with the request
    except BaseException:
        streams.release(caller)
        raise
    return streams.respond(_encode_events(first, snapshots, last_event_id), caller)


async def _encode_events(
    first: OrderSnapshotView, snapshots: AsyncIterator[OrderSnapshotView], last: str | None
) -> Events:
    """Each history line once, those after the event id ``last``; then the end event."""
    ids = [_event_id(line) for line in first.view.history]
    sent = set(ids[: ids.index(last) + 1]) if last in ids else set[str]()
    retry: timedelta | None = _RETRY
    snapshot = first
    try:
        while True:
            for line in snapshot.view.history:
                id_ = _event_id(line)
                if id_ not in sent:
                    sent.add(id_)
                    entry = HistoryEntry.model_validate(line.without_personal_data)
                    yield encode_event("history", id_, entry.model_dump_json(), retry)
                    retry = None
            if snapshot.doing == "ended":
                order = snapshot.view.order
                end = EndEvent(order_id=order.id, status=order.status, reason=order.reason)
                yield encode_event(_END, _END, end.model_dump_json(), retry)
                return
            snapshot = await anext(snapshots)
    except (OrderClientError, ProviderError, UnreachableError) as error:
        # The response has begun: end it. A client that reconnects gets the error as a problem.
        log.warning("the events of an order end early: %s", error)
    finally:
        if isinstance(snapshots, AsyncGenerator):
            await snapshots.aclose()


def _event_id(line: HistoryLine) -> str:
    """A digest of the line: no two lines of an order's history are equal."""
    text = "\n".join(
        [line.event, *(f"{name} {value}" for name, value in sorted(line.detail.items()))]
    )
    return hashlib.sha256(text.encode()).hexdigest()[:16]
