"""Ends the long pauses of tries at a neighbour that has just answered another order.

A step that keeps failing is tried up to ten minutes apart, so that an outage is no storm. When the
neighbour is back, whoever asks it next hears it first: a new order, or one whose pause is over. The
worker remembers which of its tries wait for that neighbour, and has Temporal schedule them at once
(``ResetActivity``), a few at a time. That is no event of a history and no command of a workflow.
What a worker remembers dies with it: then the pause is waited out.

Only tries without an end are reset, for a reset counts them from one again.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping
from datetime import timedelta
from typing import Final

from temporalio import activity
from temporalio.api.common.v1 import WorkflowExecution
from temporalio.api.workflowservice.v1 import ResetActivityRequest
from temporalio.client import Client
from temporalio.service import RPCError, RPCStatusCode

from durable_orders.domain.ports import DatabaseAwayError, NoAnswerError, ProviderError

log = logging.getLogger(__name__)

#: Pauses from this long on are ended; a shorter one is over before that.
_LONG: Final = timedelta(seconds=15)
#: Tries that are remembered of each neighbour; further ones wait their pause out.
_MOST: Final = 1_000
_AT_A_TIME: Final = 5
_CALL: Final = timedelta(seconds=10)

_CARDS, _WAREHOUSE, _MAIL, _DATABASE = "cards", "warehouse", "mail", "database"

#: Whom each activity asks, besides the database.
NEIGHBOUR: Final[Mapping[str, str]] = {
    "charge_card": _CARDS,
    "check_payment": _CARDS,
    "capture_payment": _CARDS,
    "refund_card": _CARDS,
    "issue_refund": _CARDS,
    "check_refund": _CARDS,
    "review_payment_risks": _CARDS,
    "fulfill_order": _WAREHOUSE,
    "cancel_fulfillment": _WAREHOUSE,
    "read_fulfillment": _WAREHOUSE,
    "resend_parcel": _WAREHOUSE,
    "send_confirmation_email": _MAIL,
    "send_closing_email": _MAIL,
    "send_payment_request_email": _MAIL,
    "send_shipped_email": _MAIL,
    "send_refund_email": _MAIL,
    "send_approval_reminder": _MAIL,
    "send_refund_approval_reminder": _MAIL,
    "send_dispute_reminder": _MAIL,
}

_Try = tuple[str, str, str]


class BackoffReset:
    """The tries of this worker that wait for a neighbour; see the module."""

    def __init__(self) -> None:
        self._waiting: dict[str, dict[_Try, None]] = {}
        self._resetting: set[asyncio.Task[None]] = set()
        self._few = asyncio.Semaphore(_AT_A_TIME)

    def began(self, info: activity.Info) -> None:
        """A try has begun: it waits no more."""
        for waiting in self._waiting.values():
            waiting.pop(_try_of(info), None)

    def failed(self, info: activity.Info, error: ProviderError) -> None:
        """A try got no answer: remember it, if it is to wait for long. A neighbour that says itself
        how long to wait is waited for.
        """
        is_silence = isinstance(error, NoAnswerError) and error.retry_after is None
        neighbour = NEIGHBOUR.get(info.activity_type)
        if isinstance(error, DatabaseAwayError):
            neighbour = _DATABASE
        if not is_silence or neighbour is None or _pause_after(info) < _LONG:
            return
        waiting = self._waiting.setdefault(neighbour, {})
        if len(waiting) < _MOST:
            waiting[_try_of(info)] = None

    def answered(self, info: activity.Info) -> None:
        """A neighbour has answered this activity: have those tried now that wait for it."""
        for neighbour in (_DATABASE, NEIGHBOUR.get(info.activity_type, "")):
            for waiting in self._waiting.pop(neighbour, {}):
                task = asyncio.create_task(self._reset(waiting, activity.client()))
                self._resetting.add(task)
                task.add_done_callback(self._resetting.discard)

    async def _reset(self, waiting: _Try, client: Client) -> None:
        workflow_id, run_id, activity_id = waiting
        request = ResetActivityRequest(
            namespace=client.namespace,
            execution=WorkflowExecution(workflow_id=workflow_id, run_id=run_id),
            identity=client.identity,
            id=activity_id,
        )
        async with self._few:
            try:
                await client.workflow_service.reset_activity(request, timeout=_CALL)
            except RPCError as error:
                # It has gone on, or the server cannot do that: then the pause is waited out.
                level = logging.DEBUG if error.status is RPCStatusCode.NOT_FOUND else logging.INFO
                log.log(level, "the pause of %s is not ended: %s", activity_id, error)


def _try_of(info: activity.Info) -> _Try:
    return info.workflow_id or "", info.workflow_run_id or "", info.activity_id


def _pause_after(info: activity.Info) -> timedelta:
    """How long the server waits after this try; zero where the tries are counted."""
    policy = info.retry_policy
    if info.is_local or policy is None or policy.maximum_attempts:
        return timedelta(0)
    pause = policy.initial_interval * policy.backoff_coefficient ** min(info.attempt - 1, 30)
    return min(pause, policy.maximum_interval or pause)
