"""Timeouts that a workflow gets from the client that starts it."""

from __future__ import annotations

from datetime import timedelta
from typing import Final

#: A worker that died inside a workflow task blocks that run for this long (default 10 s).
WORKFLOW_TASK: Final = timedelta(seconds=5)
