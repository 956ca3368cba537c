"""Every part of the command line is there, under its name."""

from __future__ import annotations

import pytest

from commands import terminal
from tests.client.shell import Run, read, refused


@pytest.mark.usefixtures("working")
async def test_a_refund_is_asked_for_and_listed(run: Run) -> None:
    await run("place", "--order-id", "cli-m1")
    await run("result", "cli-m1")

    asked = await run("refund", "request", "cli-m1", "r1", "--line", "MUG=1", "--json")

    assert read(asked)["amount"] == {"amount": 1450, "currency": "EUR"}
    [listed] = read(await run("refund", "list", "cli-m1", "--json"))
    assert listed["request"]["refund_id"] == "r1"
    too_much = await run("refund", "request", "cli-m1", "r2", "--line", "MUG=2")
    refused(too_much, "2 of MUG cannot be returned: 1 are left", terminal.REFUSED)


async def test_what_audits_found_is_listed(run: Run) -> None:
    assert read(await run("findings", "--json")) == []


@pytest.mark.parametrize(
    "command",
    [
        *(["parcel"], ["resend-parcel"], ["refund-parcel"], ["settle-parcel"]),
        *(["schedule"], ["reconcile"], ["findings"]),
        *(["refund", "request"], ["refund", "approve"], ["refund", "list"]),
    ],
    ids=" ".join,
)
async def test_every_command_explains_itself_with_an_example(run: Run, command: list[str]) -> None:
    told = (await run(*command, "--help")).stdout
    assert f"Example: python client.py {' '.join(command)}" in told
