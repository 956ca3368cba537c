"""A shop on the real Temporal server, with a worker or without, and its edge."""

from collections.abc import AsyncIterator

import httpx
import pytest

from tests.api.edges import asking
from tests.shop import Shop, brief_mails, brief_queries, closed_shop, shop

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
