"""The proxy that counts a client's round trips to PostgreSQL."""

import struct

import asyncpg  # type: ignore[import-untyped]
import pytest
from sqlalchemy import text

from durable_orders.store.database import connect
from sandbox.round_trips import MessageCounter, RoundTrips
from tests.support.servers import Postgres

STARTUP = struct.pack("!III", 12, 196608, 0)
TLS = struct.pack("!II", 8, 80877103)


def message(kind: bytes, body: bytes = b"") -> bytes:
    return kind + struct.pack("!I", len(body) + 4) + body


#: A client that asks for TLS, prepares a statement, and sends one with "S" and "Q" in its text.
CONVERSATION = b"".join(
    [
        TLS,
        STARTUP,
        message(b"p", b"SQSQ"),
        *(message(kind) for kind in (b"P", b"D", b"S")),
        message(b"B", b"Q" * 300),
        *(message(kind) for kind in (b"E", b"S")),
        message(b"Q", b"SELECT 'QSQS'\0"),
        message(b"X"),
    ]
)


@pytest.mark.parametrize("size", [1, 2, 3, 5, 7, 64, len(CONVERSATION)])
def test_messages_are_counted_however_they_are_cut(size: int) -> None:
    counter = MessageCounter()
    for at in range(0, len(CONVERSATION), size):
        counter.feed(CONVERSATION[at : at + size])
    assert counter.round_trips == 3


@pytest.fixture(scope="module")
async def url(postgres: Postgres) -> str:
    return await postgres.empty()


async def test_a_statement_is_one_round_trip_and_preparing_it_another(url: str) -> None:
    async with RoundTrips(url.replace("+asyncpg", "")) as proxy:
        connection = await asyncpg.connect(proxy.url)
        counted = []
        for number in (1, 2):  # prepared at first
            before = proxy.round_trips
            await connection.fetchval("SELECT $1::int", number)
            counted.append(proxy.round_trips - before)
        before = proxy.round_trips
        await connection.execute("SELECT 1; SELECT 2")
        counted.append(proxy.round_trips - before)
        await connection.close()

    assert counted == [2, 1, 1]
    assert proxy.connections == 1


async def test_a_transaction_of_the_store_is_begun_and_committed(url: str) -> None:
    async with RoundTrips(url) as proxy:
        database = connect(proxy.url)
        counted = []
        for _ in range(3):
            before = proxy.round_trips
            async with database.transaction() as connection:
                await connection.execute(text("SELECT 1"))
            counted.append(proxy.round_trips - before)
        await database.close()

    # BEGIN, the statement, COMMIT: a connection that was just used is not pinged.
    assert counted[-1] == 3
