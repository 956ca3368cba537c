"""The server of the HTTP API: composition root, and uvicorn until the process is stopped.

``api.py`` starts it. The application is in ``edge/``.
"""

from __future__ import annotations

import asyncio
import contextlib
import gc
import logging
import socket
import sys
from collections.abc import AsyncIterator, Callable, Iterator
from datetime import timedelta
from functools import partial
from typing import Final

import uvicorn
from fastapi import FastAPI
from temporalio.service import RetryConfig

from durable_orders.api.app import create_app
from durable_orders.api.connections import (
    MAX_HEAD_BYTES,
    affordable_connections,
    limited_protocol,
)
from durable_orders.api.dependencies import (
    AdminDependencies,
    ApiLimits,
    Dependencies,
    TemporalWebUi,
)
from durable_orders.api.metrics import Metrics
from durable_orders.api.webhook_inbox import Inbox
from durable_orders.binding import BindingCheck
from durable_orders.clients.audits import AuditClient
from durable_orders.clients.connection import connect
from durable_orders.clients.disputes import DisputeClient
from durable_orders.clients.errors import UnreachableError
from durable_orders.clients.order_operations import OrderOperations
from durable_orders.clients.orders import OrderClient
from durable_orders.clients.payment_risks import PaymentRiskClient
from durable_orders.clients.refunds import RefundClient
from durable_orders.clients.update_limiter import UpdateLimiter
from durable_orders.domain.installation import OtherAccountError
from durable_orders.domain.webhooks import EventReader, WebhookSource
from durable_orders.observability.context import current_request
from durable_orders.observability.logging import configure_logging
from durable_orders.process import PROGRAM
from durable_orders.providers.resend.webhooks import ResendEvents
from durable_orders.providers.stripe.account import read_account
from durable_orders.providers.stripe.cards import StripeCards
from durable_orders.providers.stripe.webhooks import StripeEvents
from durable_orders.providers.warehouse.webhooks import WarehouseEvents
from durable_orders.readiness import check_database, check_temporal
from durable_orders.settings import (
    ApiSettings,
    CardSettings,
    SettingsError,
    WebhookSecrets,
    temporal_profile,
)
from durable_orders.stopping import StopSignals
from durable_orders.store import database as store
from durable_orders.store.api_keys import PostgresApiKeyRepository
from durable_orders.store.audit_findings import PostgresFindingRepository
from durable_orders.store.dashboard import PostgresDashboardRepository
from durable_orders.store.disputes import PostgresDisputeRepository
from durable_orders.store.installation import PostgresInstallationRepository
from durable_orders.store.orders import PostgresOrderRepository
from durable_orders.store.payments import PostgresPaymentLedger
from durable_orders.store.refunds import PostgresRefundBook
from durable_orders.store.risk_list import PostgresRiskListRepository
from durable_orders.store.sessions import PostgresSessionRepository
from durable_orders.store.webhook_events import PostgresMailLog, PostgresWebhookEventRepository

log = logging.getLogger("api")


#: Seconds that requests in flight get to finish, and the whole process to end.
_FINISHED_WITHIN: Final = 20
_STOPPED_WITHIN: Final = timedelta(seconds=25)
#: New objects between two garbage collections: a request makes some hundreds, and keeps none.
_COLLECT_AFTER: Final = 10_000


class _Server(uvicorn.Server):
    """Stops on a signal. Uvicorn's own handler raises it again, past our clean-up."""

    def __init__(
        self, config: uvicorn.Config, signals: StopSignals, stopping: Callable[[], None]
    ) -> None:
        super().__init__(config)
        self._signals = signals
        self._stopping = stopping

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets=sockets)
        _spare_collections()
        for listening in sockets or ():
            log.info("ready: http://%s:%s", *listening.getsockname()[:2])

    def stop(self) -> None:
        self._stopping()
        self.should_exit = True

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        self._signals.install(self.stop)
        if self._signals.asked.is_set():
            self.stop()
        yield


