"""Orders under any interleaving of answers, news, words and failures keep every promise.

``ORDER_MACHINE_EXAMPLES=2000`` looks further than an ordinary run does.
"""

from __future__ import annotations

import asyncio
import logging
import os

import hypothesis
import pytest
from hypothesis.stateful import run_state_machine_as_test
from temporalio.testing import TimeSkipper

from tests.workflows.conductor import (
    ConductedCards,
    ConductedMailer,
    ConductedWarehouse,
    Conductor,
)
from tests.workflows.conftest import Clients, Shop
from tests.workflows.order_machine import OrderMachine, TermsOfTheMoment, World
from worker import order_worker

EXAMPLES = int(os.environ.get("ORDER_MACHINE_EXAMPLES", "60"))


async def test_every_promise_is_kept_whatever_happens_in_whatever_order(
    clients: Clients, caplog: pytest.LogCaptureFixture
) -> None:
    # Every failure that the machine makes up is logged: a page of them for each example.
    caplog.set_level(logging.CRITICAL, "temporalio")
    conductor, terms = Conductor(), TermsOfTheMoment()
    shop = Shop(
        clients.skipping,
        clients.patient,
        cards=ConductedCards(conductor),
        warehouse=ConductedWarehouse(conductor),
        mailer=ConductedMailer(conductor),
        terms=terms,
    )
    world = World(shop, conductor, terms, TimeSkipper(clients.patient), asyncio.get_running_loop())
    machine = type("Order", (OrderMachine,), {"world": world})
    settings = hypothesis.settings(
        max_examples=EXAMPLES,
        stateful_step_count=50,
        report_multiple_bugs=False,
        print_blob=False,
        database=None,
        suppress_health_check=list(hypothesis.HealthCheck),
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
        await asyncio.to_thread(run_state_machine_as_test, machine, settings=settings)
