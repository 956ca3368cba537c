"""Dependencies of the admin pages."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from urllib.parse import quote

from orders.overview import DashboardRepository
from orders.sessions import SessionRepository


@dataclass(frozen=True)
class TemporalWebUi:
    """Links to workflows of our namespace in the Temporal Web UI. ``url`` None: there are none."""

    url: str | None
    namespace: str

    def run_url(self, workflow_id: str) -> str | None:
        """The address of the workflow's page."""
        if self.url is None:
            return None
        namespace, run = quote(self.namespace, safe=""), quote(workflow_id, safe="")
        return f"{self.url.rstrip('/')}/namespaces/{namespace}/workflows/{run}"


@dataclass(frozen=True)
class AdminDependencies:
    """The objects that only the admin pages use."""

    sessions: SessionRepository
    overview: DashboardRepository
    web_ui: TemporalWebUi
    now: Callable[[], datetime] = lambda: datetime.now(UTC)
