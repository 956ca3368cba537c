"""Every part of the command line is there, under its name."""

from __future__ import annotations

import pytest

from tests.cli.shell import Run, read


async def test_what_audits_found_is_listed(run: Run) -> None:
    assert read(await run("findings", "--json")) == []


@pytest.mark.parametrize(
    "command",
    [
        ["parcel"],
        ["resend-parcel"],
        ["refund-parcel"],
        ["settle-parcel"],
        ["schedule"],
        ["reconcile"],
        ["findings"],
        ["acknowledge"],
        ["refund", "request"],
        ["refund", "approve"],
        ["refund", "list"],
        ["refund", "waiting"],
        ["refund", "look-again"],
        ["refund", "resolve"],
    ],
    ids=" ".join,
)
async def test_every_command_explains_itself_with_an_example(run: Run, command: list[str]) -> None:
    told = (await run(*command, "--help")).stdout
    assert f"Example: python client.py {' '.join(command)}" in told
