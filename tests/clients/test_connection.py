"""How Temporal is spoken to."""

from __future__ import annotations

import pytest
from temporalio.envconfig import ClientConfigProfile, ClientConfigTLS
from temporalio.service import GrpcCompression

from durable_orders.clients.connection import connect


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
