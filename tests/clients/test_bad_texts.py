"""Ids and other texts that are none, at every door of the clients: refused before a call is made.

The doors are the clients' own methods: every argument of a name below. A method that is added is
tested without a change here.
"""

from __future__ import annotations

import inspect
from collections.abc import AsyncIterator, Iterator
from datetime import timedelta
from typing import Any, Final, cast

import pytest
from temporalio.client import Client

from durable_orders.clients.order_operations import OrderOperations
from durable_orders.clients.orders import OrderClient
from durable_orders.clients.refunds import RefundClient
from durable_orders.domain.listing import OrderFilter
from durable_orders.domain.parcels import ParcelStatus
from durable_orders.domain.refunds.refund import RefundRequest
from durable_orders.domain.texts import InvalidTextError

BAD: Final = ["a\x00b", "a\nb", "a\n", "\x1b[31m", "a\ud800", "x" * 100_000]
#: By the names of arguments; a note may be empty, and a tracking reference too.
MORE: Final[dict[str, list[str]]] = {
    "order_id": ["", "a/b", "..", "ä", "a b"],
    "refund_id": ["", "a/b", "..", "ä", "a-b"],
    "parcel_id": ["", " ", ".", ".."],
    "by": ["", "Ada Lovelace", "ada@example.com"],
    "payment_method": ["", "4242424242424242", "pm_ card", "a/b"],
    "note": [],
    "reason": [],
    "outcome": [],
    "tracking": [],
}
GOOD: Final[dict[str, Any]] = {
    **dict.fromkeys(("order_id", "refund_id"), "1001"),
    **dict.fromkeys(("note", "reason", "outcome", "by", "tracking", "parcel_id"), "ops"),
    "payment_method": "pm_card_visa",
    "status": ParcelStatus.SHIPPED,
    "wait": timedelta(seconds=1),
}
#: Those that ask for no order.
OTHERS: Final = {"place", "page", "list", "waiting", "attention", "stranded", "request"}


def methods() -> Iterator[tuple[type, str, str]]:
    """Each client, its method, and one of its arguments that is a text."""
    for client in (OrderClient, OrderOperations, RefundClient):
        for method, function in inspect.getmembers(client, inspect.isfunction):
            if method.startswith("_") or method in OTHERS:
                continue
            names = [name for name in inspect.signature(function).parameters if name in MORE]
            assert names, method
            for name in names:
                yield client, method, name


class Untouched:
    """A store that must not be asked."""

    def __getattr__(self, name: str) -> Any:
        def called(*_: object) -> None:
            raise AssertionError(f"the store was asked: {name}")

        return called


@pytest.fixture
async def nowhere() -> Client:
    """A Temporal that does not answer."""
    return await Client.connect("127.0.0.1:1", lazy=True)


@pytest.mark.parametrize(
    ("client", "method", "name"),
    list(methods()),
    ids=[f"{client.__name__}.{method} {name}" for client, method, name in methods()],
)
async def test_a_text_that_is_none_is_refused_before_anything_is_asked(
    nowhere: Client, client: type, method: str, name: str
) -> None:
    call = getattr(client(nowhere, Untouched()), method)
    wanted = [each for each in inspect.signature(call).parameters if each in GOOD]
    for text in [*BAD, *MORE[name]]:
        arguments = {each: GOOD[each] for each in wanted} | {name: text}
        with pytest.raises(InvalidTextError, match=" is not ") as error:
            await first_answer(call(**arguments))
        assert len(str(error.value)) < 600
        assert "4242" not in str(error.value)


async def first_answer(called: Any) -> None:
    """Await what a method returns, or the first of what it yields."""
    await (anext(called) if isinstance(called, AsyncIterator) else called)


@pytest.mark.parametrize("text", [*BAD, " "])
async def test_a_request_for_a_refund_is_checked_too(nowhere: Client, text: str) -> None:
    refunds = RefundClient(nowhere, cast("Any", Untouched()))
    for request in (
        RefundRequest(text, "r1"),
        RefundRequest("1001", text),
        RefundRequest("1001", "r1", lines=((text, 1),)),
        *([RefundRequest("1001", "r1", message=text)] if text.strip() else []),
    ):
        with pytest.raises(InvalidTextError):
            await refunds.request(request)


@pytest.mark.parametrize("text", [*BAD, "", " ", " cus_1", "ada@example.com"])
def test_orders_are_listed_of_customers_that_can_be(text: str) -> None:
    with pytest.raises(InvalidTextError, match="is not a customer id"):
        OrderFilter(customer_id=text)