def _spare_collections() -> None:
    """Have the garbage collector look at what requests make alone, and less often.

    What was loaded until now stays. A full collection went through all of it, which kept every
    request waiting for a tenth of a second.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(_COLLECT_AFTER, *gc.get_threshold()[1:])


@contextlib.asynccontextmanager
async def composed(settings: ApiSettings, card_settings: CardSettings) -> AsyncIterator[FastAPI]:
    """The application with the database and Temporal; both may be unavailable at first.

    Raises ``OtherAccountError``.
    """
    async with contextlib.AsyncExitStack() as stack:
        database = store.connect(
            settings.database_url.get_secret_value(), pool_size=settings.database_pool_size
        )
        stack.push_async_callback(database.close)
        installations = PostgresInstallationRepository(database)
        # Without Stripe's key everything works but the client secret for 3-D Secure.
        cards = None
        if card_settings.stripe_api_key is not None:
            key = card_settings.stripe_api_key.get_secret_value()
            base = card_settings.stripe_api_base
            check = BindingCheck(partial(read_account, key, api_base=base), installations)
            await check.at_start()
            cards = StripeCards(key, api_base=base, require=check.require)
            stack.push_async_callback(cards.aclose)
        # Lazy: connects at the first call, and tries again at the next one. A customer is waiting:
        # calls give up soon.
        brief = RetryConfig(max_elapsed_time_millis=3_000)
        temporal = await connect(temporal_profile(), lazy=True, retry_config=brief)
        book, limiter = PostgresOrderRepository(database), UpdateLimiter()
        orders = OrderClient(temporal, book, cards=cards, limiter=limiter)
        operations = OrderOperations(temporal, book, limiter=limiter)
        refunds = RefundClient(temporal, PostgresRefundBook(database), limiter=limiter)
        dispute_book = PostgresDisputeRepository(database)
        disputes = DisputeClient(PostgresRiskListRepository(database), book, dispute_book)
        metrics = Metrics()
        inbox = Inbox(
            readers=event_readers(settings),
            events=PostgresWebhookEventRepository(database),
            mails=PostgresMailLog(database),
            payments=PostgresPaymentLedger(database),
            orders=orders,
            refunds=refunds,
            audits=AuditClient(temporal),
            risks=PaymentRiskClient(temporal, PostgresDisputeRepository(database)),
            metrics=metrics,
        )
        await stack.enter_async_context(inbox.at_work())
        yield create_app(
            Dependencies(
                orders=orders,
                operations=operations,
                refunds=refunds,
                disputes=disputes,
                payment_risks=PaymentRiskClient(temporal, dispute_book),
                keys=PostgresApiKeyRepository(database),
                inbox=inbox,
                metrics=metrics,
                limits=ApiLimits(
                    rate_per_minute=settings.api_rate_per_minute,
                    failures_per_minute=settings.api_failures_per_minute,
                    body_bytes=settings.api_max_body_bytes,
                    body_seconds=settings.api_client_timeout_seconds,
                    streams=settings.api_max_streams,
                    streams_per_key=settings.api_max_streams_per_key,
                ),
                allowed_origins=settings.api_allowed_origins,
                allowed_hosts=settings.api_allowed_hosts,
                checks={
                    "Temporal": lambda: check_temporal(temporal),
                    "database": lambda: check_database(database),
                },
                admin=_admin(settings, database, temporal.namespace),
            )
        )


def event_readers(secrets: WebhookSecrets) -> dict[WebhookSource, EventReader]:
    """The verifiers of webhooks, for each source whose secret is set."""
    readers: dict[WebhookSource, EventReader] = {}
    if secret := secrets.stripe_webhook_secret:
        readers[WebhookSource.STRIPE] = StripeEvents(secret.get_secret_value())
    if secret := secrets.fulfillment_webhook_secret:
        readers[WebhookSource.WAREHOUSE] = WarehouseEvents(secret.get_secret_value())
    if secret := secrets.resend_webhook_secret:
        readers[WebhookSource.RESEND] = ResendEvents(secret.get_secret_value())
    return readers


def _admin(
    settings: ApiSettings, database: store.Database, namespace: str
) -> AdminDependencies | None:
    """The dependencies of the admin pages; None: the settings turn them off."""
    if not settings.operator_pages:
        return None
    return AdminDependencies(
        PostgresSessionRepository(database),
        PostgresDashboardRepository(database),
        PostgresFindingRepository(database),
        TemporalWebUi(settings.temporal_ui_url, namespace),
    )


# -- the process -----------------------------------------------------------------------------------


async def _run(settings: ApiSettings, cards: CardSettings, listening: socket.socket) -> None:
    """Serve until SIGTERM or SIGINT, then let requests in flight finish."""
    signals = StopSignals(limit=_STOPPED_WITHIN)
    signals.install()
    async with composed(settings, cards) as app:
        server = _Server(
            uvicorn.Config(
                app,
                log_config=None,
                access_log=False,  # middleware.py logs requests, without addresses and queries
                server_header=False,
                http=limited_protocol(
                    max_connections=affordable_connections(settings.api_max_connections),
                    patience=settings.api_client_timeout_seconds,
                ),
                h11_max_incomplete_event_size=MAX_HEAD_BYTES,
                forwarded_allow_ips=settings.api_trusted_proxies,
                timeout_graceful_shutdown=_FINISHED_WITHIN,
            ),
            signals,
            app.state.streams.stop,  # event streams would not end by themselves
        )
        await server.serve(sockets=[listening])


def find_weakness(major: int, minor: int, micro: int) -> str | None:
    """What is to be said of this version of Python, if anything: the limit of a cookie's length is
    the cure, newer patch releases mend the cause, too.
    """
    fixed = {(3, 11): 10, (3, 12): 6}.get((major, minor), 0)
    if micro >= fixed:
        return None
    return (
        f"Python {major}.{minor}.{micro} has known weaknesses, CVE-2024-7592 among them: use "
        f"{major}.{minor}.{fixed} or newer"
    )


def serve(settings: ApiSettings, cards: CardSettings, listening: socket.socket) -> int:
    """Serve in this process until it is told to stop; its exit code."""
    configure_logging(settings.log_level, settings.log_format, request=current_request)
    if (weakness := find_weakness(*sys.version_info[:3])) is not None:
        log.warning("%s", weakness)
    try:
        asyncio.run(_run(settings, cards, listening))
    except OtherAccountError as error:
        print(error.with_commands(PROGRAM), file=sys.stderr)  # noqa: T201 - as below
        return 1
    except (SettingsError, UnreachableError, store.InvalidDatabaseUrlError) as error:
        print(error, file=sys.stderr)  # noqa: T201 - for the person who started it
        return 1
    return 0
