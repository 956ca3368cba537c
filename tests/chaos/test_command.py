"""`python -m chaos`: its arguments, its schedule, and what it refuses."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


def chaos(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "chaos", *arguments]
    return subprocess.run(command, cwd=ROOT, check=False, capture_output=True, text=True)


def test_help_explains_the_arguments_and_the_exit_codes() -> None:
    told = chaos("--help")

    assert told.returncode == 0
    for word in ("--orders", "--seed", "--capture", "--plan", "Exit codes"):
        assert word in told.stdout


def test_a_plan_is_printed_and_not_run() -> None:
    first, again = chaos("--plan", "--seed", "3"), chaos("--plan", "--seed", "3")

    assert first.returncode == 0
    assert first.stdout == again.stdout
    assert first.stdout.splitlines()[-1].startswith("seed 3, schedule ")


@pytest.mark.parametrize(
    "wrong",
    [
        ("--orders", "0"),
        ("--orders", "many"),
        ("--seed", "-1"),
        ("--capture", "never"),
        ("--rate", "0"),
        ("--rate", "nan"),
        ("--workers", "99"),
    ],
)
def test_what_makes_no_run_is_refused_with_a_sentence(wrong: tuple[str, str]) -> None:
    told = chaos("--plan", *wrong)

    assert told.returncode == 2
    assert f"argument {wrong[0]}" in told.stderr
    assert "Traceback" not in told.stderr
