"""What a worker runs it collects when it comes to it, module by module.

Which tests there are is known before the workers are forked (``tests/prefork_process.py``). If each
of the eight collects them all once more, that is a twentieth of all that a run does.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Final

import pytest

#: The names of all tests, in their turn, in a process that is forked after it has collected them.
_known: Final[list[str]] = []

#: What makes a worker run others than those, or in another turn.
_CHOOSING: Final = (
    *("keyword", "markexpr", "deselect", "ignore", "ignore_glob", "lf", "failedfirst", "newfirst"),
    *("stepwise", "inifilename", "rootdir", "confcutdir", "pyargs", "keepduplicates"),
)


def remember(items: list[pytest.Item]) -> None:
    """Keep the names of what was collected, for the processes that are forked from this one."""
    _known[:] = [item.nodeid for item in items]


@dataclass(frozen=True)
class _Name:
    nodeid: str


class _Later(Sequence[Any]):
    """A session's items. xdist reads all their names once, and then takes one after the other."""

    def __init__(self, session: pytest.Session) -> None:
        self._session = session
        self._files = {file.nodeid: file for file in _files(session)}
        self._collected: dict[str, pytest.Item] = {}

    def __len__(self) -> int:
        return len(_known)

    def __iter__(self) -> Iterator[_Name]:
        return map(_Name, _known)

    def __getitem__(self, at: Any) -> Any:
        name = _known[at]
        if name not in self._collected:
            session = self._session
            items = list(session.genitems(self._files[name.partition("::")[0]]))
            config = session.config
            config.hook.pytest_collection_modifyitems(session=session, config=config, items=items)
            self._collected |= {item.nodeid: item for item in items}
        return self._collected[name]


def _files(session: pytest.Session) -> Iterator[pytest.Collector]:
    """The files with tests: nothing of them is loaded, but every ``conftest.py`` on the way is."""
    root = session.config.rootpath
    waiting = [session.ihook.pytest_collect_directory(path=root, parent=session)]
    while waiting:
        node = waiting.pop()
        if isinstance(node, pytest.Directory):
            report = node.ihook.pytest_make_collect_report(collector=node)
            waiting += [child for child in report.result if child is not None]
        else:
            yield node


def collect(session: pytest.Session) -> bool:
    """Whether all is done that collecting has to do. Not where others are to run than are known:
    nothing is then.
    """
    config = session.config
    chosen = any(config.getoption(option, None) for option in _CHOOSING)
    if not _known or chosen or not hasattr(config, "workerinput"):
        return False
    session.items = _Later(session)  # type: ignore[assignment]
    session.testscollected = len(_known)
    config.hook.pytest_collection_finish(session=session)
    return True
