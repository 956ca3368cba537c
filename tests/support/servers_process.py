"""The process that runs the servers which all tests share, for ``tests/support/servers.py``.

Its arguments name Temporal's namespaces. It prints the addresses as one line of JSON once both
servers can be used, and ends them when its standard input ends.
"""

from __future__ import annotations

import asyncio
import json
import sys
import tempfile
from pathlib import Path

from sqlalchemy import update

from durable_orders.store.database import connect
from durable_orders.store.migrations import migrate
from durable_orders.store.tables import installation
from sandbox.postgres import PostgresServer
from sandbox.temporal_server import TemporalServer
from tests.support.keys import INSTALLATION

#: Has our tables, and the tests' installation; copied, it takes no migration.
TEMPLATE = "migrated"

#: A tenth of what this Temporal would do. Search attributes are there before the first run, so they
#: are not read again for each that is set. The list of runs may lag by a second, as it does
#: anywhere: a run that has ended by then is written into it once, not at every step. Nobody does a
#: namespace's own chores, of which schedules are one: see ``scheduling_server``.
_SPARED = {
    "worker.perNamespaceWorkerCount": "0",
    "system.forceSearchAttributesCacheRefreshOnRead": "false",
    "history.visibilityProcessorMaxPollRPS": "1",
}


async def serve(namespaces: list[str]) -> None:
    """Run both until standard input ends."""
    with tempfile.TemporaryDirectory(prefix="orders-") as state:
        postgres = PostgresServer(Path(state) / "postgres", durable=False)
        temporal = TemporalServer(
            Path(state) / "temporal",
            durable=False,
            time_skipping=True,
            namespaces=namespaces,
            dynamic_config=_SPARED,
        )
        async with temporal, postgres:
            database = connect(await postgres.create_database(TEMPLATE))
            await migrate(database)
            async with database.transaction() as connection:
                await connection.execute(update(installation).values(name=INSTALLATION))
            await database.close()
            addresses = {"postgres": postgres.url_of(TEMPLATE), "temporal": temporal.address}
            print(json.dumps(addresses), flush=True)  # noqa: T201 - its answer
            await asyncio.to_thread(sys.stdin.read)


if __name__ == "__main__":
    asyncio.run(serve(sys.argv[1:]))
