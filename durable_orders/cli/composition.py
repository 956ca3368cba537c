"""The clients and stores that commands use, put together; errors become sentences and exit codes.

Commands load this when they are carried out: it loads the SDKs of Temporal and PostgreSQL, which
takes longer than to print a help.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import shlex
import shutil
import signal
import sysconfig
import threading
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine
from dataclasses import dataclass
from functools import partial
from typing import Any, Final, TypeVar

from temporalio.client import WorkflowFailureError
from temporalio.envconfig import ClientConfigProfile
from temporalio.service import RetryConfig

from durable_orders.binding import BindingCheck
from durable_orders.cli.terminal import (
    DATABASE_HINT,
    REFUSED,
    UNREACHABLE,
    USED_WRONGLY,
    say,
    stop,
)
from durable_orders.clients.audits import AuditClient
from durable_orders.clients.connection import connect
from durable_orders.clients.disputes import DisputeClient
from durable_orders.clients.errors import (
    NoCardsError,
    NotStartedError,
    OrderClientError,
    StrandedError,
    UnreachableError,
)
from durable_orders.clients.order_operations import OrderOperations
from durable_orders.clients.orders import OrderClient
from durable_orders.clients.payment_risks import PaymentRiskClient
from durable_orders.clients.refunds import RefundClient
from durable_orders.domain.audit.messages import NoFindingError, NothingToAcknowledgeError
from durable_orders.domain.audit.ports import FindingRepository
from durable_orders.domain.disputes.ports import PaymentRiskReader
from durable_orders.domain.installation import OtherAccountError
from durable_orders.domain.operators.api_keys import KeyNameTakenError, NoSuchKeyError
from durable_orders.domain.order import InvalidOrderError
from durable_orders.domain.ports import (
    Cards,
    InvalidValueError,
    NoSuchOrderError,
    OrderExistsError,
    ProviderError,
)
from durable_orders.domain.texts import InvalidTextError
from durable_orders.process import PROGRAM, executable_word
from durable_orders.settings import (
    CardSettings,
    DatabaseSettings,
    ProcessSettings,
    SettingsError,
    temporal_profile,
)
from durable_orders.store import database as store
from durable_orders.store.api_keys import PostgresApiKeyRepository
from durable_orders.store.audit_findings import PostgresFindingRepository
from durable_orders.store.disputes import PostgresDisputeRepository
from durable_orders.store.installation import PostgresInstallationRepository
from durable_orders.store.orders import PostgresOrderRepository
from durable_orders.store.refunds import PostgresRefundBook
from durable_orders.store.risk_list import PostgresRiskListRepository
from durable_orders.store.sessions import PostgresSessionRepository

T = TypeVar("T")

_REFUSED_ERRORS: Final = (OrderClientError, NoSuchOrderError, InvalidOrderError, OrderExistsError)
_USAGE_ERRORS: Final = (
    *(SettingsError, InvalidTextError, InvalidValueError, NoCardsError),
    store.InvalidDatabaseUrlError,
)
#: A person is waiting: three seconds are enough to say that nobody answers.
_BRIEF: Final = RetryConfig(max_elapsed_time_millis=3_000)
#: Where Temporal's tools look without any setting.
_TEMPORAL_HERE: Final = frozenset({"localhost:7233", "127.0.0.1:7233"})
_MIGRATE: Final = f"{PROGRAM} store migrate"


@dataclass(frozen=True)
class CliContext:
    """What a command may use: the clients, and where a person can look at a run."""

    orders: OrderClient
    operations: OrderOperations
    refunds: RefundClient
    findings: FindingRepository
    disputes: DisputeClient
    payment_risks: PaymentRiskClient
    runs_url: str | None = None

    def say_run_url(self, workflow_id: str) -> None:
        """Say where the Web UI shows the run, if we were told where the Web UI is."""
        if self.runs_url is not None:
            say(f"See its run: {self.runs_url}/{workflow_id}")


def run_command(
    work: Callable[[CliContext], Awaitable[None]], *, lazy: bool, with_cards: bool
) -> None:
    """Do the work, or say in one sentence why not.

    ``lazy``: Temporal need not be there. ``with_cards``: the card provider can be asked too.
    """

    async def run() -> None:
        async with _open_context(lazy=lazy, with_cards=with_cards) as context:
            await work(context)

    try:
        _run_until_done(run())
    except _USAGE_ERRORS as error:
        stop(USED_WRONGLY, str(error))
    except OtherAccountError as error:
        stop(USED_WRONGLY, error.with_commands(PROGRAM))
    except NotStartedError as error:
        stop(REFUSED, str(error), f"{PROGRAM} start {error.order_id}")
    except StrandedError as error:
        stop(REFUSED, error.explanation, error.reset and temporal_command(error.reset))
    except _REFUSED_ERRORS as error:
        stop(REFUSED, str(error))
    except UnreachableError as error:
        stop(UNREACHABLE, str(error))
    except store.MigrationNeededError as error:
        stop(UNREACHABLE, str(error), _MIGRATE)
    except ProviderError as error:
        # Others' words may come with line breaks.
        hint = "" if with_cards else DATABASE_HINT
        stop(UNREACHABLE, " ".join(str(error).split()) + hint)


def run_with_audits(work: Callable[[AuditClient], Awaitable[None]]) -> None:
    """Do the work with the audit's client, or say in one sentence why not."""

    async def run() -> None:
        await work(AuditClient(await connect(temporal_profile(), retry_config=_BRIEF)))

    _audit(run())


