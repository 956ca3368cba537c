"""No reply is read that is larger than it has to be, or whose size nobody can tell."""

from __future__ import annotations

import gzip
from collections.abc import AsyncIterator, Awaitable, Callable

import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import StreamingResponse
from starlette.routing import Route

from durable_orders.domain.order import Recipient
from durable_orders.domain.ports import Mail, NoAnswerError, ShippingRequest
from durable_orders.providers.resend.mailer import ResendMailer
from durable_orders.providers.stripe.account import read_account
from durable_orders.providers.stripe.cards import StripeCards
from durable_orders.providers.warehouse.client import HttpWarehouse
from tests.support.http_server import listening
from tests.support.keys import INSTALLATION

ADA = Recipient("Ada Lovelace", "ada@example.com", "12 St James's Square")
MEGABYTE = 1_048_576
#: Twice of what the largest may have.
SIZE = 16


async def at_warehouse(url: str) -> object:
    async with HttpWarehouse(url, "key") as warehouse:
        request = ShippingRequest("1001", ADA, (("MUG", 1),), INSTALLATION)
        return await warehouse.fulfill(request, key="k")


async def at_resend(url: str) -> object:
    async with ResendMailer("re_1", sender="Shop <s@example.com>", api_url=url) as mailer:
        return await mailer.send(Mail("ada@example.com", "s", "<p>t</p>", "t"), key="k")


async def at_stripe(url: str) -> object:
    async with StripeCards("sk_test_1", api_base=url) as cards:
        return await cards.read("pi_1")


async def at_stripes_account(url: str) -> object:
    return await read_account("sk_test_1", api_base=url)


Call = Callable[[str], Awaitable[object]]
CALLS = pytest.mark.parametrize("call", [at_warehouse, at_resend, at_stripe, at_stripes_account])


class Neighbour:
    """Answers everything with the same reply."""

    def __init__(self, *chunks: bytes, encoding: str = "") -> None:
        self.app = Starlette(routes=[Route("/{path:path}", self._answer, methods=["GET", "POST"])])
        self.accepted: list[str] = []
        self._chunks = chunks
        self._encoding = encoding

    async def _answer(self, request: Request) -> StreamingResponse:
        self.accepted.append(request.headers.get("accept-encoding", ""))
        headers = {"Content-Encoding": self._encoding} if self._encoding else {}
        return StreamingResponse(self._stream(), 200, headers, "application/json")

    async def _stream(self) -> AsyncIterator[bytes]:
        for chunk in self._chunks:
            yield chunk


@CALLS
async def test_a_large_reply_is_no_answer(call: Call) -> None:
    neighbour = Neighbour(b'{"id": "', *[b"x" * MEGABYTE] * SIZE, b'"}')
    async with listening(neighbour.app) as url:
        with pytest.raises(NoAnswerError) as raised:
            await call(url)
    assert len(str(raised.value)) < 500
    assert set(neighbour.accepted) == {"identity"}


@CALLS
async def test_a_compressed_reply_is_no_answer(call: Call) -> None:
    """A megabyte of it may hold a thousand."""
    packed = gzip.compress(b'{"id": "acct_1"}')
    async with listening(Neighbour(packed, encoding="gzip").app) as url:
        with pytest.raises(NoAnswerError, match=r"compressed|Resend gave no answer"):
            await call(url)


async def test_the_warehouse_has_one_mistake_of_each_list_told() -> None:
    line = b'{"sku": "\\u0000", "quantity": 0}'
    body = b'{"id": "f", "order_id": "o", "parcels": [], "short": [%b]}'
    async with listening(Neighbour(body % b",".join([line] * 20_000)).app) as url:
        with pytest.raises(NoAnswerError, match="makes no sense") as raised:
            await at_warehouse(url)
    assert len(str(raised.value)) < 500


@pytest.mark.parametrize("quantity", [b"9" * 4_300, b"1" + b"0" * 4_000, b"1000000001"])
async def test_pieces_beyond_all_counting_are_no_answer(quantity: bytes) -> None:
    line = b'{"sku": "MUG", "quantity": %b}' % quantity
    body = b'{"id": "f", "order_id": "testshop-1001", "parcels": [{"id": "p"}], "short": [%b, %b]}'
    async with listening(Neighbour(body % (line, line)).app) as url:
        with pytest.raises(NoAnswerError) as raised:
            await at_warehouse(url)
    assert len(str(raised.value)) < 500
