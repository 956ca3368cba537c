"""A shop for every test module."""

import pytest

from durable_orders.store.database import Database
from tests.store.shop import Shop


@pytest.fixture
def shop(database: Database) -> Shop:
    return Shop(database)
