"""How long a process may take to stop: once nothing is under way any more, and in all."""

from __future__ import annotations

import subprocess
import sys
from typing import Final

import pytest

from durable_orders.stopping import CUT_OFF

#: Asks itself to stop; is busy for a while, and ends some time after that.
_PROGRAM: Final = """
import asyncio, os, signal, sys, time
from datetime import timedelta
from durable_orders.stopping import StopSignals

busy, after, limit, busy_limit = map(float, sys.argv[1:])

async def main():
    began = time.monotonic()
    signals = StopSignals(
        limit=timedelta(seconds=limit),
        busy_limit=timedelta(seconds=busy_limit),
        is_busy=lambda: time.monotonic() - began < busy,
    )
    signals.install()
    os.kill(os.getpid(), signal.SIGTERM)
    await signals.asked.wait()
    await asyncio.sleep(busy + after)

asyncio.run(main())
"""


@pytest.mark.parametrize(
    ("busy", "after", "limit", "busy_limit", "code"),
    [
        (0, 0.2, 30, 60, 0),
        (3, 0.5, 2.5, 60, 0),  # it tells what became of its last activity
        (0, 60, 0.5, 60, CUT_OFF),
        (1, 60, 0.5, 60, CUT_OFF),
        (60, 60, 0.5, 1.5, CUT_OFF),
    ],
)
def test_what_was_busy_has_its_time_to_stop_from_then_on(
    busy: float, after: float, limit: float, busy_limit: float, code: int
) -> None:
    arguments = [str(number) for number in (busy, after, limit, busy_limit)]
    done = subprocess.run([sys.executable, "-c", _PROGRAM, *arguments], timeout=50, check=False)
    assert done.returncode == code
