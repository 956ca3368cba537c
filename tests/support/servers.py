"""The servers that all tests share: one PostgreSQL and one Temporal for a whole run.

Each xdist worker has namespaces of its own on Temporal and databases of its own on PostgreSQL.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from typing import Final, TypedDict

import asyncpg  # type: ignore[import-untyped]
from sqlalchemy import make_url
from temporalio.client import Client
from temporalio.service import GrpcCompression

from durable_orders.contracts.data_converter import DATA_CONVERTER
from tests.support.servers_process import TEMPLATE

_CHECKOUT: Final = Path(__file__).resolve().parents[2]

#: Each worker's namespaces: an audit, for one, looks at every run in its own.
_KINDS: Final = ("orders", "real", "skipping", "audits", "replayed")


class Addresses(TypedDict):
    """Where the servers are: Temporal's host and port, and PostgreSQL's URL of the template."""

    temporal: str
    postgres: str


@contextmanager
def running_servers(workers: Sequence[str]) -> Iterator[Addresses]:
    """Run the servers in a process of their own, with namespaces for these workers."""
    namespaces = [_namespace(kind, worker) for worker in workers for kind in _KINDS]
    with subprocess.Popen(
        [sys.executable, "-m", "tests.support.servers_process", *namespaces],
        cwd=_CHECKOUT,
        stdin=subprocess.PIPE,  # the servers end when it is closed, also by our death
        stdout=subprocess.PIPE,
        start_new_session=True,  # Ctrl-C reaches pytest alone, which then ends them
    ) as process:
        assert process.stdout is not None
        addresses = process.stdout.readline()
        assert addresses, "the servers did not start"
        yield json.loads(addresses)


def _namespace(kind: str, worker: str) -> str:
    return f"{kind}-{worker}"


@dataclass(frozen=True)
class Temporal:
    """A namespace on the real Temporal server that a worker has for itself."""

    address: str
    namespace: str

    @property
    def port(self) -> int:
        return int(self.address.rpartition(":")[2])

    @property
    def settings(self) -> dict[str, str]:
        """What our programs, and Temporal's own, are told in their environment."""
        return {"TEMPORAL_ADDRESS": self.address, "TEMPORAL_NAMESPACE": self.namespace}

    async def connect(self) -> Client:
        """A client that is set up as ours are."""
        return await Client.connect(
            self.address,
            namespace=self.namespace,
            data_converter=DATA_CONVERTER,
            grpc_compression=GrpcCompression.NONE,
        )


class Postgres:
    """The real PostgreSQL server, which hands out databases, empty or migrated."""

    def __init__(self, template: str, worker: str) -> None:
        self._template = make_url(template)
        self._names = (f"test_{worker}_{number}" for number in count(1))

    async def empty(self) -> str:
        """The address of a new, empty database."""
        return await self._create("")

    async def empty_in(self, encoding: str) -> str:
        """The same, whose texts are in this encoding of PostgreSQL's, LATIN1 for example."""
        return await self._create(f"TEMPLATE template0 ENCODING {encoding} LOCALE 'C'")

    async def migrated(self) -> str:
        """The address of a new database with our tables: a copy, so that it takes no migration."""
        return await self._create(f"TEMPLATE {TEMPLATE} STRATEGY file_copy")

    async def _create(self, how: str) -> str:
        name = next(self._names)
        connection = await asyncpg.connect(self._url("postgres", "postgresql"))
        try:
            await connection.execute(f"CREATE DATABASE {name} {how}")
        finally:
            await connection.close()
        return self._url(name, self._template.drivername)

    def _url(self, database: str, driver: str) -> str:
        url = self._template.set(drivername=driver, database=database)
        return url.render_as_string(hide_password=False)


class Servers:
    """Both servers, as one xdist worker uses them; "master" is a run without xdist."""

    def __init__(self, worker: str, addresses: Addresses) -> None:
        self._worker = worker
        self._temporal = addresses["temporal"]
        self.postgres = Postgres(addresses["postgres"], worker)

    def temporal(self, kind: str) -> Temporal:
        """The worker's namespace of this kind."""
        return Temporal(self._temporal, _namespace(kind, self._worker))
