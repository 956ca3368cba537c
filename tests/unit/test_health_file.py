"""A process without a port touches a file while it can work."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import pytest

from durable_orders.observability.health_file import kept_fresh as kept_fresh_slowly
from tests.support.eventually import eventually

kept_fresh = partial(kept_fresh_slowly, every=0.01, again=0.01)


class Part:
    """Something the process needs; ``wrong`` is what is wrong with it."""

    def __init__(self) -> None:
        self.wrong: str | None = None
        self.asked = 0

    async def check(self) -> str | None:
        self.asked += 1
        return self.wrong


async def is_asked_again(part: Part) -> None:
    before = part.asked

    async def is_asked_twice() -> bool:
        return part.asked >= before + 2

    await eventually(is_asked_twice)


async def test_the_file_is_fresh_while_everything_is_well_and_gone_at_the_end(
    tmp_path: Path,
) -> None:
    file, part = tmp_path / "healthy", Part()
    async with kept_fresh(file, {"part": part.check}, is_working=lambda: True):
        await is_asked_again(part)
        first = file.stat().st_mtime_ns
        await is_asked_again(part)
        assert file.stat().st_mtime_ns > first
    assert not file.exists()


async def test_the_file_is_left_to_age_while_something_is_wrong(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    file, part = tmp_path / "healthy", Part()
    async with kept_fresh(file, {"part": part.check}, is_working=lambda: True):
        await is_asked_again(part)
        part.wrong = "it is away"
        await is_asked_again(part)
        last = file.stat().st_mtime_ns
        await is_asked_again(part)
        assert file.stat().st_mtime_ns == last
        part.wrong = None
        await is_asked_again(part)
        assert file.stat().st_mtime_ns > last
    assert "not healthy, part: it is away" in caplog.text


async def test_a_process_that_does_not_work_yet_has_no_file_and_an_older_one_is_removed(
    tmp_path: Path,
) -> None:
    file, part = tmp_path / "healthy", Part()
    file.touch()
    is_working = False
    async with kept_fresh(file, {"part": part.check}, is_working=lambda: is_working):
        assert not file.exists()
        is_working = True
        await is_asked_again(part)
        assert file.exists()


async def test_a_file_that_cannot_be_written_is_logged_and_tried_again(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    directory, part = tmp_path / "later", Part()
    file = directory / "healthy"
    async with kept_fresh(file, {"part": part.check}, is_working=lambda: True):
        await is_asked_again(part)
        assert f"the health file {file} cannot be touched: No such file" in caplog.text
        directory.mkdir()
        await is_asked_again(part)
        assert file.exists()
