"""One reader per field: an id that the warehouse's answer brings in comes back in its webhooks."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from durable_orders.domain.activity_messages import AlreadyLeft, Fulfilled, Resent
from durable_orders.domain.order import Recipient
from durable_orders.domain.parcels import ParcelStatus
from durable_orders.domain.ports import NoAnswerError, ShippingRequest
from durable_orders.domain.webhooks import ParcelChanged, UnreadableEventError
from durable_orders.providers.warehouse.client import HttpWarehouse
from tests.contracts.signing import READERS, signed
from tests.support.keys import INSTALLATION
from tests.unit.canned import Request, http, serving

ADDRESS = "12 St James's Square\nLondon SW1Y 4JH\nUnited Kingdom"
REQUEST = ShippingRequest(
    "t-1",
    Recipient("Ada Lovelace", "ada@example.com", ADDRESS),
    (("T SHIRT (L)", 2),),
    INSTALLATION,
)
REFERENCE = f"{INSTALLATION}-t-1"
LINES = [{"sku": "T SHIRT (L)", "quantity": 2}]
ORDINARY = ["par_1", "PAR 2026/00017", "Päckchen 1", "1/2", "a:b", "x" * 255, " par_1", "茶"]
STRANGE: list[Any] = ["", " ", ".", "..", "a\nb", "a\x00b", "x" * 256, "\ud800", 7, None, [], {}]


async def answered(body: dict[str, Any], operation: str) -> Any:
    """What the client makes of the warehouse's answer; None: of no answer."""
    reply = http(200, {"id": "ful_1", "order_id": REFERENCE, **body})
    async with serving(lambda _: reply) as url, HttpWarehouse(url, "key") as warehouse:
        try:
            match operation:
                case "fulfill":
                    return await warehouse.fulfill(REQUEST, key="k")
                case "resend":
                    return await warehouse.resend(
                        "t-1", "par_0", installation=INSTALLATION, key="k"
                    )
                case _:
                    return await warehouse.cancel("t-1", installation=INSTALLATION)
        except NoAnswerError:
            return None


def told(parcel_id: Any) -> Any:
    """What the webhook makes of an event about this parcel; None: it is refused."""
    event = {
        "type": "parcel.left",
        "order_id": REFERENCE,
        "parcel": {"id": parcel_id, "tracking": "AB 1234 5678 9GB"},
    }
    letter = signed("warehouse", json.dumps(event).encode())
    try:
        return READERS["warehouse"].read(letter.headers, letter.body).news
    except UnreadableEventError:
        return None


async def outcomes(parcel_id: Any) -> list[Any]:
    """Of each reader."""
    parcel = {"id": parcel_id, "lines": LINES}
    left = {"outcome": "already_left", "parcels": [parcel]}
    return [
        await answered({"parcels": [parcel]}, "fulfill"),
        await answered({"parcel": parcel}, "resend"),
        await answered(left, "cancel"),
        told(parcel_id),
    ]


@pytest.mark.parametrize("parcel_id", ORDINARY)
async def test_every_reader_takes_a_parcels_id_as_it_is(parcel_id: str) -> None:
    assert await outcomes(parcel_id) == [
        Fulfilled("ful_1", (parcel_id,), contents={parcel_id: (("T SHIRT (L)", 2),)}),
        Resent("ful_1", parcel_id),
        AlreadyLeft("ful_1", (parcel_id,)),
        ParcelChanged("t-1", parcel_id, ParcelStatus.SHIPPED, "AB 1234 5678 9GB"),
    ]


@pytest.mark.parametrize("parcel_id", STRANGE)
async def test_no_reader_takes_what_could_not_be_kept(parcel_id: object) -> None:
    assert await outcomes(parcel_id) == [None] * 4


@given(st.one_of(st.text(max_size=300), st.text("a./ \n\x00é\ud800", max_size=4)))
@example("a\x1fb")
@settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
async def test_what_one_reader_takes_every_other_takes(parcel_id: str) -> None:
    taken = {outcome is not None for outcome in await outcomes(parcel_id)}
    assert len(taken) == 1


@pytest.mark.parametrize("sku", ["T SHIRT (L)", "T-SHIRT/L=XL", "茶碗"])
async def test_skus_go_and_come_back_as_they_are(sku: str) -> None:
    seen: list[Any] = []

    def accept(request: Request) -> bytes:
        seen.append(json.loads(request.body))
        lines, short = [{"sku": sku, "quantity": 1}], [{"sku": sku, "quantity": 1}]
        parcels = [{"id": "par_1", "lines": lines}]
        body = {"id": "ful_1", "order_id": REFERENCE, "parcels": parcels, "short": short}
        return http(201, body)

    request = ShippingRequest("t-1", REQUEST.recipient, ((sku, 2),), INSTALLATION)
    async with serving(accept) as url, HttpWarehouse(url, "key") as warehouse:
        answer = await warehouse.fulfill(request, key="k")
    assert answer == Fulfilled("ful_1", ("par_1",), ((sku, 1),), {"par_1": ((sku, 1),)})
    [sent] = seen
    assert sent["lines"] == [{"sku": sku, "quantity": 2}]
    assert sent["ship_to"] == {"name": "Ada Lovelace", "address": ADDRESS}
