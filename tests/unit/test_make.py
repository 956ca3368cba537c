"""What `make` installs for each target: what it needs, in addition to what is there."""

from __future__ import annotations

import ast
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from importlib.metadata import packages_distributions
from pathlib import Path

import pytest

from tests.unit.test_locks import ROOT, pins

RUN = ("demo", "sandbox", "worker", "api", "chaos")
DEV = ("check", "test", "test-containers", "bench", "sbom", "advisories")
OURS = {path.name.removesuffix(".py") for path in ROOT.iterdir()}


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """A checkout in which `make` has never been called."""
    shutil.copy(ROOT / "Makefile", tmp_path)
    shutil.copytree(ROOT / "requirements", tmp_path / "requirements")
    return tmp_path


def done_by(checkout: Path, target: str) -> str:
    """The commands that `make` would run."""
    command = ["make", "--no-print-directory", "--dry-run", target]
    return subprocess.run(command, cwd=checkout, check=True, capture_output=True, text=True).stdout


def has_installed(checkout: Path, *sets: str) -> None:
    """Leave the marks of what `make` has installed, the newest last."""
    (checkout / ".venv").mkdir()
    for name in sets:
        (checkout / ".venv" / f".{name}").touch()


@pytest.mark.parametrize("target", RUN)
def test_what_runs_installs_no_tools_of_developers(checkout: Path, target: str) -> None:
    done = done_by(checkout, target)
    assert "--require-hashes -r requirements/run.txt" in done
    assert "requirements/dev.txt" not in done
    has_installed(checkout, "uv", "run")
    assert "requirements/" not in done_by(checkout, target)


@pytest.mark.parametrize("target", DEV)
def test_what_tests_and_checks_adds_to_that(checkout: Path, target: str) -> None:
    assert "--require-hashes requirements/dev.txt" in done_by(checkout, target)
    has_installed(checkout, "uv", "run")
    added = done_by(checkout, target)
    assert "requirements/dev.txt" in added
    assert "-m venv" not in added


@pytest.mark.parametrize("target", [*RUN, *DEV])
def test_nothing_is_installed_twice(checkout: Path, target: str) -> None:
    has_installed(checkout, "uv", "run", "dev")
    assert "--require-hashes" not in done_by(checkout, target)


def test_locking_needs_uv_alone(checkout: Path) -> None:
    has_installed(checkout, "uv")
    assert "pip install" not in (done := done_by(checkout, "lock"))
    assert "pip sync" not in done


def imported(folders: tuple[str, ...]) -> Iterator[str]:
    """The top-level modules of others that our programs import."""
    sources = [
        *ROOT.glob("*.py"),
        *(path for name in folders for path in ROOT.glob(f"{name}/**/*.py")),
    ]
    for source in sources:
        for node in ast.walk(ast.parse(source.read_text())):
            names = [node.module] if isinstance(node, ast.ImportFrom) and not node.level else []
            names += [each.name for each in node.names] if isinstance(node, ast.Import) else []
            yield from (name.partition(".")[0] for name in names if name)


def test_what_runs_imports_only_what_is_installed_for_it() -> None:
    folders = ("durable_orders", "workflows", "activities", "sandbox", "demo", "chaos")
    modules = set(imported(folders)) - sys.stdlib_module_names - OURS
    assert {"temporalio", "psutil"} <= modules
    locked = pins((ROOT / "requirements/run.txt").read_text())
    providers = packages_distributions()
    missing = {
        module
        for module in modules
        if not {re.sub(r"[_.]", "-", name.lower()) for name in providers[module]} & set(locked)
    }
    assert missing == set()


def test_every_target_is_explained() -> None:
    makefile = (ROOT / "Makefile").read_text()
    targets = set(re.findall(r"^([a-z-]+):", makefile, re.M))
    explained = subprocess.run(
        ["make"], cwd=ROOT, check=True, capture_output=True, text=True
    ).stdout
    assert set(re.findall(r"^  make ([a-z-]+) +\S", explained, re.M)) == targets
    assert {*RUN, *DEV} < targets
