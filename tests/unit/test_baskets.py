"""Baskets, prices and ids."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from durable_orders.domain.ids import (
    InvalidOrderIdError,
    checked_order_id,
    order_id_of,
    workflow_id,
)
from durable_orders.domain.money import Money
from durable_orders.domain.order import (
    Basket,
    FutureUsage,
    InvalidOrderError,
    PaymentOptions,
    Recipient,
    placed_from,
    priced,
)
from durable_orders.domain.texts import InvalidTextError

ADA = Recipient("Ada", "ada@example.com", "London")
CATALOGUE = {
    "MUG": ("Mug", Money(1450, "EUR")),
    "TEE": ("T-shirt", Money(2900, "EUR")),
    "TENUGUI": ("Tenugui", Money(1800, "JPY")),
    "GIFT": ("Gift", Money(0, "EUR")),
    "CLIP": ("Paper clip", Money(20, "EUR")),
    "HOUSE": ("House", Money(60_000_000, "EUR")),
    "DATES": ("Dates", Money(1235, "KWD")),
}


CUSTOMER = "cus_NffrFeUfNV2Hib"


def basket(*quantities: tuple[str, int], order_id: str = "1001") -> Basket:
    return Basket(order_id, "cus_1", ADA, quantities, "pm_card_visa")


@given(st.integers(1, 10_000), st.integers(1, 10_000))
def test_the_total_is_the_sum_over_all_lines(mugs: int, tees: int) -> None:
    order = priced(basket(("MUG", mugs), ("TEE", tees)), CATALOGUE)
    assert order.total == Money(mugs * 1450 + tees * 2900, "EUR")


@pytest.mark.parametrize(
    ("quantities", "complaint"),
    [
        ((), "at least one line"),
        ((("MUG", 0),), "must be from 1"),
        ((("MUG", -1),), "must be from 1"),
        ((("MUG", 10_001),), "must be from 1 to 10000"),
        ((("MUG", 1), ("MUG", 2)), "MUG is there twice"),
    ],
)
def test_a_basket_nobody_could_sell_says_what_to_change(
    quantities: tuple[tuple[str, int], ...], complaint: str
) -> None:
    with pytest.raises(InvalidOrderError, match=complaint):
        basket(*quantities)


@pytest.mark.parametrize(
    ("quantities", "complaint"),
    [
        ((("UNICORN", 1),), "UNICORN is not in the catalogue"),
        ((("MUG", 1), ("TENUGUI", 1)), "one currency, not EUR and JPY"),
        ((("GIFT", 1),), "nothing to charge"),
        ((("CLIP", 1),), "0.20 EUR is too little for a card"),
        ((("HOUSE", 2),), "1200000.00 EUR is too much for a card"),
        ((("DATES", 1),), "1.235 KWD cannot be moved on a card"),
    ],
)
def test_a_basket_the_catalogue_cannot_price_says_why(
    quantities: tuple[tuple[str, int], ...], complaint: str
) -> None:
    with pytest.raises(InvalidOrderError, match=complaint):
        priced(basket(*quantities), CATALOGUE)


def test_it_is_the_total_that_is_charged() -> None:
    assert priced(basket(("CLIP", 3)), CATALOGUE).total == Money(60, "EUR")
    assert priced(basket(("DATES", 2)), CATALOGUE).total == Money(2470, "KWD")


@given(st.text())
def test_an_order_id_makes_a_workflow_id_and_back_or_is_refused(text: str) -> None:
    try:
        checked_order_id(text)
    except InvalidOrderIdError:
        return
    assert order_id_of(workflow_id(text)) == text


@pytest.mark.parametrize("text", ["", " 1", "-1", "a b", "x" * 65, "ä", "1\n", "../1", "1/2"])
def test_a_strange_order_id_is_refused(text: str) -> None:
    with pytest.raises(InvalidOrderIdError, match="is not an order id"):
        basket(("MUG", 1), order_id=text)


@pytest.mark.parametrize(
    "changed",
    [
        {"customer_id": ""},
        {"customer_id": "a\nb"},
        {"customer_id": "ada@example.com"},
        {"recipient": Recipient("", "ada@example.com", "London")},
        {"recipient": Recipient("A\x00da", "ada@example.com", "London")},
        {"recipient": Recipient("Ada\nLovelace", "ada@example.com", "London")},
        {"recipient": Recipient("Ada", "nobody", "London")},
        {"recipient": Recipient("Ada", "ada@example.com", "")},
        {"recipient": Recipient("Ada", "ada@example.com", "12 Square\x0bLondon")},
        {"recipient": Recipient("Ada", "ada@example.com", "x" * 501)},
        {"quantities": (("", 1),)},
        {"quantities": (("MUG\x00", 1),)},
        {"quantities": (("x" * 129, 1),)},
        {"payment_method": "4242424242424242"},
        {"payment_method": "pm_ card"},
        {"options": PaymentOptions(customer="customer-1")},
        {"options": PaymentOptions(customer="")},
        {"options": PaymentOptions(customer="cus_1", off_session=True, receipt_email="nobody")},
        {"options": PaymentOptions(receipt_email="ada@localhost")},
        {"options": PaymentOptions(receipt_email="ada@example.com\nbcc: bob@example.com")},
    ],
)
def test_a_basket_holds_what_a_shop_may_have_and_nothing_else(changed: dict[str, Any]) -> None:
    with pytest.raises(InvalidTextError, match=" is not ") as error:
        replace(basket(("MUG", 1)), **changed)
    assert "4242" not in str(error.value)


@pytest.mark.parametrize(
    ("options", "complaint"),
    [
        (PaymentOptions(off_session=True), "name the customer of the card provider's, cus_"),
        (PaymentOptions(setup_future_usage=FutureUsage.ON_SESSION), "a card is saved .* cus_"),
        (PaymentOptions(setup_future_usage=FutureUsage.OFF_SESSION), "a card is saved .* cus_"),
        (
            PaymentOptions(CUSTOMER, off_session=True, setup_future_usage=FutureUsage.OFF_SESSION),
            "not saved while its customer is away: leave setup_future_usage out, or off_session",
        ),
        (
            PaymentOptions(off_session=True, setup_future_usage=FutureUsage.ON_SESSION),
            "not saved while its customer is away",
        ),
    ],
)
def test_options_that_do_not_go_together_say_what_to_change(
    options: PaymentOptions, complaint: str
) -> None:
    with pytest.raises(InvalidOrderError, match=complaint):
        replace(basket(("MUG", 1)), options=options)


OPTIONS = [
    PaymentOptions(),
    PaymentOptions(CUSTOMER),
    PaymentOptions("cus_another"),
    PaymentOptions(CUSTOMER, off_session=True),
    PaymentOptions(CUSTOMER, setup_future_usage=FutureUsage.ON_SESSION),
    PaymentOptions(CUSTOMER, setup_future_usage=FutureUsage.OFF_SESSION),
    PaymentOptions(receipt_email="ada@example.com"),
    PaymentOptions(CUSTOMER, off_session=True, receipt_email="ada@example.com"),
]


@pytest.mark.parametrize("options", OPTIONS, ids=str)
def test_an_order_has_the_options_of_its_basket_and_of_no_other(options: PaymentOptions) -> None:
    ordered = replace(basket(("MUG", 1)), options=options)
    order = priced(ordered, CATALOGUE)
    assert order.options == options
    for other in OPTIONS:
        assert placed_from(order, replace(ordered, options=other)) == (other == options)


def test_an_ordinary_basket_is_priced_as_it_is() -> None:
    ordinary = Basket(
        "1001",
        "auth0|5f7c8ec7",
        Recipient("Ada", "ada@example.com", "12 St James's Square\nLondon\nUnited Kingdom"),
        (("T SHIRT (L)", 2), ("A=B/7", 1)),
        "pm_card_visa",
    )
    prices = {sku: (sku.title(), Money(1000, "EUR")) for sku in ("T SHIRT (L)", "A=B/7")}
    order = priced(ordinary, prices)
    assert [line.sku for line in order.lines] == ["T SHIRT (L)", "A=B/7"]
    assert (order.customer_id, order.recipient) == ("auth0|5f7c8ec7", ordinary.recipient)


def test_other_workflows_belong_to_no_order() -> None:
    assert order_id_of("refund-1") is None
    assert order_id_of("order-") is None
