"""The measurement measures: every part of it once, on real processes."""

import asyncio
import json
import os
import sys
from pathlib import Path

import psutil  # type: ignore[import-untyped]

CHECKOUT = Path(__file__).resolve().parents[2]

SMALL = ("--orders", "2", "--in-flight", "4", "--load", "5", "--kills", "1")


async def test_a_small_run_measures_everything_and_leaves_nothing_behind(tmp_path: Path) -> None:
    figures = tmp_path / "figures.json"
    bench = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "bench", *SMALL, "--json", str(figures)),
        cwd=CHECKOUT,
        env={**os.environ, "TMPDIR": str(tmp_path)},
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    output, _ = await bench.communicate()
    said = output.decode()

    assert bench.returncode == 0, said
    assert "one charge, one parcel and one mail each" in said
    for heading in ("Orders", "Yardstick", "Ratio", "Recovery after", "One at a time", "4 in flig"):
        assert heading in said
    measured = json.loads(figures.read_text())
    assert len(measured["alone"]["orders"]) == len(measured["alone"]["yardstick"]) == 2
    assert [load["orders"]["done"] for load in measured["loads"]] == [5]
    assert len(measured["recovery"]["orders"]) == len(measured["recovery"]["yardstick"]) == 1
    assert not [process for process in psutil.process_iter() if _works_in(tmp_path, process)]


def _works_in(directory: Path, process: psutil.Process) -> bool:
    try:
        return str(directory / "durable-orders") in " ".join(process.cmdline())
    except psutil.Error:
        return False
