"""What is loaded or started once for all of xdist's workers: while the tests are collected, when
there is nothing else to do. Without xdist, the fixture that needs it opens it.

pytest's own process loads this module. It runs no test, so it loads nothing that is slow to load.
"""

from __future__ import annotations

import shlex
import sys
from collections.abc import Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from itertools import count
from pathlib import Path
from typing import Any, Final, TypedDict

import pytest

from tests.beside import beside

_PREFORK: Final = Path(__file__).with_name("prefork_process.py")
#: A session's runs on Temporal are apart by these: an audit, for one, looks at every run there is.
NAMESPACES: Final = ("orders", "real", "skipping", "audits", "replayed")
#: xdist replaces a worker that dies.
_SPARE_SESSIONS: Final = 4

_shared = pytest.StashKey["Shared"]()
_sessions = count()


class Shared(TypedDict):
    """What one of the workers is told: two addresses, and its number."""

    servers: str
    nursery: str
    session: int


def namespace(kind: str, session: int) -> str:
    return f"{kind}-{session}"


def open_nursery() -> AbstractContextManager[str]:
    """The address of a process that forks our programs: see ``tests/nursery.py``."""
    return beside("-m", "tests.nursery_process")


def open_servers(sessions: int = 1) -> AbstractContextManager[str]:
    """The address of a process that runs the servers: see ``tests/servers.py``."""
    namespaces = [namespace(kind, session) for session in range(sessions) for kind in NAMESPACES]
    return beside("-m", "tests.servers_process", *namespaces)


@contextmanager
def forked(specs: list[Any], collected: list[str]) -> Iterator[None]:
    """Have these workers of xdist's forked from a process that has loaded and collected all tests;
    eight that do so are an eighth of all that a run does. ``specs`` are execnet's.
    """
    collect = beside(_PREFORK, "collect", *collected, directory=None, hears_ctrl_c=True)
    with collect as address:
        command = shlex.join([sys.executable, "-S", str(_PREFORK), "join", address])
        specs[:] = [type(spec)(f"{spec}//python={command}") for spec in specs]
        yield


def share(config: pytest.Config, specs: list[Any]) -> None:
    """Open it all, until pytest ends."""
    opened = ExitStack()
    config.add_cleanup(opened.close)
    servers = opened.enter_context(open_servers(len(specs) + _SPARE_SESSIONS))
    nursery = opened.enter_context(open_nursery())
    config.stash[_shared] = Shared(servers=servers, nursery=nursery, session=0)
    opened.enter_context(forked(specs, config.args))  # ends first: the workers use the others


def tell(config: pytest.Config, worker: dict[str, Any]) -> None:
    """Let a worker know of it."""
    if shared := config.stash.get(_shared, None):
        worker["shared"] = {**shared, "session": next(_sessions)}
