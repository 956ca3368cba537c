"""Which tests one xdist worker has for itself, for they share what is expensive to begin.

xdist's own marks come to nothing with pytest 9.2: it no longer reads the names that xdist gives.
"""

from __future__ import annotations

from xdist.scheduler import LoadScopeScheduling  # type: ignore[import-untyped]

_MODULES = {
    #: One demo at a time: both want the usual ports.
    "demo": ("e2e/test_demo.py",),
    #: Each of these two has one stage, whose start takes as much as dozens of orders.
    "kills": (
        *("e2e/test_killed_workers.py", "e2e/test_killed_servers.py"),
        *("e2e/test_cancelled.py", "e2e/test_stopping.py"),
    ),
    "lives": (
        *("e2e/test_long_lives.py", "e2e/test_many_orders.py"),
        *("e2e/test_told_by_webhooks.py", "e2e/test_unreliable_neighbours.py"),
    ),
    #: A nursery, and a sandbox's state.
    "processes": (
        *("sandbox_process/test_the_command.py", "sandbox_process/test_the_parts.py"),
        "api/test_process.py",
    ),
    "containers": ("containers/test_testcontainers.py",),
}
_GROUPS = {f"tests/{module}": name for name, modules in _MODULES.items() for module in modules}


class Groups(LoadScopeScheduling):  # type: ignore[misc]
    """As xdist's ``loadgroup``: whoever is idle gets the next test, or the next group."""

    def _split_scope(self, nodeid: str) -> str:
        return _GROUPS.get(nodeid.partition("::")[0], nodeid)
