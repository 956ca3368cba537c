"""What runs on one xdist worker, for it shares what is expensive to begin, and in which turn.

xdist's own marks come to nothing with pytest 9.2: it no longer reads the names that xdist gives.
"""

from __future__ import annotations

import pytest
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
    #: A sandbox's state, which one after the other uses.
    "sandboxes": ("sandbox_process/test_the_command.py", "sandbox_process/test_the_parts.py"),
    "containers": ("containers/test_testcontainers.py",),
}
_GROUPS = {f"tests/{module}": name for name, modules in _MODULES.items() for module in modules}


#: Where the longest tests are: what is left at the end of a run is to be short.
_FIRST = (
    *("e2e/", "bench/", "sandbox_process/", "workflows/", "client/", "api/", "store/"),
    *("containers/test_image", "contracts/", "containers/", "sandbox/"),
    *("unit/test_docs", "unit/test_reconciliation", "unit/test_refunds"),
    *("unit/test_charging", "unit/test_terms", "unit/test_money"),
)


def turn(nodeid: str) -> int:
    """By this tests are sorted."""
    path = nodeid.removeprefix("tests/")
    turns = (turn for turn, first in enumerate(_FIRST) if path.startswith(first))
    return next(turns, len(_FIRST))


class Groups(LoadScopeScheduling):  # type: ignore[misc]
    """Whoever is idle gets the next group of modules, or the next module: in their turn, and not
    those with the most tests first.
    """

    def __init__(self, config: pytest.Config, log: object) -> None:
        config.option.loadscopereorder = False
        super().__init__(config, log)

    def _split_scope(self, nodeid: str) -> str:
        module = nodeid.partition("::")[0]
        return _GROUPS.get(module, module)
