"""A stand-in per test module, used through the official SDKs."""

from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import httpx
import pytest
import resend
import stripe
from resend.http_client_httpx import HTTPXClient

from sandbox.books_client import BooksClient
from sandbox.fault_client import FaultClient
from sandbox.world import StandInServer
from tests.sandbox.buying import stripe_client


@pytest.fixture(scope="module")
async def stand_in(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[StandInServer]:
    state: Path = tmp_path_factory.mktemp("world")
    async with StandInServer(state) as running:
        yield running


@pytest.fixture(scope="module")
async def shop(stand_in: StandInServer) -> AsyncIterator[stripe.StripeClient]:
    async with stripe_client(stand_in.url) as client:
        yield client


@pytest.fixture(scope="module")
async def http(stand_in: StandInServer) -> AsyncIterator[httpx.AsyncClient]:
    async with httpx.AsyncClient(base_url=stand_in.url, timeout=20) as client:
        yield client


@pytest.fixture(scope="module")
async def faults(stand_in: StandInServer) -> AsyncIterator[FaultClient]:
    async with FaultClient(stand_in.url) as client:
        yield client


@pytest.fixture(scope="module")
def books(stand_in: StandInServer) -> BooksClient:
    return BooksClient(stand_in.url)


@pytest.fixture(scope="module")
def mailer(stand_in: StandInServer) -> Iterator[type[resend.Emails]]:
    """Resend's SDK, which keeps its address, key and connections in its module."""
    before = (resend.api_url, resend.api_key, resend.default_async_http_client)
    resend.api_url, resend.api_key = stand_in.url, "re_sandbox"
    resend.default_async_http_client = HTTPXClient()  # another test may have left a closed one
    yield resend.Emails
    resend.api_url, resend.api_key, resend.default_async_http_client = before
