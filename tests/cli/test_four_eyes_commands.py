"""Four eyes on the command line: a user of the operating system is one person there."""

from __future__ import annotations

import os

import pytest

from durable_orders.cli import terminal
from durable_orders.cli.terminal import os_user
from durable_orders.domain.terms import ShopTerms
from tests.cli.shell import Aside, Run, read, refused

pytestmark = pytest.mark.usefixtures("working")


@pytest.fixture
def terms() -> ShopTerms:
    return ShopTerms(approval_above={"EUR": 10_00}, four_eyes=True)


async def test_who_places_an_order_may_not_approve_it_and_somebody_else_may(
    run: Run, aside: Aside, monkeypatch: pytest.MonkeyPatch
) -> None:
    placed = await run("place", "--order-id", "eyes-1")
    assert placed.exit_code == 0, placed.output
    await aside.reaches("eyes-1", "waiting for approval")

    own = await run("approve", "eyes-1", "--by", "somebody-else")

    refused(own, f"Order eyes-1 was requested by {os_user()}, who may not", terminal.REFUSED)
    placer = os_user()
    monkeypatch.setattr(os, "getuid", lambda: 3_999_999_999)
    assert read(await run("approve", "eyes-1", "--by", "ops-7", "--json"))["accepted"] is True
    assert read(await run("result", "eyes-1", "--json"))["status"] == "completed"
    watched = (await run("watch", "eyes-1")).stdout
    assert f"order placed (actor {placer}, total 29.00 EUR)" in watched
    [approved] = [line for line in watched.splitlines() if "order approved" in line]
    assert approved.endswith("order approved (by ops-7, actor cli:3999999999)")


async def test_who_places_an_order_may_reject_it(run: Run, aside: Aside) -> None:
    await run("place", "--order-id", "eyes-2")
    await aside.reaches("eyes-2", "waiting for approval")
    await run("reject", "eyes-2", "--by", "ops-7", "--reason", "a mistake")
    assert read(await run("result", "eyes-2", "--json"))["status"] == "rejected"
