"""A world of its own for every test module, spoken to through the official SDKs."""

from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import httpx
import pytest
import resend
import stripe
from resend.http_client_httpx import HTTPXClient

from sandbox.books_client import Books
from sandbox.fault_client import Dials
from sandbox.world import World
from tests.sandbox.buying import a_shop


@pytest.fixture(scope="module")
async def world(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[World]:
    state: Path = tmp_path_factory.mktemp("world")
    async with World(state) as running:
        yield running


@pytest.fixture(scope="module")
async def shop(world: World) -> AsyncIterator[stripe.StripeClient]:
    async with a_shop(world.url) as client:
        yield client


@pytest.fixture(scope="module")
async def http(world: World) -> AsyncIterator[httpx.AsyncClient]:
    async with httpx.AsyncClient(base_url=world.url, timeout=20) as client:
        yield client


@pytest.fixture(scope="module")
async def dials(world: World) -> AsyncIterator[Dials]:
    async with Dials(world.url) as turned:
        yield turned


@pytest.fixture(scope="module")
def books(world: World) -> Books:
    return Books(world.url)


@pytest.fixture(scope="module")
def mailer(world: World) -> Iterator[type[resend.Emails]]:
    """The Resend SDK keeps its address, key and connections in its module."""
    before = (resend.api_url, resend.api_key, resend.default_async_http_client)
    resend.api_url, resend.api_key = world.url, "re_sandbox"
    resend.default_async_http_client = HTTPXClient()  # another test may have left a closed one
    yield resend.Emails
    resend.api_url, resend.api_key, resend.default_async_http_client = before
