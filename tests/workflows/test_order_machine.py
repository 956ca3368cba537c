"""Orders under any interleaving of answers, news, words and failures keep every promise.

``ORDER_MACHINE_EXAMPLES=2000`` looks further than an ordinary run does.
"""

from __future__ import annotations

import asyncio
import logging
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import hypothesis
import pytest
from temporalio.testing import TimeSkipper

from tests.workflows.conductor import (
    ConductedCards,
    ConductedMailer,
    ConductedWarehouse,
    Conductor,
)
from tests.workflows.conftest import Clients, Shop
from tests.workflows.order_machine import (
    CHOICES,
    PLACINGS,
    OrderMachine,
    Placing,
    Play,
    TermsOfTheMoment,
    World,
    play,
)

EXAMPLES = int(os.environ.get("ORDER_MACHINE_EXAMPLES", "80"))

#: Programs that were counterexamples once, also of bugs that were planted to see them found.
PROGRAMS: dict[str, tuple[Placing, list[Play]]] = {
    "a charge is created and nobody hears of it": (
        Placing(),
        [
            play("neighbour_does_it_and_answers_later"),
            play("cancel", how="signal"),
            play("neighbour_is", how="busy"),
        ],
    ),
    "the warehouse has it when it is cancelled": (
        Placing(answered=2),
        [play("neighbour_does_it_and_answers_later"), play("cancel", how="Update")],
    ),
    "its parcel leaves while it is cancelled": (
        Placing(answered=2),
        [
            play("neighbour_does_it_and_answers_later"),
            play("parcel_leaves"),
            play("cancel", how="signal"),
            play("neighbours_answer", times=4),
        ],
    ),
    "its money is given back while the warehouse has it": (
        Placing(answered=2),
        [
            play("neighbour_does_it_and_answers_later"),
            play("shop_refunds_in_the_dashboard"),
            play("webhook_of_the_payment_comes"),
        ],
    ),
    "a bank has its money when it is cancelled, and lets it go": (
        Placing(answered=2),
        [
            play("cardholder_disputes", is_inquiry=False),
            play("cancel", how="Temporal"),
            play("neighbours_answer", times=4),
            play("bank_decides_the_dispute", won=True),
        ],
    ),
}


@asynccontextmanager
async def opened(clients: Clients) -> AsyncIterator[World]:
    """A shop whose neighbours wait for the machine, with its worker."""
    conductor, terms = Conductor(), TermsOfTheMoment()
    shop = Shop(
        clients.skipping,
        clients.patient,
        cards=ConductedCards(conductor),
        warehouse=ConductedWarehouse(conductor),
        mailer=ConductedMailer(conductor),
        terms=terms,
    )
    async with shop.worker(clients.patient, approver="approver@example.com"):
        loop = asyncio.get_running_loop()
        yield World(shop, conductor, terms, TimeSkipper(clients.patient), loop)


@pytest.fixture
async def world(clients: Clients, caplog: pytest.LogCaptureFixture) -> AsyncIterator[World]:
    # Every failure that the machine makes up is logged: a page of them for each example.
    caplog.set_level(logging.CRITICAL, "temporalio")
    async with opened(clients) as world:
        yield world


async def test_every_promise_is_kept_whatever_happens_in_whatever_order(world: World) -> None:
    @hypothesis.settings(max_examples=EXAMPLES, report_multiple_bugs=False, database=None)
    @hypothesis.given(PLACINGS, CHOICES)
    def live(placing: Placing, choices: list[int]) -> None:
        OrderMachine(world, placing).live(choices)

    await asyncio.to_thread(live)


@pytest.mark.parametrize("program", PROGRAMS)
async def test_what_went_wrong_once_does_not_again(world: World, program: str) -> None:
    placing, moves = PROGRAMS[program]
    await asyncio.to_thread(OrderMachine(world, placing).live, program=moves)
