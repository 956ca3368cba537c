"""How tests are run. The first of xdist's processes runs none, and loads nothing that is slow."""

import os
import shutil
import tempfile
from importlib import import_module
from typing import Any

import pytest

from tests import later
from tests.groups import Groups, turn
from tests.in_memory import in_memory
from tests.shared import share, tell

# Nearly everything here speaks plain HTTP to this machine, but every HTTP client, of the tests' and
# of the processes they start, would first load the certificates of the world: a tenth of a second
# each. Stripe's SDK brings its own and goes on using them.
os.environ.pop("SSL_CERT_FILE", None)
os.environ["SSL_CERT_DIR"] = tempfile.gettempdir()

# Sandboxes run beside each other: what their Temporal would do in parallel, they do already. They
# do not live long enough to have much garbage.
os.environ.setdefault("GOMAXPROCS", "1")
os.environ.setdefault("GOGC", "300")


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--record-histories",
        action="store_true",
        help="write the histories that test_replay.py compares with anew",
    )


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    items.sort(key=lambda item: turn(item.nodeid))


def pytest_collection(session: pytest.Session) -> bool | None:
    return later.collect(session) or None


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: object) -> Groups | None:
    return Groups(config, log) if config.getvalue("dist") == "loadgroup" else None


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_setupnodes(config: pytest.Config, specs: list[Any]) -> None:
    if all(spec.popen and not spec.python for spec in specs):
        share(config, specs)


@pytest.hookimpl(optionalhook=True)
def pytest_configure_node(node: Any) -> None:
    tell(node.config, node.workerinput)


_own_basetemp = pytest.StashKey[str]()


def pytest_configure(config: pytest.Config) -> None:
    if hasattr(config, "workerinput") or not _has_workers(config):
        config.pluginmanager.register(import_module("tests.fixtures"))
    _keep_temporary_files_apart(config)


def _has_workers(config: pytest.Config) -> bool:
    return config.getoption("dist", "no") != "no" and not config.option.collectonly


def _keep_temporary_files_apart(config: pytest.Config) -> None:
    """As root, keep temporary files out of the directory that all of root's pytest runs share.

    PostgreSQL then runs as another user, who has to pass through; and every run that starts
    closes the shared directory again, under the feet of those that are at work.
    """
    if os.geteuid() == 0 and not config.option.basetemp:
        config.stash[_own_basetemp] = config.option.basetemp = tempfile.mkdtemp(
            prefix="orders-", dir=in_memory()
        )


def pytest_unconfigure(config: pytest.Config) -> None:
    if directory := config.stash.get(_own_basetemp, None):
        shutil.rmtree(directory, ignore_errors=True)
