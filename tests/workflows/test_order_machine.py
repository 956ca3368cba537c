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
from hypothesis import strategies as st
from temporalio.testing import TimeSkipper

from tests.workflows.conductor import (
    ConductedCards,
    ConductedMailer,
    ConductedWarehouse,
    Conductor,
)
from tests.workflows.conftest import Clients, Shop
from tests.workflows.order_machine import (
    PLACINGS,
    OrderMachine,
    Placing,
    Play,
    TermsOfTheMoment,
    World,
    play,
)
from worker import order_worker

EXAMPLES = int(os.environ.get("ORDER_MACHINE_EXAMPLES", "80"))

#: Programs that were counterexamples once, or are near to what was one.
PROGRAMS: dict[str, tuple[Placing, list[Play]]] = {
    "a charge is created and nobody hears of it": (
        Placing(),
        [
            play("neighbour_does_it_and_answers_later"),
            play("cancel", how="signal"),
            play("neighbour_is", how="busy"),
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
    async with order_worker(
        clients.patient,
        cards=shop.cards,
        ledger=shop.ledger,
        warehouse=shop.warehouse,
        mailer=shop.mailer,
        inventory=shop.inventory,
        orders=shop.book,
        refunds=shop.refunds,
        disputes=shop.disputes,
        risks=shop.risks,
        shop=terms,
        approver="approver@example.com",
    ):
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
    @hypothesis.given(PLACINGS, st.lists(st.integers(0, 2**16), max_size=20))
    def live(placing: Placing, choices: list[int]) -> None:
        OrderMachine(world, placing).live(choices)

    await asyncio.to_thread(live)


@pytest.mark.parametrize("program", PROGRAMS)
async def test_what_went_wrong_once_does_not_again(world: World, program: str) -> None:
    placing, moves = PROGRAMS[program]
    await asyncio.to_thread(OrderMachine(world, placing).live, program=moves)
