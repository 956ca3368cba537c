"""Logging: lines with the order's id, for people or as JSON."""

from __future__ import annotations

import asyncio
import json
import logging
import sys
import time
from collections import Counter
from collections.abc import Callable
from contextvars import ContextVar
from datetime import UTC, datetime
from typing import Any, Final, Literal, TextIO

from temporalio.exceptions import ApplicationError

from durable_orders.domain.ids import order_id_of
from durable_orders.domain.texts import escaped, escaped_json
from durable_orders.observability.context import current_order

_MINUTE: Final = 60.0


def configure_logging(
    level: str,
    format: Literal["console", "json"],
    *,
    request: ContextVar[str | None] | None = None,
) -> None:
    """Configure logging to standard error. Each line has its order's id, or "-".

    ``request``: the id of the current request, which each line has too in a process that serves
    requests.
    """

    def add_request(record: logging.LogRecord) -> bool:
        record.request_id = (request.get() if request else None) or "-"
        return True

    handler = _Handler(sys.stderr)
    handler.addFilter(_add_order)
    handler.addFilter(_shorten)
    handler.addFilter(_RepetitionLimit())
    handler.addFilter(add_request)
    ids = ("order_id", "request_id") if request else ("order_id",)
    handler.setFormatter(_Json(ids) if format == "json" else _Console(ids))
    logging.basicConfig(level=level, handlers=[handler], force=True)
    for chatty in ("aiohttp", "stripe", "asyncio", "temporalio.contrib"):
        logging.getLogger(chatty).setLevel(logging.WARNING)
    # The SDK appends its whole context to every message; the order's id is enough.
    from temporalio import activity, workflow  # noqa: PLC0415 - only to turn this off

    activity.logger.activity_info_on_message = False
    workflow.logger.workflow_info_on_message = False


class _Handler(logging.StreamHandler[TextIO]):
    """A handler that breaks nothing of what it logs.

    The standard library takes care of faults in formatters, not in filters. One in the line about a
    failed activity would leave its failure untold and its slot taken for as long as the worker
    lives.
    """

    def handle(self, record: logging.LogRecord) -> bool:
        try:
            return super().handle(record)
        except Exception:  # noqa: BLE001 - whatever it is, as with formatters
            self.handleError(record)
            return False


def _add_order(record: logging.LogRecord) -> bool:
    context = getattr(record, "temporal_workflow", None) or getattr(
        record, "temporal_activity", None
    )
    # None for an activity that no workflow has asked for.
    workflow_id = context.get("workflow_id") if isinstance(context, dict) else None
    record.order_id = order_id_of(workflow_id or "") or current_order.get() or "-"
    return True


def _shorten(record: logging.LogRecord) -> bool:
    """Shorten a failed activity's error to one line: its traceback tells nothing."""
    error = record.exc_info[1] if record.exc_info else None
    activity_type = getattr(record, "temporal_activity", {}).get("activity_type", "")
    if isinstance(error, ApplicationError):
        record.msg, record.args = f"{activity_type} failed: {error}", ()
        record.exc_info = None
    elif isinstance(error, asyncio.CancelledError) and activity_type:
        record.msg, record.args = f"{activity_type} was cut off: it took too long", ()
        record.exc_info = None
    elif isinstance(error, ConnectionError) and record.name == "asyncio":
        # asyncpg's, of a connection that was lost after we had given up opening it.
        record.levelno, record.levelname = logging.WARNING, "WARNING"
        record.msg, record.args = f"a connection was lost that nobody waited for: {error}", ()
        record.exc_info = None
    return True


class _RepetitionLimit:
    """Filter: of what strangers can cause as often as they like, so many lines a minute."""

    #: What a client sends, and connections that cannot be accepted.
    _LOGGERS: Final = frozenset({"asyncio", "uvicorn.error", "durable_orders.api.connections"})
    _PER_MINUTE: Final = 10
    _MAX_NAMES: Final = 100

    def __init__(self, now: Callable[[], float] = time.monotonic) -> None:
        self._now = now
        self._since = now()
        self._counts: Counter[tuple[str, str]] = Counter()

    def filter(self, record: logging.LogRecord) -> bool:
        if record.name not in self._LOGGERS:
            return True
        now = self._now()
        if now - self._since >= _MINUTE or len(self._counts) >= self._MAX_NAMES:
            self._counts.clear()
            self._since = now
        line = (record.name, str(record.msg)[:100])
        self._counts[line] += 1
        if self._counts[line] == self._PER_MINUTE:
            record.msg = f"{record.msg} (more of these in this minute are not logged)"
        return self._counts[line] <= self._PER_MINUTE


class _Console(logging.Formatter):
    def __init__(self, ids: tuple[str, ...]) -> None:
        columns = " ".join(f"%({name})-12s" for name in ids)
        super().__init__(f"%(asctime)s %(levelname)-7s {columns} %(name)s: %(message)s")

    def formatMessage(self, record: logging.LogRecord) -> str:  # noqa: N802 - logging's name
        """The line without its traceback: one line, whatever a neighbour has said."""
        return escaped(super().formatMessage(record))

    def formatException(self, ei: Any) -> str:  # noqa: N802 - logging's name
        return "\n".join(map(escaped, super().formatException(ei).splitlines()))


class _Json(logging.Formatter):
    def __init__(self, ids: tuple[str, ...]) -> None:
        super().__init__()
        self._ids = ids

    def format(self, record: logging.LogRecord) -> str:
        line = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(),
            "level": record.levelname,
            **{name: getattr(record, name, "-") for name in self._ids},
            "logger": record.name,
            "message": record.getMessage(),
        }
        if record.exc_info:
            line["exception"] = self.formatException(record.exc_info)
        return escaped_json(json.dumps(line, ensure_ascii=False))