def run_with_findings(work: Callable[[PostgresFindingRepository], Awaitable[T]]) -> T:
    """Do the work with the audit's findings, or say in one sentence why not."""

    async def run() -> T:
        async with _database(ProcessSettings.load()) as database:
            return await work(PostgresFindingRepository(database))

    return _audit(run())


def run_with_keys(work: Callable[[PostgresApiKeyRepository], Awaitable[T]]) -> T:
    """Do the work with the API's keys, or say in one sentence why not."""

    return _administer(lambda database: work(PostgresApiKeyRepository(database)))


def run_with_sessions(work: Callable[[PostgresSessionRepository], Awaitable[T]]) -> T:
    """Do the work with the operators' sessions, or say in one sentence why not."""
    return _administer(lambda database: work(PostgresSessionRepository(database)))


def _administer(work: Callable[[store.Database], Awaitable[T]]) -> T:
    async def run() -> T:
        async with _database(DatabaseSettings.load()) as database:
            return await work(database)

    try:
        return asyncio.run(run())
    except (SettingsError, store.InvalidDatabaseUrlError, InvalidTextError) as error:
        stop(USED_WRONGLY, str(error))
    except NoSuchKeyError as error:
        stop(REFUSED, f"{error}. List those that are", f"{PROGRAM} keys list")
    except KeyNameTakenError as error:
        stop(REFUSED, str(error))
    except store.MigrationNeededError as error:
        stop(UNREACHABLE, str(error), _MIGRATE)
    except ProviderError as error:
        stop(UNREACHABLE, " ".join(str(error).split()) + DATABASE_HINT)


def _audit(work: Coroutine[Any, Any, T]) -> T:
    try:
        return _run_until_done(work)
    except (SettingsError, store.InvalidDatabaseUrlError) as error:
        stop(USED_WRONGLY, str(error))
    except NoFindingError as error:
        stop(REFUSED, str(error), f"{PROGRAM} reconcile")
    except (NothingToAcknowledgeError, NoSuchOrderError) as error:
        stop(REFUSED, str(error))
    except WorkflowFailureError as error:
        stop(REFUSED, f"the audit failed: {error.cause}. See its run in the Temporal Web UI")
    except store.MigrationNeededError as error:
        stop(UNREACHABLE, str(error), _MIGRATE)
    except (UnreachableError, ProviderError) as error:
        stop(UNREACHABLE, str(error))


