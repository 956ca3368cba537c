"""The measurement measures: every part of it once, on real processes."""

import asyncio
import json
import os
import sys
from pathlib import Path
from typing import Any

import psutil  # type: ignore[import-untyped]

CHECKOUT = Path(__file__).resolve().parents[2]


async def test_a_small_run_measures_everything_and_leaves_nothing_behind(tmp_path: Path) -> None:
    said, figures = await measured(
        tmp_path,
        *("--orders", "2", "--in-flight", "4", "--load", "5", "--kills", "1"),
        *("--checkouts", "8", "--edge-processes", "1"),
    )

    assert "one charge, one parcel and one mail each" in said
    for heading in ("Orders", "Yardstick", "Ratio", "Recovery after", "One at a time", "4 in flig"):
        assert heading in said
    assert len(figures["alone"]["orders"]) == len(figures["alone"]["yardstick"]) == 2
    assert [load["orders"]["done"] for load in figures["loads"]] == [5]
    assert len(figures["recovery"]["orders"]) == len(figures["recovery"]["yardstick"]) == 1

    assert "every order checked out has one run" in said
    [press] = figures["edge"]
    edge, nothing = press["edge"], press["nothing"]
    assert press["processes"] == 1
    assert len(edge["took"]) == 8
    assert edge["refused"] == nothing["refused"] == 0
    assert min(edge["cpu"]["worker"], nothing["cpu"]["worker"], edge["cpu"]["load"]) > 0


async def measured(directory: Path, *arguments: str) -> tuple[str, dict[str, Any]]:
    """What a run said, and its figures; it left no process behind."""
    figures = directory / "figures.json"
    bench = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "bench", *arguments, "--json", str(figures)),
        cwd=CHECKOUT,
        env={**os.environ, "TMPDIR": str(directory)},
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    output, _ = await bench.communicate()
    assert bench.returncode == 0, output.decode()
    assert not [process for process in psutil.process_iter() if _works_in(directory, process)]
    return output.decode(), json.loads(figures.read_text())


def _works_in(directory: Path, process: psutil.Process) -> bool:
    try:
        return str(directory / "durable-orders") in " ".join(process.cmdline())
    except psutil.Error:
        return False
