"""The HTTP edge: ``python api.py``. Translates between HTTP and ``OrderClient``, decides nothing.

Errors are ``application/problem+json`` (RFC 9457); the sentence is in ``detail``.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import signal
import socket
import sys
from collections.abc import AsyncIterator, Iterator
from http import HTTPStatus
from typing import Annotated, Any, Final

import uvicorn
from fastapi import Depends, FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from pydantic import BaseModel, Field
from starlette.exceptions import HTTPException
from temporalio.service import RetryConfig

import logs
from client import OrderClient
from connection import UnreachableError, connect, leave
from orders.ids import InvalidOrderIdError
from orders.messages import Cancelled, CancelUnderWay, EndedOtherwise
from orders.ports import NoSuchOrderError, ProviderError
from orders.refusals import NoWorkerError, OrderClientError
from orders.views import without_personal_data
from providers.stripe import StripeCards
from settings import CardSettings, EdgeSettings, SettingsError, temporal_profile
from store import database as store
from store.orders import PostgresOrderBook

log = logging.getLogger("api")

#: Seconds after which asking again makes sense while Temporal or the database are away.
_RETRY_AFTER: Final = "5"

_STATUS_OF: Final[dict[type[Exception], int]] = {
    InvalidOrderIdError: 422,
    NoSuchOrderError: 404,
    OrderClientError: 409,
    NoWorkerError: 503,
    UnreachableError: 503,
    ProviderError: 503,
}

OrderId = Annotated[str, Field(description="The order's id.", examples=["1001"])]


class Checkout(BaseModel):
    """A shopper checks out: carry this order, which your shop has placed before."""

    order_id: OrderId


class Accepted(BaseModel):
    """The order is carried; ask ``status_url`` how far it is."""

    workflow_id: str
    status_url: str


def orders_of(request: Request) -> OrderClient:
    orders: OrderClient = request.app.state.orders
    return orders


Orders = Annotated[OrderClient, Depends(orders_of)]


def create_app(orders: OrderClient) -> FastAPI:
    """The HTTP edge over this client."""
    app = FastAPI(title="Durable Orders", version="0.1.0")
    app.state.orders = orders
    app.add_exception_handler(RequestValidationError, _malformed)
    app.add_exception_handler(HTTPException, _refused)
    app.add_exception_handler(Exception, _our_fault)
    for kind in _STATUS_OF:
        app.add_exception_handler(kind, _explained)

    @app.post("/checkout", status_code=202)
    async def checkout(asked: Checkout, orders: Orders) -> Accepted:
        """Have an order carried to its end. Twice, or at once, is the same run."""
        run = await orders.start(asked.order_id)
        # A path: which host we have is the proxy's business.
        url = app.url_path_for("read_order", order_id=asked.order_id)
        return Accepted(workflow_id=run.workflow_id, status_url=url)

    @app.get("/orders/{order_id}")
    async def read_order(order_id: str, orders: Orders) -> dict[str, Any]:
        """Where the order stands and what happened to it, without personal data."""
        return without_personal_data(await orders.view(order_id))

    @app.post("/orders/{order_id}/cancel")
    async def cancel(order_id: str, orders: Orders, response: Response) -> Any:
        """Stop the order; the answer is what became of it. 202: accepted, still being undone."""
        answer = await orders.cancel(order_id)
        match answer:
            case Cancelled():
                pass
            case CancelUnderWay():
                response.status_code = 202
            case EndedOtherwise(status=status):
                return _problem(409, f"order {order_id} could not be cancelled: it is {status}")
        return answer

    @app.get("/healthz")
    async def healthz() -> dict[str, str]:
        """This process answers. Whether it can reach the others shows in their 503s."""
        return {"status": "ok"}

    return app


# -- errors ----------------------------------------------------------------------------------------


def _problem(status: int, detail: str) -> JSONResponse:
    return JSONResponse(
        {"title": HTTPStatus(status).phrase, "status": status, "detail": detail},
        status_code=status,
        headers={"Retry-After": _RETRY_AFTER} if status == HTTPStatus.SERVICE_UNAVAILABLE else None,
        media_type="application/problem+json",
    )


async def _explained(_: Request, error: Exception) -> JSONResponse:
    kind = next(kind for kind in type(error).__mro__ if kind in _STATUS_OF)
    if kind in {UnreachableError, ProviderError}:
        # Where our servers are is for the log, not for the caller.
        log.error("%s", error)
        return _problem(503, "the shop cannot be reached at the moment: ask again, that is safe")
    return _problem(_STATUS_OF[kind], str(error))


async def _malformed(_: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, RequestValidationError)  # noqa: S101 - registered for nothing else
    # What was sent is not repeated: it may hold what should not be logged.
    where = ("/".join(map(str, e["loc"])) + f": {e['msg']}" for e in error.errors())
    return _problem(422, "; ".join(where))


async def _refused(_: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, HTTPException)  # noqa: S101 - registered for nothing else
    return _problem(error.status_code, str(error.detail))


async def _our_fault(_: Request, __: Exception) -> JSONResponse:
    return _problem(500, "this is a fault of ours, and it is in our log")


# -- the process -----------------------------------------------------------------------------------


class _Server(uvicorn.Server):
    """Stops on a signal. Uvicorn's own way raises it again, past our clean-up."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        for number in (signal.SIGINT, signal.SIGTERM):
            asyncio.get_running_loop().add_signal_handler(number, self.handle_exit, number, None)
        yield


