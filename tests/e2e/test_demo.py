"""`python -m demo`, interrupted or misunderstood.

The whole of it is run by CI, as `make demo`: what it has to say is in ``demo_transcript``.
"""

import asyncio
import json
import os
import shutil
import signal
import sys
from pathlib import Path
from typing import Any

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


@pytest.mark.skipif(shutil.which("curl") is None, reason="there is no curl")
async def test_its_requests_can_be_pasted_while_it_goes_on(tmp_path: Path) -> None:
    demo = await begin(tmp_path / "demo")
    try:
        async with asyncio.timeout(120):
            exports = await line_with(demo, "export API=")
            placing = await line_with(demo, "curl $API/orders -H")
            await line_with(demo, "  201 ")
            checkout = await line_with(demo, "curl $API/checkout")
            await line_with(demo, "order placed")
        placed = await pasted(exports, placing)
        assert (placed["order_id"], placed["total"]["amount"]) == ("1001", 29_00)
        assert (await pasted(exports, checkout))["workflow_id"] == "order-1001"
    finally:
        demo.send_signal(signal.SIGINT)
        await demo.communicate()


async def line_with(demo: asyncio.subprocess.Process, words: str) -> str:
    """The next line that it prints with these words in it."""
    assert demo.stdout
    while words not in (line := (await demo.stdout.readline()).decode()):
        assert line, f"it ended before it printed {words!r}"
    return line


async def pasted(*lines: str) -> Any:
    """The JSON that a shell prints after these lines."""
    shell = await asyncio.create_subprocess_exec(
        *("bash", "-c", "".join(lines)), stdout=asyncio.subprocess.PIPE
    )
    async with asyncio.timeout(30):
        return json.loads((await shell.communicate())[0])


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
