"""How Temporal is spoken to."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator
from datetime import timedelta

import pytest
import pytest_asyncio
from temporalio.envconfig import ClientConfigProfile, ClientConfigTLS
from temporalio.service import GrpcCompression, RPCError, RPCStatusCode

from durable_orders.clients.connection import connect, translate_rpc_errors
from durable_orders.clients.errors import UnreachableError


@pytest.mark.parametrize(
    ("profile", "compressed"),
    [
        (ClientConfigProfile(), False),
        (ClientConfigProfile(api_key="secret"), True),
        (ClientConfigProfile(tls=ClientConfigTLS()), True),
    ],
    ids=["in a network of one's own", "with an API key", "with TLS"],
)
async def test_only_what_leaves_ones_own_network_is_compressed(
    profile: ClientConfigProfile, *, compressed: bool
) -> None:
    client = await connect(profile, lazy=True)

    told = client.service_client.config.grpc_compression
    assert told is (GrpcCompression.GZIP if compressed else GrpcCompression.NONE)


@pytest.mark.parametrize(
    ("status", "message"),
    [
        (RPCStatusCode.UNAVAILABLE, "tcp connect error"),
        (RPCStatusCode.UNKNOWN, "transport error"),
        (RPCStatusCode.INTERNAL, "h2 protocol error: error reading a body from connection"),
    ],
)
async def test_a_connection_that_breaks_in_a_call_is_an_unreachable_temporal(
    status: RPCStatusCode, message: str
) -> None:
    client = await connect(ClientConfigProfile(), lazy=True)

    with pytest.raises(UnreachableError, match="does not answer"), translate_rpc_errors(client):
        raise RPCError(message, status, b"")


async def test_what_the_server_answers_is_not_an_unreachable_temporal() -> None:
    client = await connect(ClientConfigProfile(), lazy=True)

    with pytest.raises(RPCError, match="no such thing"), translate_rpc_errors(client):
        raise RPCError("no such thing", RPCStatusCode.UNKNOWN, b"")


async def why_not(
    address: str, *, tls: bool = False, connect_timeout: timedelta = timedelta(seconds=60)
) -> str:
    """The reason in the sentence about this address, without what to do."""
    profile = ClientConfigProfile(address=address, tls=ClientConfigTLS() if tls else None)
    with pytest.raises(UnreachableError) as refused:
        await connect(profile, connect_timeout=connect_timeout)
    sentence = str(refused.value)
    assert sentence.startswith(f"Temporal does not answer at {address} (")
    return sentence.removeprefix(f"Temporal does not answer at {address} (").partition("). ")[0]


@pytest_asyncio.fixture
async def web_server() -> AsyncIterator[str]:
    """The address of a server that answers everything as HTTP 1, in plain text."""

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(1_000)
        writer.write(b"HTTP/1.1 400 Bad Request\r\nContent-Length: 2\r\n\r\nno")
        await writer.drain()
        await reader.read()
        writer.close()

    async with await asyncio.start_server(answer, "127.0.0.1", 0) as server:
        yield f"127.0.0.1:{server.sockets[0].getsockname()[1]}"


async def test_a_host_that_nobody_knows_is_named() -> None:
    assert await why_not("no-such-host.invalid:7233") == "there is no host of this name"


async def test_a_port_on_which_nobody_listens_is_named() -> None:
    assert await why_not("127.0.0.1:1") == "connection refused"


@pytest.mark.parametrize(
    ("tls", "why"),
    [(False, "it does not speak gRPC, or only over TLS"), (True, "it does not speak TLS")],
    ids=["plain", "TLS"],
)
async def test_a_server_of_another_kind_is_named(web_server: str, why: str, *, tls: bool) -> None:
    assert await why_not(web_server, tls=tls) == why


async def test_each_try_is_logged_with_its_reason(caplog: pytest.LogCaptureFixture) -> None:
    with pytest.raises(UnreachableError):
        await connect(ClientConfigProfile(address="127.0.0.1:1"), patience=timedelta(seconds=0.1))
    [line] = caplog.messages
    assert line == "Temporal at 127.0.0.1:1 is not there yet (connection refused): again in 0.2 s"


async def test_a_host_that_answers_nothing_is_given_up() -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        address = f"127.0.0.1:{silent.getsockname()[1]}"
        assert (
            await why_not(address, tls=True, connect_timeout=timedelta(seconds=0.2))
            == "no answer in time"
        )
