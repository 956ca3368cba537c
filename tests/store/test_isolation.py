"""A server whose transactions begin with a stricter isolation level than ours.

The functions of the hot path are called in single statements, which begin with the server's. Each
of their own statements has to see what others have committed while it waited for a lock.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

import pytest
from sqlalchemy.engine import make_url

from durable_orders.domain.ports import LockedOutError
from durable_orders.store.database import connect
from tests.store import test_hot_path
from tests.store.shop import Shop
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


@pytest.mark.parametrize(
    "race",
    [
        test_hot_path.test_the_last_piece_goes_to_one_of_many,
        test_hot_path.test_orders_over_the_same_products_in_opposite_order_do_not_deadlock,
        test_hot_path.test_an_order_that_is_undone_at_the_same_time_is_reserved_before_or_not,
        test_hot_path.test_a_try_is_announced_before_its_order_is_closed_or_not,
        test_hot_path.test_one_try_is_announced_by_two_workers_once,
        test_hot_path.test_two_reports_at_once_are_both_recorded,
        test_hot_path.test_an_order_is_kept_or_undone_and_never_both,
    ],
    ids=lambda race: race.__name__.removeprefix("test_"),
)
async def test_races_end_as_they_do_with_our_level(
    strict: Shop, race: Callable[[Shop], Awaitable[None]]
) -> None:
    await race(strict)


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
