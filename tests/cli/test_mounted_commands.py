"""Every part of the command line is there, under its name."""

from __future__ import annotations

from tests.cli.shell import Run, read


async def test_what_audits_found_is_listed(run: Run) -> None:
    assert read(await run("findings", "--json")) == []
