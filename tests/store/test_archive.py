"""The archive: what is moved, what goes on as before, and what gets in its way."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import event, text
from sqlalchemy.exc import DBAPIError

from durable_orders.domain.disputes.dispute import (
    DisputeStatus,
    FraudWarning,
    PaymentRisks,
    Review,
)
from durable_orders.domain.lifecycle import Status, Stop, StopReason
from durable_orders.domain.money import Money
from durable_orders.domain.order import Basket, Order
from durable_orders.domain.refunds.refund import RefundEntry, RefundRequest
from durable_orders.domain.webhooks import MailDeliveryFailure
from durable_orders.store.archive import Archived, archive_histories
from durable_orders.store.consistency_check import find_inconsistencies
from durable_orders.store.database import connect
from durable_orders.store.disputes import PostgresDisputeRepository
from durable_orders.store.refunds import PostgresRefundBook
from durable_orders.store.webhook_events import PostgresMailLog
from tests.store.shop import NOW, Shop, basket
from tests.store.test_disputes import chargeback
from tests.store.test_refund_concurrency import paid
from tests.support.eventually import eventually
from tests.support.servers import Postgres

CHECKOUT = Path(__file__).resolve().parents[2]
#: Later than every line of a test, and earlier: lines without a time of their own are of today.
LATER = datetime.now().astimezone() + timedelta(days=1)
EARLIER = NOW - timedelta(days=1)
WORDS = "Left with the neighbour"


@pytest.fixture
async def shop(postgres: Postgres) -> AsyncIterator[Shop]:
    """A shop on a database of its own: each test archives all that there is."""
    database = connect(await postgres.migrated(), pool_size=20)
    yield Shop(database)
    await database.close()


async def archive(
    shop: Shop, before: datetime = LATER, *, limit: int | None = None, dry_run: bool = False
) -> tuple[int, int]:
    """Archive; the number of histories and of lines."""
    moved = archive_histories(shop.database, before, LATER, limit=limit, dry_run=dry_run)
    batches: list[Archived] = [batch async for batch in moved]
    return sum(batch.orders for batch in batches), sum(batch.lines for batch in batches)


async def kept(shop: Shop, order: Order) -> int:
    """How many lines of the order are not in the archive."""
    rows = await shop.sql("SELECT id FROM order_history WHERE order_id = :id", id=order.id)
    return len(rows)


async def completed(shop: Shop) -> Order:
    return await paid(shop, await shop.stocked(10))


async def rejected(shop: Shop, now: datetime = NOW) -> Order:
    """An order that ended then, with all its lines."""
    order = await shop.placed()
    await shop.orders.move(order.id, Status.REJECTED, Stop(StopReason.OUT_OF_STOCK, ""), now)
    return order


# -- what is shown ---------------------------------------------------------------------------------


async def test_an_archived_order_is_shown_as_before(shop: Shop) -> None:
    order = await completed(shop)
    await shop.orders.note(order.id, "confirmation_mailed", NOW, mail="mail_1")
    before = await shop.orders.view(order.id)
    summary = await shop.orders.summary(order.id)

    lines = len(before.history)
    assert await archive(shop) == (1, lines)

    assert await kept(shop, order) == 0
    assert await shop.orders.view(order.id) == before
    assert await shop.orders.summary(order.id) == summary
    assert await find_inconsistencies(shop.database) == []
    assert await archive(shop) == (0, 0)


async def test_who_placed_an_archived_order_is_known(shop: Shop) -> None:
    order = await shop.orders.place(_basket(await shop.stocked(1)), NOW, placed_by="checkout")
    await shop.orders.move(order.id, Status.REJECTED, None, NOW)
    await archive(shop)
    assert (await shop.orders.summary(order.id)).placed_by == "checkout"


async def test_an_archived_order_places_the_same_order_again_and_no_other(shop: Shop) -> None:
    basket = _basket(await shop.stocked(1))
    order = await shop.orders.place(basket, NOW)
    await shop.orders.move(order.id, Status.REJECTED, None, NOW)
    await archive(shop)
    again = await shop.orders.place(basket, NOW)
    assert (again.id, again.status) == (order.id, Status.REJECTED)
    assert await kept(shop, order) == 0


# -- what is done again ----------------------------------------------------------------------------


async def test_a_mail_that_an_archived_order_was_sent_is_not_sent_again(shop: Shop) -> None:
    order = await completed(shop)
    await shop.orders.note(order.id, "confirmation_mailed", NOW, mail="mail_2")
    await shop.orders.note(order.id, "refund_mailed", NOW, mail="mail_3", refund_id="r1")
    await archive(shop)
    assert (await shop.orders.get_for_mail(order.id, "confirmation_mailed"))[1] == "mail_2"
    of_refund = await shop.orders.get_for_mail(order.id, "refund_mailed", refund_id="r1")
    assert of_refund[1] == "mail_3"
    other = await shop.orders.get_for_mail(order.id, "refund_mailed", refund_id="r2")
    assert other[1] is None


async def test_what_became_of_a_mail_of_an_archived_order_is_in_its_history(shop: Shop) -> None:
    order = await completed(shop)
    await shop.orders.note(order.id, "confirmation_mailed", NOW, mail="mail_4")
    await archive(shop)
    log, failure = PostgresMailLog(shop.database), MailDeliveryFailure.COMPLAINED
    for _ in range(2):
        assert await log.record_delivery_failure("mail_4", failure, NOW, "")
    assert not await log.record_delivery_failure("mail_of_another", failure, NOW, "")
    last = (await shop.orders.view(order.id)).history[-1]
    assert (last.event, last.detail) == ("confirmation_mail_complained", {"mail": "mail_4"})
    assert await kept(shop, order) == 1


async def test_the_mail_of_an_archived_order_is_found_without_reading_the_archive(
    shop: Shop,
) -> None:
    order = await completed(shop)
    await shop.orders.note(order.id, "confirmation_mailed", NOW, mail="mail_5")
    await archive(shop)
    asked: list[tuple[str, Any]] = []

    def note(_: Any, __: Any, statement: str, parameters: Any, *___: Any) -> None:
        if statement.lstrip().startswith("SELECT"):
            asked.append((statement, parameters))

    engine = shop.database.engine
    event.listen(engine.sync_engine, "before_cursor_execute", note)
    failure = MailDeliveryFailure.COMPLAINED
    assert await PostgresMailLog(shop.database).record_delivery_failure("mail_5", failure, NOW, "")
    event.remove(engine.sync_engine, "before_cursor_execute", note)

    async with engine.begin() as connection:
        await connection.exec_driver_sql("SET LOCAL enable_seqscan = off")
        plans = [
            "\n".join((await connection.exec_driver_sql(f"EXPLAIN {one}", values)).scalars())
            for one, values in asked
        ]
    assert "archived_history_mails" in plans[-1]
    assert not [plan for plan in plans if "Seq Scan" in plan]


async def test_an_archived_order_knows_the_statuses_that_it_has_had(shop: Shop) -> None:
    order = await completed(shop)
    await archive(shop)
    await shop.orders.move(order.id, Status.PAID, None, NOW)
    assert (await shop.orders.view(order.id)).order.status is Status.COMPLETED


async def test_what_is_said_again_of_an_archived_order_is_shown_once(shop: Shop) -> None:
    order = await completed(shop)
    await shop.orders.note(order.id, "noted", NOW, by="ops-7")
    await shop.orders.note_words(order.id, "delivery", WORDS, NOW)
    before = await shop.orders.view(order.id)
    await archive(shop)
    await shop.orders.note_words(order.id, "delivery", WORDS, NOW)
    await shop.orders.note_words(order.id, "delivery", "Other words", NOW)
    for _ in range(2):
        await shop.orders.note(order.id, "noted", NOW, by="ops-7")
        assert await shop.orders.view(order.id) == before
        await archive(shop)
    assert await shop.orders.view(order.id) == before


async def test_a_late_chargeback_and_refund_of_an_archived_order_are_recorded_and_archived(
    shop: Shop,
) -> None:
    order, other = await completed(shop), await completed(shop)
    known = [line.event for line in (await shop.orders.view(order.id)).history]
    assert (await archive(shop))[0] == 2

    risks = PaymentRisks(f"pi_{order.id}", (chargeback(order),))
    await PostgresDisputeRepository(shop.database).record(order.id, risks, NOW)
    request = RefundRequest(other.id, "r1", amount=Money(1_00, "EUR"))
    asked = await PostgresRefundBook(shop.database).reserve(request, NOW)

    assert isinstance(asked, RefundEntry)
    added = [line.event for line in (await shop.orders.view(order.id)).history]
    assert added[: len(known)] == known
    assert added[len(known) :] == ["dispute_opened", "dispute_lost"]
    assert (await shop.orders.view(other.id)).refunds[0].refund_id == "r1"
    # The refund is on its way; the chargeback is over.
    assert await archive(shop) == (1, 2)
    assert [line.event for line in (await shop.orders.view(order.id)).history] == added
    assert await kept(shop, other) == 1


# -- what stays ------------------------------------------------------------------------------------


async def test_only_what_ended_long_enough_ago_is_archived(shop: Shop) -> None:
    old, young = await rejected(shop), await rejected(shop, NOW + timedelta(days=2))
    open_ = await shop.placed()
    noted = await rejected(shop)
    await shop.orders.note(noted.id, "noted", NOW + timedelta(days=2))

    assert await archive(shop, EARLIER) == (0, 0)
    assert await archive(shop, NOW + timedelta(days=1)) == (1, 2)

    assert [await kept(shop, order) for order in (old, young, open_, noted)] == [0, 2, 1, 3]


async def disputed(shop: Shop, order: Order) -> None:
    open_ = replace(chargeback(order), status=DisputeStatus.NEEDS_RESPONSE)
    await PostgresDisputeRepository(shop.database).record(
        order.id, PaymentRisks(open_.payment_id, (open_,)), NOW
    )


async def warned(shop: Shop, order: Order) -> None:
    warning = FraudWarning(f"issfr_{order.id}", f"pi_{order.id}", "misc", True, NOW)  # noqa: FBT003
    await PostgresDisputeRepository(shop.database).record(
        order.id, PaymentRisks(f"pi_{order.id}", warnings=(warning,)), NOW
    )


async def reviewed(shop: Shop, order: Order) -> None:
    review = Review(f"prv_{order.id}", f"pi_{order.id}", "rule", True, NOW)  # noqa: FBT003
    await PostgresDisputeRepository(shop.database).record(
        order.id, PaymentRisks(f"pi_{order.id}", reviews=(review,)), NOW
    )


async def refunding(shop: Shop, order: Order) -> None:
    await PostgresRefundBook(shop.database).reserve(RefundRequest(order.id, "r1"), NOW)


async def found(shop: Shop, order: Order) -> None:
    await shop.sql(
        "INSERT INTO findings (kind, order_id, detail, remedy, first_seen, last_seen)"
        " VALUES ('money_kept', :id, '', 'flag', now(), now())",
        id=order.id,
    )


async def may_be_paid(shop: Shop, order: Order) -> None:
    await shop.sql("UPDATE payments SET state = 'open' WHERE order_id = :id", id=order.id)


@pytest.mark.parametrize("something", [disputed, warned, reviewed, refunding, found, may_be_paid])
async def test_an_order_of_which_something_is_open_stays(
    shop: Shop, something: Callable[[Shop, Order], Awaitable[None]]
) -> None:
    order, closed = await completed(shop), await completed(shop)
    await something(shop, order)
    lines = await kept(shop, order)
    assert (await archive(shop))[0] == 1
    assert await kept(shop, order) == lines
    assert await kept(shop, closed) == 0


async def test_a_dry_run_says_what_would_be_moved_and_moves_nothing(shop: Shop) -> None:
    orders = [await completed(shop) for _ in range(3)]
    lines = sum([await kept(shop, order) for order in orders])
    assert await archive(shop, dry_run=True) == (3, lines)
    assert await archive(shop, dry_run=True, limit=2) == (2, lines * 2 // 3)
    assert sum([await kept(shop, order) for order in orders]) == lines
    assert await archive(shop) == (3, lines)


async def test_a_limit_takes_the_oldest_orders_and_the_next_run_goes_on(shop: Shop) -> None:
    orders = [await rejected(shop) for _ in range(5)]
    assert await archive(shop, limit=2) == (2, 4)
    assert [await kept(shop, order) for order in orders] == [0, 0, 2, 2, 2]
    assert await archive(shop, limit=2) == (2, 4)
    assert await archive(shop, limit=2) == (1, 2)


# -- nothing is lost -------------------------------------------------------------------------------


async def test_a_line_leaves_only_for_the_archive(shop: Shop) -> None:
    archived, other = await completed(shop), await completed(shop)
    await shop.orders.note(other.id, "noted", NOW + timedelta(days=2))
    await archive(shop, limit=1)
    await shop.orders.note(archived.id, "noted", NOW)
    for statement in (
        "DELETE FROM order_history WHERE order_id = :id",
        "UPDATE archived_history SET events = events",
        "DELETE FROM archived_history",
        "TRUNCATE archived_history",
        "WITH gone AS (DELETE FROM order_history WHERE order_id = :id RETURNING *)"
        " INSERT INTO archived_history SELECT order_id, id, now(), ARRAY[id], ARRAY[at],"
        " ARRAY['another_event'], ARRAY[detail], '{}' FROM gone",
    ):
        for order in (archived, other):
            used = {"id": order.id} if ":id" in statement else {}
            with pytest.raises(DBAPIError, match="the history of an order can only grow"):
                await shop.sql(statement, **used)
    assert await kept(shop, archived) == 1


async def test_an_order_in_use_is_left_for_the_next_time(shop: Shop) -> None:
    order, other = await completed(shop), await completed(shop)
    lines = await kept(shop, order)
    async with shop.database.transaction() as connection:
        lock = text("SELECT id FROM orders WHERE id = :id FOR NO KEY UPDATE")
        await connection.execute(lock, {"id": order.id})
        async with asyncio.timeout(10):
            assert (await archive(shop))[0] == 1
    assert [await kept(shop, one) for one in (order, other)] == [lines, 0]
    assert (await archive(shop))[0] == 1


async def test_runs_at_the_same_time_share_the_work(shop: Shop) -> None:
    orders = [await rejected(shop) for _ in range(30)]
    views = [await shop.orders.view(order.id) for order in orders]
    moved = await asyncio.gather(*(archive(shop) for _ in range(4)))
    rest = await archive(shop)
    assert sum(run[0] for run in moved) + rest[0] == 30
    assert [await shop.orders.view(order.id) for order in orders] == views


async def test_no_line_is_lost_or_doubled_beside_orders_that_change(shop: Shop) -> None:
    orders = [await completed(shop) for _ in range(6)]
    before = {order.id: await shop.orders.view(order.id) for order in orders}
    said, ended = 12, asyncio.Event()

    async def keep_archiving() -> int:
        runs = 0
        while not ended.is_set():
            runs += (await archive(shop))[0]
        return runs

    async def use(order: Order) -> None:
        disputes, dispute = PostgresDisputeRepository(shop.database), chargeback(order)
        await disputes.record(order.id, PaymentRisks(dispute.payment_id, (dispute,)), NOW)
        for number in range(said):
            await shop.orders.note(order.id, "noted", NOW, number=str(number))
            await shop.orders.move(order.id, Status.COMPLETED, None, NOW)
            # A new order meanwhile, from its beginning to its end.
            await rejected(shop)

    async with asyncio.timeout(60), asyncio.TaskGroup() as tasks:
        archiving = [tasks.create_task(keep_archiving()) for _ in range(2)]
        await asyncio.gather(*map(use, orders))
        ended.set()
    assert sum(run.result() for run in archiving) > len(orders)
    await archive(shop)
    for order in orders:
        known = before[order.id].history
        history = (await shop.orders.view(order.id)).history
        assert set(map(str, known)) < set(map(str, history))
        assert len(history) == len(known) + 2 + said
    [row] = await shop.sql(
        "SELECT (SELECT count(*) FROM order_history) AS kept, count(*) AS lines,"
        " count(DISTINCT id) AS ids FROM whole_history"
    )
    of_the_six = sum(len(before[order.id].history) + 2 + said for order in orders)
    of_new_ones = 2 * said * len(orders)
    assert row == {"kept": 0, "lines": of_the_six + of_new_ones, "ids": row["lines"]}
    assert await find_inconsistencies(shop.database) == []


async def test_a_run_that_is_killed_in_the_middle_has_lost_nothing(
    shop: Shop, tmp_path: Path
) -> None:
    first, last = await rejected(shop), await rejected(shop)
    # Two transactions' work: those of the first are all over, the last order is in the second.
    await shop.sql(
        "INSERT INTO order_history (order_id, at, event, detail)"
        " SELECT :id, :at, 'noted', jsonb_build_object('number', n)"
        " FROM generate_series(1, 2000) AS n",
        id=first.id,
        at=NOW,
    )
    later = await rejected(shop)
    views = [await shop.orders.view(order.id) for order in (first, last, later)]
    [line] = await shop.sql(
        "SELECT min(id) AS id FROM order_history WHERE order_id = :id", id=later.id
    )
    command = [sys.executable, str(CHECKOUT / "client.py"), "store", "archive"]
    environment = os.environ | {"DATABASE_URL": shop.url}
    async with shop.database.engine.connect() as connection:
        await connection.exec_driver_sql("SET LOCAL idle_in_transaction_session_timeout = 0")
        # Its row of the archive waits for this one, with everything else of its transaction done.
        await connection.execute(
            text(
                "INSERT INTO archived_history VALUES"
                " (:id, :line, now(), '{1}', '{2026-01-01}', '{x}', ARRAY['{}'::jsonb], '{}')"
            ),
            {"id": later.id, "line": line["id"]},
        )
        process = await asyncio.create_subprocess_exec(
            *command, "--older-than", "1", cwd=tmp_path, env=environment, stdout=subprocess.DEVNULL
        )

        async def waits() -> bool:
            assert process.returncode is None
            return bool(
                await shop.sql(
                    "SELECT 1 FROM pg_stat_activity"
                    " WHERE datname = current_database() AND wait_event_type = 'Lock'"
                )
            )

        await eventually(waits, within=120)
        process.send_signal(signal.SIGKILL)
        assert await process.wait() == -signal.SIGKILL
        await connection.rollback()

    assert [await kept(shop, order) for order in (first, last, later)] == [0, 0, 2]
    again = await asyncio.create_subprocess_exec(
        *command, "--older-than", "1", cwd=tmp_path, env=environment, stdout=subprocess.PIPE
    )
    output = (await again.communicate())[0].decode()
    assert "Moved the history of 1 order into the archive, 2 lines." in output
    assert [await shop.orders.view(order.id) for order in (first, last, later)] == views


def _basket(sku: str) -> Basket:
    return basket((sku, 1))
