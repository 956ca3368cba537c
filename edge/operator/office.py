"""What the operator's pages need of the world."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from urllib.parse import quote

from orders.overview import OverviewBook
from orders.sessions import SessionBook


@dataclass(frozen=True)
class WebUi:
    """Where the Temporal Web UI shows the runs of our namespace, if we were told where it is."""

    url: str | None
    namespace: str

    def run(self, workflow_id: str) -> str | None:
        """The page of this run."""
        if self.url is None:
            return None
        namespace, run = quote(self.namespace, safe=""), quote(workflow_id, safe="")
        return f"{self.url.rstrip('/')}/namespaces/{namespace}/workflows/{run}"


@dataclass(frozen=True)
class Office:
    """Everything that only the operator's pages need."""

    sessions: SessionBook
    overview: OverviewBook
    web_ui: WebUi
    now: Callable[[], datetime] = lambda: datetime.now(UTC)
