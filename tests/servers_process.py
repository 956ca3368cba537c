"""The process that runs the servers which all tests share, for ``tests/servers.py``."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import socket
import sys
import tempfile
from pathlib import Path

from sandbox.postgres import PostgresServer
from sandbox.temporal_server import TemporalServer
from store.database import connect
from store.migrations import migrate
from tests.in_memory import in_memory

#: Has our tables; copied, it takes no migration.
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


async def serve(listening: socket.socket, namespaces: list[str]) -> None:
    """Tell whoever connects where they are, once they run, until standard input ends."""
    # This Temporal is for all: it may use all processors, and collects garbage once there is a lot.
    os.environ.pop("GOMAXPROCS", None)
    os.environ |= {"GOGC": "off", "GOMEMLIMIT": "1GiB"}
    with tempfile.TemporaryDirectory(prefix="orders-", dir=in_memory()) as state:
        postgres = PostgresServer(Path(state) / "postgres", durable=False)
        temporal = TemporalServer(
            Path(state) / "temporal",
            durable=False,
            time_skipping=True,
            namespaces=namespaces,
            dynamic_config=_SPARED,
        )
        async with temporal, postgres:
            await _make_template(postgres)
            addresses = {"postgres": postgres.url_of(TEMPLATE), "temporal": temporal.address}
            told = json.dumps(addresses).encode()

            async def tell(_: asyncio.StreamReader, caller: asyncio.StreamWriter) -> None:
                caller.write(told)
                caller.close()

            async with await asyncio.start_unix_server(tell, sock=listening):
                await asyncio.to_thread(os.read, 0, 1)
            # Nothing is kept, so nobody has to stop in an orderly way.
            os.kill(temporal.child.pid, signal.SIGKILL)
            os.kill(postgres.child.pid, signal.SIGQUIT)


async def _make_template(postgres: PostgresServer) -> None:
    database = connect(await postgres.create_database(TEMPLATE))
    await migrate(database)
    await database.close()


if __name__ == "__main__":
    asyncio.run(serve(socket.socket(fileno=int(sys.argv[-1])), sys.argv[1:-1]))
