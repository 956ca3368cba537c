"""The HTTP edge as a process: ``python api.py``. What it answers is in ``edge/``."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import signal
import socket
import sys
from collections.abc import AsyncIterator, Iterator

import uvicorn
from fastapi import FastAPI
from temporalio.service import RetryConfig

import logs
from client import OrderClient
from connection import UnreachableError, connect, leave
from edge.app import create_app
from edge.parts import Edge
from edge.reception import current_request
from providers.stripe import StripeCards
from refund_client import RefundClient
from settings import CardSettings, EdgeSettings, SettingsError, temporal_profile
from store import database as store
from store.orders import PostgresOrderBook
from store.refunds import PostgresRefundBook

log = logging.getLogger("api")


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
        yield create_app(
            Edge(
                orders=OrderClient(temporal, PostgresOrderBook(database), cards=cards),
                refunds=RefundClient(temporal, PostgresRefundBook(database)),
            )
        )


async def run(settings: EdgeSettings, cards: CardSettings, listening: socket.socket) -> None:
    """Serve until SIGTERM or SIGINT, then let requests in flight finish."""
    async with composed(settings, cards) as app:
        config = uvicorn.Config(
            app,
            log_config=None,
            access_log=False,  # edge.reception writes a line, without addresses and queries
            server_header=False,
            timeout_graceful_shutdown=20,
        )
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
    logs.set_up(settings.log_level, settings.log_format, request=current_request)
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
