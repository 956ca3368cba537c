"""The order and the request that the current task works for; each line of a log names them."""

from __future__ import annotations

from contextvars import ContextVar

#: The order that an activity works for.
current_order: ContextVar[str | None] = ContextVar("current_order", default=None)

#: The id of the request that is being answered.
current_request: ContextVar[str | None] = ContextVar("current_request", default=None)
