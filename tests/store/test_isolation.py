"""A server whose transactions begin with a stricter isolation level than ours.

The functions of the hot path are called in single statements, which begin with the server's. Each
of their own statements has to see what others have committed while it waited for a lock.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from sqlalchemy.engine import make_url

from durable_orders.domain.activity_messages import (
    AlreadyFulfilled,
    OrderUndone,
    Reserved,
    StockCommitted,
    UndoBegun,
)
from durable_orders.domain.lifecycle import Status
from durable_orders.domain.ports import LockedOutError
from durable_orders.store.database import connect
from tests.store.shop import Shop, Stock
from tests.store.test_hot_path import CANCELLED, STEPS, at_once, placed
from tests.support.pooler import needs_pgbouncer, running_pooler
from tests.support.servers import Postgres


@pytest.fixture(params=["repeatable read", "serializable"])
async def strict_url(request: pytest.FixtureRequest, postgres: Postgres) -> str:
    """The address of a database of this default."""
    url = await postgres.migrated()
    database = connect(url)
    async with database.engine.begin() as connection:
        await connection.exec_driver_sql(
            f"ALTER DATABASE {make_url(url).database}"
            f" SET default_transaction_isolation = '{request.param}'"
        )
    await database.close()
    return url


@pytest.fixture
async def strict(strict_url: str) -> AsyncIterator[Shop]:
    database = connect(strict_url, pool_size=20)
    yield Shop(database)
    await database.close()


async def test_the_last_piece_goes_to_one_of_many(strict: Shop) -> None:
    sku = await strict.stocked(3)
    orders = [await strict.placed((sku, 1)) for _ in range(20)]
    answers = await asyncio.gather(*(strict.inventory.begin(one.id, "run-1") for one in orders))
    assert sum(stock == Reserved() for _, stock in answers) == 3
    assert await strict.stock_of(sku) == Stock(on_hand=3, reserved=3)


async def test_one_try_is_announced_by_two_workers_once(strict: Shop) -> None:
    for _ in range(10):
        side = await placed(strict)
        one, other = await at_once(STEPS["announce"](side), STEPS["announce"](side))
        assert one == other


async def test_an_order_is_kept_or_undone_and_never_both(strict: Shop) -> None:
    for _ in range(10):
        side = await placed(strict)
        for step in ("begin", "announce", "record captured"):
            await STEPS[step](side)
        committed, undone = await at_once(STEPS["commit"](side), STEPS["undo"](side))
        kept = StockCommitted(Status.COMPLETED), AlreadyFulfilled()
        given_up = OrderUndone(CANCELLED), UndoBegun(CANCELLED, charged=True, handed_over=True)
        assert (committed, undone) in (kept, given_up)


@needs_pgbouncer
async def test_through_a_pooler_it_is_refused_until_it_is_set_for_our_role(
    strict_url: str, tmp_path: Path
) -> None:
    async with running_pooler(tmp_path / "before", strict_url) as url:
        database = connect(url)
        with pytest.raises(LockedOutError, match="set default_transaction_isolation of our role"):
            await database.require_writable()
        await database.close()
    direct = connect(strict_url)
    async with direct.engine.begin() as connection:
        await connection.exec_driver_sql(
            f"ALTER ROLE CURRENT_USER IN DATABASE {make_url(strict_url).database}"
            " SET default_transaction_isolation = 'read committed'"
        )
    await direct.close()
    async with running_pooler(tmp_path / "after", strict_url) as url:
        database = connect(url)
        await database.require_writable()
        await database.close()
