"""An answer with an id that cannot be one is no answer: the order waits, a person is told, and
nothing that was paid is given back because of it.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, Final

import pytest

from durable_orders.domain.activity_messages import Attention, ResendUnanswered
from durable_orders.domain.lifecycle import Status
from durable_orders.domain.parcels import MOST_PARCELS, ParcelStatus
from durable_orders.domain.terms import ShopTerms
from durable_orders.domain.workflow_messages import ParcelUpdate, ResendParcel
from durable_orders.providers.resend.mailer import ResendMailer
from durable_orders.providers.warehouse.client import HttpWarehouse
from tests.support.eventually import eventually
from tests.unit.canned import Request, http, serving
from tests.workflows.conftest import Clients, Shop, ended
from tests.workflows.test_waiting import reached
from workflows.order import OrderWorkflow

#: After so many a person is told.
QUICK_TRIES: Final = 6

IDS: Final = {
    "NUL": "a\x00b",
    "a line break": "par_1\n2026-03-01 ERROR forged",
    "ESC": "\x1b[2J",
    "CSI of C1": "\x9b2J",
    "a paragraph separator": "a\u2029b",
    "a mark of direction": "par\u200f1",
    "an Arabic mark": "par\u061c1",
    "an override": "par\u202e1",
    "an isolate": "par\u20661",
    "a zero width space": "par\u200b1",
    "a byte order mark": "\ufeffpar_1",
    "half a character": "par\ud800",
    "100 KB": "x" * 100_000,
    "nothing": "",
    "a number": 7,
}


Broken = Callable[[dict[str, Any]], bytes | dict[str, Any]]


@dataclass
class Warehouse:
    """A warehouse over HTTP that gives each of these answers to ``call``, and then good ones.

    Before the last it waits until the test has looked.
    """

    call: str
    broken: list[Broken]
    #: It refuses to ship, though it has: the order is undone.
    refuses: bool = False

    def __post_init__(self) -> None:
        self.was_looked_at = asyncio.Event()

    async def __call__(self, request: Request) -> bytes:
        call = request.target.rpartition("/")[2]
        if call == "fulfillments":
            reference = json.loads(request.body)["order_id"]
        else:
            reference = request.target.split("/")[2]
        parcels = [{"id": "par_1", "lines": [{"sku": "MUG", "quantity": 2}]}]
        more: dict[str, dict[str, Any]] = {
            "cancel": {"outcome": "already_left"},
            "resend": {"parcel": {"id": "par_2", "resends": "par_1"}},
        }
        answer = {"order_id": reference, "id": "ful_1", "parcels": parcels, **more.get(call, {})}
        if call != self.call or not self.broken:
            return problem("cannot_fulfill", 422) if self._refuses(call) else http(200, answer)
        if len(self.broken) == 1:
            await self.was_looked_at.wait()
        broken = self.broken.pop(0)(answer)
        return broken if isinstance(broken, bytes) else http(200, broken)

    def _refuses(self, call: str) -> bool:
        return self.refuses and call == "fulfillments"


def problem(code: Any, status: int = 400) -> bytes:
    return http(status, {"error": {"code": code, "message": "no"}})


@pytest.fixture
async def shop(clients: Clients) -> Shop:
    """A shop where nobody works yet."""
    return Shop(clients.skipping, clients.patient)


async def attention_of(handle: Any) -> Attention:
    found: Attention | None = None

    async def there() -> bool:
        nonlocal found
        found = (await handle.query(OrderWorkflow.status)).attention
        return found is not None

    await eventually(there)
    assert found is not None
    assert len(found.problem) < 1_000
    assert found.problem.isprintable()
    return found


def each(broken: Callable[[dict[str, Any], Any], Any]) -> list[Broken]:
    """An answer for each of ``IDS``."""
    return [lambda answer, id_=id_: broken(answer, id_) for id_ in IDS.values()]  # type: ignore[misc]


#: Answers to the request to ship, by what is broken in them; more than the quick tries of each.
FULFIL: Final[dict[str, list[Broken]]] = {
    "fulfillment": each(lambda a, id_: {**a, "id": id_}),
    "order": each(lambda a, id_: {**a, "order_id": id_}),
    "parcel": each(lambda a, id_: {**a, "parcels": [*a["parcels"], {"id": id_}]}),
    "product": each(lambda a, id_: {**a, "short": [{"sku": id_, "quantity": 1}]}),
    "product in a parcel": each(
        lambda a, id_: {**a, "parcels": [{"id": "par_1", "lines": [{"sku": id_, "quantity": 1}]}]}
    ),
    "code": each(lambda _, id_: problem(id_)),
    "parcels without end": each(
        lambda a, _: {**a, "parcels": [{"id": f"{n:0>250}"} for n in range(MOST_PARCELS + 1)]}
    ),
    "pieces without end": each(lambda a, _: {**a, "short": [{"sku": "MUG", "quantity": 10**400}]}),
}


@pytest.mark.parametrize("what", FULFIL)
async def test_a_paid_order_is_not_undone_for_what_the_warehouse_names_badly(
    shop: Shop, what: str
) -> None:
    neighbour = Warehouse("fulfillments", [*FULFIL[what]])
    assert len(neighbour.broken) > QUICK_TRIES
    async with (
        serving(neighbour) as url,
        HttpWarehouse(url, "key") as warehouse,
        shop.worker(shop.client, warehouse=warehouse),
    ):
        handle = await shop.order()
        attention = await attention_of(handle)
        assert attention.step == "fulfill_order"
        neighbour.was_looked_at.set()
        outcome = await ended(handle)
    assert neighbour.broken == []
    assert outcome.status is Status.COMPLETED
    assert (outcome.parcel_ids, shop.cards.given_back(outcome.order_id)) == (("par_1",), 0)


async def test_an_order_is_not_given_back_while_it_is_not_known_what_has_left(
    shop: Shop,
) -> None:
    """The warehouse cannot recall it, and does not say so in an answer that makes sense."""
    neighbour = Warehouse(
        "cancel", each(lambda a, id_: {**a, "parcels": [{"id": id_}]}), refuses=True
    )
    async with (
        serving(neighbour) as url,
        HttpWarehouse(url, "key") as warehouse,
        shop.worker(shop.client, warehouse=warehouse),
    ):
        order_id = await shop.place()
        handle = await shop.start(order_id)
        await attention_of(handle)
        assert shop.cards.given_back(order_id) == 0
        neighbour.was_looked_at.set()
        outcome = await ended(handle)
    assert outcome.status is Status.COMPLETED
    assert shop.cards.given_back(order_id) == 0


async def test_a_mail_whose_id_is_none_is_sent_again_by_its_key(shop: Shop) -> None:
    ids, keys = [*IDS.values()], list[str]()

    def answer(request: Request) -> bytes:
        keys.append(request.headers["idempotency-key"])
        return http(200, {"id": ids.pop(0) if ids else "mail-1"})

    async with (
        serving(answer) as url,
        ResendMailer("re_1", sender="shop@example.org", api_url=url) as mailer,
        shop.worker(shop.client, mailer=mailer),
    ):
        outcome = await (await shop.order()).result()
    assert (outcome.status, outcome.confirmed) == (Status.COMPLETED, True)
    assert len(keys) == len(IDS) + 1
    assert len(set(keys)) == 1


class TestParcels:
    @pytest.fixture
    async def shop(self, clients: Clients) -> Shop:
        terms = ShopTerms(delivery_deadline=timedelta(days=30))
        return Shop(clients.skipping, clients.patient, terms=terms)

    async def test_a_parcel_that_may_have_been_sent_again_is_asked_for_until_it_has_a_name(
        self, shop: Shop
    ) -> None:
        neighbour = Warehouse("resend", each(lambda a, id_: {**a, "parcel": {"id": id_}}))
        async with (
            serving(neighbour) as url,
            HttpWarehouse(url, "key") as warehouse,
            shop.worker(shop.client, warehouse=warehouse),
        ):
            handle = await shop.order()
            order_id = handle.id.removeprefix("order-")
            await reached(shop, handle, Status.FULFILLED)
            resend = ResendParcel("par_1", "ops-7")
            answer = await handle.execute_update(OrderWorkflow.resend_parcel, resend)
            assert isinstance(answer, ResendUnanswered)
            await attention_of(handle)
            neighbour.was_looked_at.set()

            async def is_named() -> bool:
                return [one.parcel_id for one in (await shop.book.view(order_id)).parcels] == [
                    "par_1",
                    "par_2",
                ]

            await eventually(is_named)
            assert neighbour.broken == []
            delivered = ParcelUpdate("par_2", ParcelStatus.DELIVERED)
            await handle.signal(OrderWorkflow.parcel_updated, delivered)
            assert (await handle.result()).status is Status.COMPLETED