@contextlib.asynccontextmanager
async def composed(settings: EdgeSettings, card_settings: CardSettings) -> AsyncIterator[FastAPI]:
    """The edge on the real database and Temporal, which need not be there yet."""
    async with contextlib.AsyncExitStack() as stack:
        database = store.connect(
            settings.database_url.get_secret_value(), pool_size=settings.database_pool_size
        )
        stack.push_async_callback(database.close)
        # Without Stripe's key the edge works, but cannot help a browser to finish a payment.
        cards = None
        if card_settings.stripe_api_key is not None:
            key = card_settings.stripe_api_key.get_secret_value()
            cards = StripeCards(key, api_base=card_settings.stripe_api_base)
            stack.push_async_callback(cards.aclose)
        # Lazy: connects with the first call, and again with the next one if that fails. A shopper
        # is waiting, so it is said soon that nobody answers.
        brief = RetryConfig(max_elapsed_time_millis=3_000)
        temporal = await connect(temporal_profile(), lazy=True, retry_config=brief)
        yield create_app(OrderClient(temporal, PostgresOrderBook(database), cards=cards))


async def run(settings: EdgeSettings, cards: CardSettings, listening: socket.socket) -> None:
    """Serve until SIGTERM or SIGINT, then let requests in flight finish."""
    async with composed(settings, cards) as app:
        config = uvicorn.Config(app, log_config=None, timeout_graceful_shutdown=20)
        log.info("ready: http://%s:%s", *listening.getsockname()[:2])
        await _Server(config).serve(sockets=[listening])


def main() -> int:
    try:
        settings, cards = EdgeSettings.load(), CardSettings.load()
    except SettingsError as error:
        return _said(str(error))
    where = (settings.api_host, settings.api_port)
    try:
        family = socket.AF_INET6 if ":" in settings.api_host else socket.AF_INET
        listening = socket.create_server(where, family=family)
    except OSError as error:
        why = os.strerror(error.errno) if error.errno else error
        return _said(f"Cannot listen at {where[0]}:{where[1]}, {why}: set API_HOST and API_PORT.")
    logs.set_up(settings.log_level, settings.log_format)
    try:
        asyncio.run(run(settings, cards, listening))
    except (UnreachableError, store.InvalidDatabaseUrlError) as error:
        return _said(str(error))
    return 0


def _said(sentence: str) -> int:
    print(sentence, file=sys.stderr)  # noqa: T201 - for the person who started it
    return 1


if __name__ == "__main__":
    leave(main())
