"""A shop on the real Temporal server, with a worker or without."""

from collections.abc import AsyncIterator

import pytest
from temporalio.client import Client

from sandbox.temporal_server import TemporalServer
from tests.shop import Shop
from workflows.runner import DATA_CONVERTER


@pytest.fixture
async def closed_shop(temporal_server: TemporalServer) -> AsyncIterator[Shop]:
    """A shop where nobody works."""
    shop = Shop(await Client.connect(temporal_server.address, data_converter=DATA_CONVERTER))
    yield shop
    await shop.abandon()


@pytest.fixture
async def shop(closed_shop: Shop) -> AsyncIterator[Shop]:
    """The shop with a worker."""
    async with closed_shop.worker():
        yield closed_shop
