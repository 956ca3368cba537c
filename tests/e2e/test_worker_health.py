"""A worker keeps a file fresh while it can work, and removes it at its end."""

from pathlib import Path

from demo.environment import DemoEnvironment
from tests.support.eventually import eventually


async def test_a_worker_touches_its_file_while_it_can_work(
    environment: DemoEnvironment, tmp_path: Path
) -> None:
    file = tmp_path / "healthy"
    worker = await environment.start_worker(WORKER_HEALTH_FILE=str(file))

    async def is_there() -> bool:
        return file.exists()

    await eventually(is_there, within=40)
    assert "ready: working" in worker.log
    first = file.stat().st_mtime_ns

    async def is_touched_again() -> bool:
        return file.stat().st_mtime_ns > first

    await eventually(is_touched_again, within=40)
    await worker.stop()
    assert not file.exists()
