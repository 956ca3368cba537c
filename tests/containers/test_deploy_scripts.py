"""The scripts in deploy/ say what they do, and refuse what they cannot do. No engine is needed."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path
from typing import Final

import pytest

from tests.containers.composed import ROOT

_SCRIPTS: Final = ("backup", "restore", "make-secrets", "rolling-update")
_NO_COMPOSE: Final = (
    "no-such-compose does not work here: install Docker Engine with its Compose plugin"
)


def run(script: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [str(ROOT / "deploy" / script), *arguments],
        env={"PATH": os.environ["PATH"], "COMPOSE": "no-such-compose"},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


@pytest.mark.parametrize("script", _SCRIPTS)
def test_help_says_what_a_script_does(script: str) -> None:
    done = run(script, "--help")
    assert (done.returncode, done.stderr) == (0, "")
    assert f"deploy/{script}" in done.stdout
    assert "#" not in done.stdout
    assert "set -eu" not in done.stdout


@pytest.mark.parametrize("script", _SCRIPTS)
@pytest.mark.parametrize("arguments", [("--force",), ("one", "two")])
def test_other_arguments_are_refused(script: str, arguments: tuple[str, ...]) -> None:
    done = run(script, *arguments)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith(f"usage: deploy/{script}")


@pytest.mark.parametrize("script", ["backup", "restore"])
def test_a_file_has_to_be_named(script: str) -> None:
    assert run(script).stderr == f"usage: deploy/{script} FILE.tar.gz\n"


def test_what_is_not_there_is_not_called_damaged(tmp_path: Path) -> None:
    missing = tmp_path / "missing.tar.gz"
    done = run("restore", str(missing))
    assert done.returncode == 1
    assert done.stderr == f"there is no file {missing}: nothing was changed\n"


def test_without_compose_a_sentence_says_so_and_nothing_is_written(tmp_path: Path) -> None:
    backup = tmp_path / "backup.tar.gz"
    for done in (run("backup", str(backup)), run("rolling-update")):
        assert done.returncode == 1
        assert _NO_COMPOSE in done.stderr
        assert len(done.stderr.splitlines()) == 1
    assert list(tmp_path.iterdir()) == []
    backup.write_bytes(b"a copy")
    assert _NO_COMPOSE in run("restore", str(backup)).stderr
