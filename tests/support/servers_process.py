"""Process that runs the shared servers, for ``tests/support/servers.py``.

Its arguments are the names of Temporal's namespaces. It prints the servers' addresses as one line
of JSON once both can be used, and stops them when its standard input ends.
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

#: Saves a tenth of Temporal's work. There are no workers per namespace, and so no schedules: see
#: ``scheduling_server``. Search attributes exist before the first run and are not read again. The
#: list of runs may lag by a second, as anywhere: a run is written into it less often.
_SPARED = {
    "worker.perNamespaceWorkerCount": "0",
    "system.forceSearchAttributesCacheRefreshOnRead": "false",
    "history.visibilityProcessorMaxPollRPS": "1",
}


async def serve(namespaces: list[str]) -> None:
    """Run both servers until standard input ends."""
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
            print(json.dumps(addresses), flush=True)  # noqa: T201 - the answer to the parent
            await asyncio.to_thread(sys.stdin.read)


if __name__ == "__main__":
    asyncio.run(serve(sys.argv[1:]))
