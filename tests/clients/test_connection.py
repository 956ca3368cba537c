"""How Temporal is spoken to."""

from __future__ import annotations

import pytest
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
