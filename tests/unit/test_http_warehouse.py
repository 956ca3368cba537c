"""What a warehouse, or a proxy before it, may answer, and what it means."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from datetime import timedelta

import pytest

from durable_orders.domain.activity_messages import (
    ContentsUnknown,
    Fulfilled,
    ReadFulfillmentAnswer,
    Resent,
)
from durable_orders.domain.order import Recipient
from durable_orders.domain.ports import (
    BusyError,
    LockedOutError,
    NoAnswerError,
    RefusedError,
    ShippingRefused,
    ShippingRequest,
)
from durable_orders.providers.warehouse.client import HttpWarehouse
from tests.support.keys import INSTALLATION
from tests.unit.canned import Request, http, serving

ADA = Recipient("Ada Lovelace", "ada@example.com", "12 St James's Square\nLondon")
REQUEST = ShippingRequest("t-1", ADA, (("MUG", 2),), INSTALLATION)
ACCEPTED = {
    "id": "ful_1",
    "order_id": "testshop-t-1",
    "status": "accepted",
    "parcels": [{"id": "par_1"}],
}
RESENT = {
    "id": "ful_1",
    "order_id": "testshop-t-1",
    "parcel": {"id": "par_2", "status": "accepted"},
}


@asynccontextmanager
async def asking(answer: Callable[[Request], bytes]) -> AsyncIterator[HttpWarehouse]:
    """The client of a warehouse that gives this answer."""
    async with serving(answer) as url, HttpWarehouse(url, "key") as warehouse:
        yield warehouse


def answering(
    status: int, body: object, **headers: str
) -> AbstractAsyncContextManager[HttpWarehouse]:
    return asking(lambda _: http(status, body, **headers))


def refusing(
    status: int, code: str, message: str = "no", **headers: str
) -> AbstractAsyncContextManager[HttpWarehouse]:
    return answering(status, {"error": {"code": code, "message": message}}, **headers)


async def test_an_order_is_asked_for_in_the_words_of_the_contract() -> None:
    seen: list[Request] = []

    def take(request: Request) -> bytes:
        seen.append(request)
        return http(201, ACCEPTED)

    async with serving(take) as url, HttpWarehouse(f"{url}/v1/", "key") as warehouse:
        await warehouse.fulfill(REQUEST, key="order-t-1:fulfillment")
    (request,) = seen
    assert (request.method, request.target) == ("POST", "/v1/fulfillments")
    assert request.headers["content-type"] == "application/json"
    assert request.headers["authorization"] == "Bearer key"
    assert request.headers["idempotency-key"] == "order-t-1:fulfillment"
    assert b"ada@example.com" not in request.body


async def test_an_order_id_cannot_lead_to_another_path() -> None:
    seen: list[str] = []

    def take(request: Request) -> bytes:
        seen.append(request.target)
        return http(404, {"error": {"code": "not_found", "message": "no"}})

    async with asking(take) as warehouse:
        with pytest.raises(RefusedError):
            await warehouse.cancel("../admin?x=1", installation=INSTALLATION)
    assert seen == ["/fulfillments/testshop-..%2Fadmin%3Fx%3D1/cancel"]


@pytest.mark.parametrize(
    "body",
    [
        "<html>Welcome</html>",
        [],
        {},
        {**ACCEPTED, "id": ""},
        {**ACCEPTED, "parcels": []},
        {**ACCEPTED, "parcels": [{"id": 7}]},
        {**ACCEPTED, "order_id": "t-2"},
        {**ACCEPTED, "short": [{"sku": "MUG", "quantity": 2}]},  # all of it
        {**ACCEPTED, "short": [{"sku": "MUG", "quantity": 3}]},
        {**ACCEPTED, "short": [{"sku": "MUG", "quantity": 0}]},
        {**ACCEPTED, "short": [{"sku": "MUG", "quantity": "1"}]},
        {**ACCEPTED, "short": [{"sku": "MUG", "quantity": 1}, {"sku": "MUG", "quantity": 1}]},
        {**ACCEPTED, "short": [{"sku": "TEA", "quantity": 1}]},
        {**ACCEPTED, "short": "MUG"},
        {**ACCEPTED, "parcels": [{"id": "par_1", "lines": [{"sku": "MUG", "quantity": 3}]}]},
        {**ACCEPTED, "parcels": [{"id": "par_1", "lines": [{"sku": "TEA", "quantity": 1}]}]},
    ],
)
async def test_a_yes_that_makes_no_sense_is_no_answer(body: object) -> None:
    async with answering(201, body) as warehouse:
        with pytest.raises(NoAnswerError):
            await warehouse.fulfill(REQUEST, key="k")


async def test_a_part_that_is_short_is_told() -> None:
    short = [{"sku": "MUG", "quantity": 1}]
    async with answering(201, {**ACCEPTED, "short": short}) as warehouse:
        answer = await warehouse.fulfill(REQUEST, key="k")
    assert answer == Fulfilled("ful_1", ("par_1",), short=(("MUG", 1),))


async def test_what_a_parcel_holds_is_told_by_those_that_tell() -> None:
    line = {"sku": "MUG", "quantity": 1}
    parcels = [
        {"id": "par_1", "lines": [line, line]},
        {"id": "par_2"},
        {"id": "par_3", "lines": []},
    ]
    async with answering(201, {**ACCEPTED, "parcels": parcels}) as warehouse:
        answer = await warehouse.fulfill(REQUEST, key="k")
    assert isinstance(answer, Fulfilled)
    assert answer.parcel_ids == ("par_1", "par_2", "par_3")
    assert answer.contents == {"par_1": (("MUG", 2),)}


MUG = {"sku": "MUG", "quantity": 1}
BOTH = {"id": "par_1", "lines": [MUG, MUG]}
NEW = {**BOTH, "id": "par_2", "resends": "par_1"}


async def test_a_record_is_read_in_the_words_of_the_contract() -> None:
    seen: list[Request] = []

    def take(request: Request) -> bytes:
        seen.append(request)
        return http(200, {**ACCEPTED, "parcels": [BOTH]})

    async with asking(take) as warehouse:
        await warehouse.read(REQUEST)
    (request,) = seen
    assert (request.method, request.target) == ("GET", "/fulfillments/testshop-t-1")
    assert request.headers["authorization"] == "Bearer key"
    assert request.body == b""


@pytest.mark.parametrize(
    ("record", "answer"),
    [
        # What is in all parcels, or what is short, tells the rest.
        ({"parcels": [BOTH]}, Fulfilled("ful_1", ("par_1",), (), {"par_1": (("MUG", 2),)})),
        ({"parcels": [BOTH, NEW]}, Fulfilled("ful_1", ("par_1",), (), {"par_1": (("MUG", 2),)})),
        ({"parcels": [{"id": "par_1"}], "short": []}, Fulfilled("ful_1", ("par_1",))),
        (
            {"parcels": [{"id": "par_1"}], "short": [MUG], "status": "left"},
            Fulfilled("ful_1", ("par_1",), (("MUG", 1),)),
        ),
    ],
)
async def test_a_record_that_tells_what_is_short_is_an_answer(
    record: dict[str, object], answer: ReadFulfillmentAnswer
) -> None:
    async with answering(200, {**ACCEPTED, **record}) as warehouse:
        assert await warehouse.read(REQUEST) == answer


@pytest.mark.parametrize(
    ("record", "why"),
    [
        ({"parcels": [{"id": "par_1"}]}, "does not say what of the order is short"),
        ({"parcels": [{"id": "par_1", "lines": [MUG]}]}, "does not say what of the order is short"),
        ({"parcels": [{"id": "par_1", "lines": [MUG]}, {"id": "par_2"}]}, "does not say"),
        ({"parcels": [NEW]}, "nothing of the order will leave"),
        ({"parcels": []}, "nothing of the order will leave"),
        ({"parcels": [BOTH], "status": "recalled"}, "nothing of the order will leave"),
        ({"parcels": [BOTH], "short": [MUG, MUG, MUG]}, "is short of"),
        ({"parcels": [{"id": "par_1", "lines": [MUG, MUG, MUG]}]}, "holds"),
    ],
)
async def test_a_record_that_may_leave_something_out_is_told_as_such(
    record: dict[str, object], why: str
) -> None:
    async with answering(200, {**ACCEPTED, **record}) as warehouse:
        answer = await warehouse.read(REQUEST)
    assert isinstance(answer, ContentsUnknown)
    assert why in answer.message


async def test_a_warehouse_without_the_record_says_so_or_gives_no_answer() -> None:
    async with refusing(404, "not_found") as warehouse:
        answer = await warehouse.read(REQUEST)
    assert answer == ContentsUnknown("the warehouse has no record of the order")
    for unserved in (answering(404, "<html>no such page</html>"), answering(405, "")):
        async with unserved as warehouse:
            with pytest.raises(NoAnswerError):
                await warehouse.read(REQUEST)


async def test_a_parcel_is_asked_for_again_in_the_words_of_the_contract() -> None:
    seen: list[Request] = []

    def take(request: Request) -> bytes:
        seen.append(request)
        return http(201, RESENT)

    async with asking(take) as warehouse:
        assert await warehouse.resend(
            "t-1", "par/1?", installation=INSTALLATION, key="k-1"
        ) == Resent("ful_1", "par_2")
    (request,) = seen
    assert request.method == "POST"
    assert request.target == "/fulfillments/testshop-t-1/parcels/par%2F1%3F/resend"
    assert request.headers["idempotency-key"] == "k-1"
    assert (request.body, request.headers["content-length"]) == (b"", "0")
    assert "content-type" not in request.headers


@pytest.mark.parametrize(
    "body",
    [
        {**RESENT, "parcel": {"id": "par_1"}},  # the very parcel that was lost
        {**RESENT, "parcel": {"id": ""}},
        {**RESENT, "parcel": None},
        {**RESENT, "order_id": "t-2"},
        {"id": "ful_1", "order_id": "testshop-t-1", "parcels": [{"id": "par_2"}]},
    ],
)
async def test_a_resend_that_makes_no_sense_is_no_answer(body: object) -> None:
    async with answering(201, body) as warehouse:
        with pytest.raises(NoAnswerError):
            await warehouse.resend("t-1", "par_1", installation=INSTALLATION, key="k")


async def test_a_warehouse_that_does_not_resend_says_why_or_is_refused() -> None:
    async with refusing(422, "cannot_fulfill", "no mug left") as warehouse:
        assert await warehouse.resend(
            "t-1", "par_1", installation=INSTALLATION, key="k"
        ) == ShippingRefused("cannot_fulfill", "no mug left")
    async with refusing(409, "fulfillment_cancelled") as warehouse:
        answer = await warehouse.resend("t-1", "par_1", installation=INSTALLATION, key="k")
        assert answer == ShippingRefused("fulfillment_cancelled", "no")
    async with refusing(404, "not_found") as warehouse:
        with pytest.raises(RefusedError):
            await warehouse.resend("t-1", "par_1", installation=INSTALLATION, key="k")
    async with answering(404, "<html>a proxy's own page</html>") as warehouse:
        with pytest.raises(NoAnswerError):
            await warehouse.resend("t-1", "par_1", installation=INSTALLATION, key="k")


@pytest.mark.parametrize(
    "body",
    [
        {"order_id": "testshop-t-1", "outcome": "perhaps"},
        {"order_id": "t-2", "outcome": "recalled"},
        {"order_id": "testshop-t-1", "outcome": "already_left", "parcels": []},
        {"order_id": "testshop-t-1", "outcome": "already_left", "parcels": [{"id": "par_1"}]},
    ],
)
async def test_a_cancellation_that_makes_no_sense_is_no_answer(body: object) -> None:
    async with answering(200, body) as warehouse:
        with pytest.raises(NoAnswerError):
            await warehouse.cancel("t-1", installation=INSTALLATION)


@pytest.mark.parametrize(
    "asked",
    [
        refusing(500, "internal_error"),
        answering(502, "<html>Bad Gateway</html>"),
        answering(404, "<html>a proxy's own page</html>"),
        answering(302, ""),
    ],
)
async def test_no_answer_is_never_a_refusal(
    asked: AbstractAsyncContextManager[HttpWarehouse],
) -> None:
    async with asked as warehouse:
        with pytest.raises(NoAnswerError) as caught:
            await warehouse.fulfill(REQUEST, key="k")
    assert type(caught.value) is NoAnswerError


@pytest.mark.parametrize(
    "asked",
    [refusing(409, "idempotency_key_in_use"), refusing(429, "too_many_requests")],
)
async def test_load_is_no_answer_of_its_own_kind(
    asked: AbstractAsyncContextManager[HttpWarehouse],
) -> None:
    async with asked as warehouse:
        with pytest.raises(BusyError):
            await warehouse.fulfill(REQUEST, key="k")


@pytest.mark.parametrize("status", [400, 404, 409, 422])
@pytest.mark.parametrize("code", ["", "a\x00b", "Bad", "a b", "\u202e", "x" * 81, "unknown"])
async def test_a_refusal_whose_code_is_none_is_no_answer(status: int, code: str) -> None:
    """It would undo a paid order."""
    async with refusing(status, code) as warehouse:
        for asked in (
            warehouse.fulfill(REQUEST, key="k"),
            warehouse.read(REQUEST),
            warehouse.cancel("t-1", installation=INSTALLATION),
            warehouse.resend("t-1", "par_1", installation=INSTALLATION, key="k"),
        ):
            with pytest.raises(NoAnswerError):
                await asked


async def test_the_warehouse_may_say_how_long_to_wait() -> None:
    async with refusing(429, "too_many_requests", **{"Retry-After": "9"}) as warehouse:
        with pytest.raises(NoAnswerError) as caught:
            await warehouse.cancel("t-1", installation=INSTALLATION)
    assert caught.value.retry_after == timedelta(seconds=9)


@pytest.mark.parametrize("status", [401, 403])
async def test_a_refused_key_names_the_setting(status: int) -> None:
    async with answering(status, "<html>Who are you?</html>") as warehouse:
        with pytest.raises(LockedOutError, match="FULFILLMENT_API_KEY"):
            await warehouse.cancel("t-1", installation=INSTALLATION)


@pytest.mark.parametrize(
    ("status", "code"),
    [(400, "invalid_request"), (409, "idempotency_mismatch"), (422, "something_else")],
)
async def test_our_own_mistakes_are_refused_for_good(status: int, code: str) -> None:
    async with refusing(status, code) as warehouse:
        with pytest.raises(RefusedError):
            await warehouse.fulfill(REQUEST, key="k")


async def test_a_refusal_does_not_repeat_who_the_customer_is() -> None:
    message = "No courier to Ada Lovelace, 12 ST JAMES'S SQUARE, London"
    async with refusing(422, "cannot_fulfill", message) as warehouse:
        answer = await warehouse.fulfill(REQUEST, key="k")
    assert answer == ShippingRefused("cannot_fulfill", "No courier to …, …, …")
