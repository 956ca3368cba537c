"""`python -m demo`, interrupted or misunderstood.

The whole of it is run by CI, as `make demo`: what it has to say is in ``demo_transcript``.
"""

import asyncio
import os
import signal
import sys
from pathlib import Path

import psutil  # type: ignore[import-untyped]
import pytest

CHECKOUT = Path(__file__).resolve().parents[2]


async def begin(state: Path, *arguments: str) -> asyncio.subprocess.Process:
    return await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "demo",
        *arguments,
        cwd=CHECKOUT,
        env={**os.environ, "DEMO_STATE": str(state)},
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )


@pytest.mark.parametrize(("argument", "code"), [("--help", 0), ("--fast", 2)])
async def test_asked_for_anything_else_it_explains_itself_and_starts_nothing(
    tmp_path: Path, argument: str, code: int
) -> None:
    demo = await begin(tmp_path / "demo", argument)
    async with asyncio.timeout(30):
        output = (await demo.communicate())[0].decode()
    assert demo.returncode == code
    assert output.startswith("usage: python -m demo [-h]")
    assert "starting Temporal" not in output
    assert not (tmp_path / "demo").exists()


async def test_interrupted_it_leaves_nothing_behind(tmp_path: Path) -> None:
    demo = await begin(tmp_path / "demo")
    assert demo.stdout
    seen: list[psutil.Process] = []
    async with asyncio.timeout(120):
        while b"A worker starts" not in (line := await demo.stdout.readline()):
            assert line, "it ended before a worker had started"
        seen = psutil.Process(demo.pid).children(recursive=True)
        demo.send_signal(signal.SIGINT)
        rest = (await demo.communicate())[0].decode()

    assert demo.returncode == 130, rest
    assert "Traceback" not in rest
    assert len(seen) >= 4
    assert not [each for each in seen if each.is_running()]
