"""Logging: one line per event, with the order it belongs to, for people or as JSON."""

from __future__ import annotations

import json
import logging
import sys
from datetime import UTC, datetime
from typing import Literal

from temporalio.exceptions import ApplicationError

from activities.interceptor import current_order
from orders.ids import order_id_of


def set_up(level: str, format: Literal["console", "json"]) -> None:
    """Send all logs to standard error, each line with its order's id ("-" when there is none)."""
    handler = logging.StreamHandler(sys.stderr)
    handler.addFilter(_add_order)
    handler.addFilter(_shorten)
    handler.setFormatter(_Json() if format == "json" else _Console())
    logging.basicConfig(level=level, handlers=[handler], force=True)
    for chatty in ("httpx", "httpcore", "stripe", "asyncio", "temporalio.contrib"):
        logging.getLogger(chatty).setLevel(logging.WARNING)
    # The SDK appends its whole context to every message; the order's id says it in one word.
    from temporalio import activity, workflow  # noqa: PLC0415 - only to turn this off

    activity.logger.activity_info_on_message = False
    workflow.logger.workflow_info_on_message = False


def _add_order(record: logging.LogRecord) -> bool:
    context = getattr(record, "temporal_workflow", None) or getattr(
        record, "temporal_activity", None
    )
    workflow_id = context.get("workflow_id", "") if isinstance(context, dict) else ""
    record.order_id = order_id_of(workflow_id) or current_order.get() or "-"
    return True


def _shorten(record: logging.LogRecord) -> bool:
    """Say a failed activity in a line: where its error was raised tells nothing."""
    error = record.exc_info[1] if record.exc_info else None
    if isinstance(error, ApplicationError):
        activity_type = getattr(record, "temporal_activity", {}).get("activity_type", "")
        record.msg, record.args = f"{activity_type} failed: {error}", ()
        record.exc_info = None
    return True


class _Console(logging.Formatter):
    def __init__(self) -> None:
        super().__init__("%(asctime)s %(levelname)-7s %(order_id)-12s %(name)s: %(message)s")


class _Json(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        line = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(),
            "level": record.levelname,
            "order_id": getattr(record, "order_id", "-"),
            "logger": record.name,
            "message": record.getMessage(),
        }
        if record.exc_info:
            line["exception"] = self.formatException(record.exc_info)
        return json.dumps(line, ensure_ascii=False)
