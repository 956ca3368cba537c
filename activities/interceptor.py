"""Activity interceptor: the origin of each activity, heartbeats, the mapping of errors, the end of
long pauses, the order's id for the log.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator
from datetime import timedelta
from typing import Any, Final

from temporalio import activity
from temporalio.exceptions import ApplicationError
from temporalio.worker import ActivityInboundInterceptor, ExecuteActivityInput, Interceptor

from activities.backoff_reset import BackoffReset
from activities.error_types import (
    BUSY,
    DATABASE_AWAY,
    LOCKED_OUT,
    NO_ANSWER,
    NOT_FROM_ITS_RUN,
    REFUSED,
)
from activities.origins import find_stray
from durable_orders.contracts.error_types import NO_SUCH_ORDER
from durable_orders.domain.ids import order_id_of
from durable_orders.domain.ports import (
    BusyError,
    DatabaseAwayError,
    IllegalStatusError,
    LockedOutError,
    NoAnswerError,
    NoSuchOrderError,
    ProviderError,
)
from durable_orders.observability.context import current_order

log = logging.getLogger(__name__)

#: A wrong key is mended by an operator: there is no point in retrying every second.
_LOCKED_OUT_DELAY: Final = timedelta(seconds=30)


_running: set[object] = set()


def is_activity_running() -> bool:
    """Whether an activity, or what one has handed over, is under way in this process."""
    return bool(_running)


def hold_open(work: asyncio.Task[Any]) -> None:
    """Take this for an activity that is under way, until it is done."""
    _running.add(work)
    work.add_done_callback(_running.discard)


async def wait_until_idle() -> None:
    """Wait for what activities have handed over; the worker itself waits for the activities."""
    if handed_over := [work for work in _running if isinstance(work, asyncio.Task)]:
        await asyncio.wait(handed_over)


class ActivityInterceptor(Interceptor):
    """Installed once on the worker; see ``_Inbound``."""

    def __init__(self) -> None:
        self._backoff = BackoffReset()

    def intercept_activity(self, next: ActivityInboundInterceptor) -> ActivityInboundInterceptor:
        return _Inbound(next, self._backoff)


class _Inbound(ActivityInboundInterceptor):
    def __init__(self, next: ActivityInboundInterceptor, backoff: BackoffReset) -> None:
        super().__init__(next)
        self._backoff = backoff

    async def execute_activity(self, input: ExecuteActivityInput) -> Any:
        if (stray := find_stray(activity.info(), input.args)) is not None:
            log.warning("%s", stray)
            raise ApplicationError(stray, type=NOT_FROM_ITS_RUN, non_retryable=True)
        workflow_id = activity.info().workflow_id or ""
        token = current_order.set(order_id_of(workflow_id))
        this = object()
        _running.add(this)
        self._backoff.began(activity.info())
        try:
            async with _heartbeating():
                answer = await super().execute_activity(input)
            self._backoff.answered(activity.info())
            return answer  # noqa: TRY300 - what follows are failures of the activity alone
        except ProviderError as error:
            self._backoff.failed(activity.info(), error)
            raise _to_application_error(error) from None
        except NoSuchOrderError as error:
            raise ApplicationError(str(error), type=NO_SUCH_ORDER, non_retryable=True) from None
        except IllegalStatusError as error:
            raise ApplicationError(str(error), type=REFUSED, non_retryable=True) from None
        except asyncio.CancelledError:
            if not _stopped_by_worker():
                raise
            why = BusyError("this worker stopped before there was an answer: the next one asks")
            raise _to_application_error(why) from None
        finally:
            _running.discard(this)
            current_order.reset(token)


def _to_application_error(error: ProviderError) -> ApplicationError:
    """The error for Temporal: retried, retried later, or not retried.

    Raised without its cause: what other libraries put into their errors (whole rows, addresses)
    would be kept in workflow history. The log has it.
    """
    log.debug("the cause of the failure below", exc_info=error)
    attempt = activity.info().attempt
    match error:
        case BusyError():
            delay = error.retry_after
            return ApplicationError(str(error), attempt, type=BUSY, next_retry_delay=delay)
        case LockedOutError():
            delay = error.retry_after or _LOCKED_OUT_DELAY
            return ApplicationError(str(error), attempt, type=LOCKED_OUT, next_retry_delay=delay)
        case DatabaseAwayError():
            return ApplicationError(str(error), attempt, type=DATABASE_AWAY)
        case NoAnswerError():
            return ApplicationError(str(error), type=NO_ANSWER, next_retry_delay=error.retry_after)
        case _:
            return ApplicationError(str(error), type=REFUSED, non_retryable=True)


def _stopped_by_worker() -> bool:
    """Whether the activity was cancelled because its worker stops, not because the order does."""
    details = activity.cancellation_details()
    return details is not None and details.worker_shutdown


@contextlib.asynccontextmanager
async def _heartbeating() -> AsyncIterator[None]:
    """Send three heartbeats per heartbeat timeout while the activity runs.

    By the heartbeats the server notices a dead worker within seconds, and with them a cancellation
    reaches a running activity. An activity shorter than the first interval sends none.
    """
    timeout = activity.info().heartbeat_timeout
    if not timeout:
        yield
        return
    heartbeats = asyncio.create_task(_send_heartbeats(timeout.total_seconds() / 3))
    try:
        yield
    finally:
        heartbeats.cancel()


async def _send_heartbeats(interval: float) -> None:
    while True:
        await asyncio.sleep(interval)
        activity.heartbeat()
