"""A shop on the real Temporal server, with a worker or without, and its edge."""

from collections.abc import AsyncIterator

import httpx
import pytest

from sandbox.world import StandInServer
from tests.api.api_clients import asking
from tests.api.real import RealServers
from tests.support.servers import Servers
from tests.support.shop import Shop, brief_mails, brief_queries, closed_shop, shop

__all__ = ["brief_mails", "brief_queries", "closed_shop", "shop"]


@pytest.fixture
async def http(shop: Shop) -> AsyncIterator[httpx.AsyncClient]:
    """The edge of a shop with a worker."""
    async with asking(shop) as client:
        yield client


@pytest.fixture
async def closed(closed_shop: Shop) -> AsyncIterator[httpx.AsyncClient]:
    """The edge of a shop where nobody works."""
    async with asking(closed_shop) as client:
        yield client


@pytest.fixture(scope="session")
async def real_servers(
    servers: Servers, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[RealServers]:
    """What the shops with nothing in memory are on, one after the other."""
    async with StandInServer(tmp_path_factory.mktemp("world")) as world:
        yield RealServers(servers.temporal("real"), world)