def temporal_command(arguments: str) -> str:
    """A command of Temporal's own command line, for the server and namespace of our settings.

    It reads the environment and the profile file itself, but no ``.env``.
    """
    ours, known = temporal_profile(), ClientConfigProfile.load()
    options = ""
    if ours.address and ours.address not in ({known.address} if known.address else _TEMPORAL_HERE):
        options += f" --address {shlex.quote(ours.address)}"
    if ours.namespace and ours.namespace != (known.namespace or "default"):
        options += f" --namespace {shlex.quote(ours.namespace)}"
    return f"{_temporal_program()} {arguments}{options}"


def _temporal_program() -> str:
    """``temporal``, with its path if it is not on PATH but beside this process's interpreter."""
    beside = os.path.join(sysconfig.get_path("scripts"), "temporal")
    if shutil.which("temporal") is None and os.path.isfile(beside):
        return executable_word(beside)
    return "temporal"


def _run_until_done(work: Coroutine[Any, Any, T]) -> T:
    """Return what the work comes to. On Ctrl-C it is cancelled and awaited first: no call is in
    flight when we leave. Raises ``KeyboardInterrupt`` then.

    Left to ``asyncio.run``, a Ctrl-C can go unheard: one that another thread receives, or that
    comes just before the loop falls asleep, does not wake it. A handler of the loop's own does.
    """

    async def heeding() -> T:
        doing = asyncio.current_task()
        if doing is not None and threading.current_thread() is threading.main_thread():
            with contextlib.suppress(NotImplementedError):  # Windows
                asyncio.get_running_loop().add_signal_handler(signal.SIGINT, doing.cancel)
        return await work

    try:
        return asyncio.run(heeding())
    except asyncio.CancelledError:
        raise KeyboardInterrupt from None


@contextlib.asynccontextmanager
async def _open_context(*, lazy: bool, with_cards: bool) -> AsyncIterator[CliContext]:
    settings = ProcessSettings.load()
    async with contextlib.AsyncExitStack() as stack:
        database = await stack.enter_async_context(_database(settings))
        cards, dispute_reader = _cards(stack, database) if with_cards else (None, None)
        book = PostgresOrderRepository(database)
        dispute_book = PostgresDisputeRepository(database)
        risk_list = PostgresRiskListRepository(database)
        temporal = await connect(temporal_profile(), retry_config=_BRIEF, lazy=lazy)
        ui = settings.temporal_ui_url
        yield CliContext(
            OrderClient(temporal, book, cards=cards),
            OrderOperations(temporal, book),
            RefundClient(temporal, PostgresRefundBook(database)),
            PostgresFindingRepository(database),
            DisputeClient(risk_list, book, dispute_book, dispute_reader),
            PaymentRiskClient(temporal, dispute_book),
            ui and f"{ui}/namespaces/{temporal.namespace}/workflows",
        )


@contextlib.asynccontextmanager
async def _database(settings: DatabaseSettings) -> AsyncIterator[store.Database]:
    database = store.connect(settings.database_url.get_secret_value(), pool_size=1)
    try:
        yield database
    finally:
        await database.close()


def _cards(
    stack: contextlib.AsyncExitStack, database: store.Database
) -> tuple[Cards, PaymentRiskReader] | tuple[None, None]:
    """The card provider and its disputes, if this process has its key."""
    settings = CardSettings.load()
    if settings.stripe_api_key is None:
        return None, None
    # Its SDK takes a third of a second to import, which no other command should cost.
    from durable_orders.providers.stripe.account import read_account  # noqa: PLC0415
    from durable_orders.providers.stripe.cards import StripeCards  # noqa: PLC0415
    from durable_orders.providers.stripe.disputes import StripeDisputes  # noqa: PLC0415

    key, base = settings.stripe_api_key.get_secret_value(), settings.stripe_api_base
    installations = PostgresInstallationRepository(database)
    check = BindingCheck(partial(read_account, key, api_base=base), installations)
    cards = StripeCards(key, api_base=base, require=check.require)
    stack.push_async_callback(cards.aclose)
    return cards, StripeDisputes(cards)
