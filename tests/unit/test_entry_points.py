"""The entry points of worker and API take no arguments, and start nothing when they get any."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Final

import pytest

_CHECKOUT: Final = Path(__file__).resolve().parents[2]


def run(program: str, argument: str) -> subprocess.CompletedProcess[str]:
    # In a directory without settings: what starts all the same ends with 1.
    return subprocess.run(
        [sys.executable, str(_CHECKOUT / program), argument],
        cwd="/",
        env={},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


@pytest.mark.parametrize("program", ["worker.py", "api.py"])
def test_help_says_what_it_is_and_where_its_settings_are(program: str) -> None:
    done = run(program, "--help")
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith(f"usage: {program} [-h]\n")
    assert "docs/operations.md" in done.stdout


@pytest.mark.parametrize("program", ["worker.py", "api.py"])
@pytest.mark.parametrize("argument", ["--port=8081", "start"])
def test_an_argument_is_refused(program: str, argument: str) -> None:
    done = run(program, argument)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.endswith(f"{program}: error: unrecognized arguments: {argument}\n")
