"""The bench's stand-ins, asked by the clients that the bench's orders use."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import httpx
import pytest

from bench.checks import effect_errors
from bench.stand_ins import ACCOUNT_ID, CONFIRM, CREATE, FULFIL, MAIL, serving
from durable_orders.domain.activity_messages import Fulfilled, FulfillmentCancelled, MailSent
from durable_orders.domain.money import Money
from durable_orders.domain.order import Recipient
from durable_orders.domain.ports import (
    ChargeState,
    Mail,
    ShippingRefused,
    ShippingRequest,
)
from durable_orders.domain.webhooks import PaymentChanged
from durable_orders.domain.workflow_messages import PaymentChange
from durable_orders.providers.resend.mailer import ResendMailer
from durable_orders.providers.stripe.account import read_account
from durable_orders.providers.stripe.cards import StripeCards
from durable_orders.providers.stripe.webhooks import StripeEvents
from durable_orders.providers.warehouse.client import HttpWarehouse
from sandbox.books_client import BooksClient, OrderBooks
from sandbox.webhook_endpoints import STRIPE_SECRET
from tests.support.eventually import eventually

PRICE = Money(350, "EUR")
ORDER = "bench-ours-1"
REQUEST = ShippingRequest(
    ORDER, Recipient("Ada", "ada@example.com", "12 St James's Square"), (("MUG", 2),), "shop"
)


class Shop:
    """Our clients of the three services, and the books of these."""

    def __init__(
        self,
        url: str,
        cards: StripeCards,
        warehouse: HttpWarehouse,
        mailer: ResendMailer,
        http: httpx.AsyncClient,
    ) -> None:
        self.url, self.cards, self.warehouse, self.mailer = url, cards, warehouse, mailer
        self._http = http

    async def pay(self, key: str = "1") -> str:
        charge = await self.cards.create(installation="shop", order_id=ORDER, amount=PRICE, key=key)
        await self.cards.confirm(charge.payment_id, payment_method="pm_card_visa", key=key)
        return charge.payment_id

    async def mail(self, key: str = "1") -> None:
        tags = (("order", ORDER), ("kind", "confirmation"))
        sent = await self.mailer.send(Mail("ada@example.com", "Hi", "<p>Hi", "Hi", tags), key=key)
        assert isinstance(sent, MailSent)

    async def books(self) -> dict[str, OrderBooks]:
        return await BooksClient(self.url).all()

    async def read(self, path: str) -> Any:
        return (await self._http.get(path)).json()

    async def control(self, **settings: Any) -> None:
        (await self._http.post("/control", json=settings)).raise_for_status()


@pytest.fixture
async def shop() -> AsyncIterator[Shop]:
    async with serving() as port:
        url = f"http://127.0.0.1:{port}"
        async with (
            StripeCards("sk_test_bench", api_base=url) as cards,
            HttpWarehouse(f"{url}/warehouse", "bench") as warehouse,
            ResendMailer("re_bench", sender="shop@shop.example", api_url=url) as mailer,
            httpx.AsyncClient(base_url=url) as http,
        ):
            yield Shop(url, cards, warehouse, mailer, http)


async def test_an_order_is_paid_packed_and_mailed_once(shop: Shop) -> None:
    charge = await shop.cards.create(installation="shop", order_id=ORDER, amount=PRICE, key="1")
    paid = await shop.cards.confirm(charge.payment_id, payment_method="pm_card_visa", key="1")
    assert (charge.state, paid.state) == (ChargeState.OPEN, ChargeState.CAPTURED)
    assert paid.captured == PRICE
    read = await shop.cards.read(charge.payment_id)
    assert (read.captured, read.latest_charge) == (PRICE, paid.latest_charge)
    assert isinstance(await shop.warehouse.fulfill(REQUEST, key="1"), Fulfilled)
    await shop.mail()

    assert effect_errors(await shop.books(), [ORDER]) == []


async def test_a_key_has_its_effect_once(shop: Shop) -> None:
    for _ in range(2):
        await shop.pay()
        await shop.warehouse.fulfill(REQUEST, key="1")
        await shop.mail()

    assert effect_errors(await shop.books(), [ORDER]) == []
    calls = (await shop.read("/calls"))[ORDER]
    assert [(endpoint, calls.count([endpoint, key])) for endpoint, key in calls[:2]] == [
        (CREATE, 2),
        (CONFIRM, 2),
    ]
    assert [endpoint for endpoint, _ in calls].count(FULFIL) == 2
    assert [endpoint for endpoint, _ in calls].count(MAIL) == 2


async def test_each_effect_that_came_twice_is_an_error(shop: Shop) -> None:
    for key in ("1", "2"):
        await shop.pay(key)
        await shop.warehouse.fulfill(REQUEST, key=key)
        await shop.mail(key)

    assert effect_errors(await shop.books(), [ORDER, "bench-ours-2"]) == [
        f"order {ORDER} has 2 live charges, not 1",
        f"order {ORDER} has 2 parcels, not 1",
        f"order {ORDER} has 2 confirmations, not 1",
        "nothing was done for order bench-ours-2",
    ]


async def test_a_payment_is_cancelled_before_it_is_paid_and_refunded_afterwards(shop: Shop) -> None:
    open_ = await shop.cards.create(installation="shop", order_id=ORDER, amount=PRICE, key="1")
    assert (await shop.cards.cancel(open_.payment_id)).state is ChargeState.CANCELLED
    paid = await shop.pay("2")
    assert (await shop.cards.cancel(paid)).state is ChargeState.CAPTURED

    terms = {"installation": "shop", "order_id": ORDER, "key": "undo"}
    first = await shop.cards.refund(paid, PRICE, **terms)
    again = await shop.cards.refund(paid, PRICE, **terms)

    assert first.refund_id == again.refund_id
    assert (await shop.cards.read(paid)).refunded == PRICE
    assert effect_errors(await shop.books(), [ORDER], wanted=0) == []


async def test_what_was_recalled_is_not_packed_any_more(shop: Shop) -> None:
    recall = await shop.warehouse.cancel(ORDER, installation="shop")
    assert isinstance(recall, FulfillmentCancelled)

    refused = await shop.warehouse.fulfill(REQUEST, key="1")

    assert isinstance(refused, ShippingRefused)
    assert effect_errors(await shop.books(), [ORDER], wanted=0) == []


async def test_an_answer_is_held_back_for_as_long_as_was_said(shop: Shop) -> None:
    await shop.control(answer_after=0.2)
    paying = asyncio.create_task(shop.pay())

    await eventually(lambda: _holds(shop, CREATE))
    await eventually(lambda: _holds(shop, CONFIRM))
    await paying

    assert await shop.read("/held") == {}


async def _holds(shop: Shop, endpoint: str) -> bool:
    return endpoint in (await shop.read("/held")).get(ORDER, [])


async def test_the_account_is_one_that_our_processes_accept(shop: Shop) -> None:
    assert (await read_account("sk_test_bench", api_base=shop.url)).account_id == ACCOUNT_ID


async def test_what_is_not_known_is_refused_with_a_sentence(shop: Shop) -> None:
    problem = (await shop.read("/v1/payouts"))["error"]["message"]
    assert problem == "The bench's stand-ins do not know GET /v1/payouts."


@asynccontextmanager
async def _receiving(status: Callable[[], int]) -> AsyncIterator[tuple[str, list[bytes]]]:
    """A server that answers webhooks with the status; yields its URL and the requests it gets.

    It closes each connection after the answer: the sender has to notice.
    """
    received: list[bytes] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = await reader.readuntil(b"\r\n\r\n")
        length = int(head.lower().partition(b"content-length:")[2].split()[0])
        received.append(head + await reader.readexactly(length))
        writer.write(f"HTTP/1.1 {status()} X\r\ncontent-length: 0\r\n\r\n".encode())
        writer.close()

    async with await asyncio.start_server(serve, "127.0.0.1", 0) as server:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/webhooks/stripe", received


async def test_stripes_webhook_is_signed_and_tells_of_the_payment(shop: Shop) -> None:
    async with _receiving(lambda: 200) as (url, received):
        await shop.control(webhooks=url)
        await shop.pay("1")
        await shop.pay("2")
        await eventually(lambda: _sent(shop, accepted=2, refused=0))

    for request in received:
        head, _, body = request.partition(b"\r\n\r\n")
        fields = [line.decode().split(": ", 1) for line in head.split(b"\r\n")[1:]]
        event = StripeEvents(STRIPE_SECRET).read({k.lower(): v for k, v in fields}, body)
        assert isinstance(event.news, PaymentChanged)
        assert (event.news.order_id, event.news.change) == (ORDER, PaymentChange.PAID)
        assert event.installation == "shop"


async def test_a_webhook_that_is_not_accepted_is_counted(shop: Shop) -> None:
    async with _receiving(lambda: 503) as (url, _):
        await shop.control(webhooks=url)
        await shop.pay()
        await eventually(lambda: _sent(shop, accepted=0, refused=1))


async def _sent(shop: Shop, *, accepted: int, refused: int) -> bool:
    found: dict[str, int] = await shop.read("/webhooks")
    return found == {"accepted": accepted, "refused": refused}
