"""The servers that all tests share: one PostgreSQL and one Temporal a run.

A session, which is an xdist worker, has namespaces of its own on the one and databases of its own
on the other.
"""

from __future__ import annotations

import json
import socket
from dataclasses import dataclass
from itertools import count

import asyncpg  # type: ignore[import-untyped]
from sqlalchemy import make_url
from temporalio.client import Client
from temporalio.service import GrpcCompression

from durable_orders.contracts.data_converter import DATA_CONVERTER
from tests.servers_process import TEMPLATE
from tests.shared import namespace


@dataclass(frozen=True)
class Temporal:
    """A namespace on the real Temporal server that a session has for itself."""

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

    def __init__(self, template: str, session: int) -> None:
        self._template = make_url(template)
        self._names = (f"test_{session}_{number}" for number in count(1))

    async def empty(self) -> str:
        """The address of a new, empty database."""
        return await self._create("")

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
    """Where the servers are; connecting waits until they run."""

    def __init__(self, address: str, session: int = 0) -> None:
        with socket.socket(socket.AF_UNIX) as asked, asked.makefile() as answer:
            asked.connect(address)
            addresses = json.load(answer)
        self._temporal: str = addresses["temporal"]
        self._session = session
        self.postgres = Postgres(addresses["postgres"], session)

    def temporal(self, kind: str) -> Temporal:
        """The session's namespace of this kind."""
        return Temporal(self._temporal, namespace(kind, self._session))
