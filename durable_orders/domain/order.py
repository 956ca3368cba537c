"""Orders, and the baskets that they are placed from."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from durable_orders.domain.charge_limits import charge_problem
from durable_orders.domain.ids import (
    CARD_CUSTOMER,
    CUSTOMER_ID,
    PAYMENT_METHOD,
    SKU,
    checked_order_id,
)
from durable_orders.domain.lifecycle import Status, Stop
from durable_orders.domain.money import Money, total
from durable_orders.domain.texts import ADDRESS, EMAIL, RECEIPT_EMAIL, RECIPIENT_NAME

#: Far above any basket, below any overflow; what a card can be charged is in ``charge_limits``.
MAX_QUANTITY = 10_000


class InvalidOrderError(ValueError):
    """The order cannot be accepted as it stands; the message says what to change."""


@dataclass(frozen=True)
class Line:
    """A quantity of one product, at its price when the order was placed."""

    sku: str
    name: str
    quantity: int
    unit_price: Money

    @property
    def price(self) -> Money:
        return self.unit_price * self.quantity


@dataclass(frozen=True)
class Recipient:
    """Recipient of emails and parcels. Personal data: it stays in the database. ``address`` may
    have several lines.
    """

    name: str
    email: str
    address: str


class FutureUsage(StrEnum):
    """What a card is saved for: to be charged while its customer is present, or also while away."""

    ON_SESSION = "on_session"
    OFF_SESSION = "off_session"


@dataclass(frozen=True)
class PaymentOptions:
    """How an order is paid, besides with which card; the names are Stripe's.

    ``customer``: the customer of the card provider's (``cus_…``) whose saved card is charged, or
    for whom it is saved; not the shop's own ``customer_id``. ``off_session``: the customer is away.
    ``setup_future_usage``: save the card for the customer, once it has paid. ``receipt_email``:
    where the card provider sends its receipt. Personal data: it stays in the database.
    """

    customer: str | None = None
    off_session: bool = False
    setup_future_usage: FutureUsage | None = None
    receipt_email: str | None = None

    def check(self) -> None:
        """Raises ``InvalidOrderError`` for options that do not go together, ``InvalidTextError``
        for an id or an address that is none.
        """
        if self.customer is not None:
            CARD_CUSTOMER.check(self.customer)
        if self.receipt_email is not None:
            RECEIPT_EMAIL.check(self.receipt_email)
        if self.off_session and self.setup_future_usage is not None:
            raise InvalidOrderError(
                "a card is not saved while its customer is away: leave setup_future_usage out, or "
                "off_session"
            )
        if self.off_session and self.customer is None:
            raise InvalidOrderError(
                "a card that is charged while its customer is away (off_session) is one that was "
                "saved: name the customer of the card provider's, cus_…, whose card it is"
            )
        if self.setup_future_usage is not None and self.customer is None:
            raise InvalidOrderError(
                "a card is saved (setup_future_usage) for a customer of the card provider's: name "
                "them, cus_…"
            )


@dataclass(frozen=True)
class Order:
    """An order as the database has it.

    ``payment_method`` is the card provider's token (``pm_…``), never a card number. A ``flagged``
    order needs approval, whatever its total. ``reason`` says why it is being undone or ended
    early, as a ``StopReason``. ``key_prefix`` is the installation's name when the order was placed,
    empty until then. ``undone`` is why, where it was decided to undo it.
    """

    id: str
    customer_id: str
    recipient: Recipient
    lines: tuple[Line, ...]
    total: Money
    payment_method: str
    status: Status = Status.PLACED
    reason: str | None = None
    flagged: bool = False
    key_prefix: str = ""
    options: PaymentOptions = PaymentOptions()
    undone: Stop | None = None


@dataclass(frozen=True)
class Basket:
    """A request for an order: products and quantities. Prices come from the catalogue.

    Raises ``InvalidOrderError`` when no catalogue could accept it, and ``InvalidTextError`` for an
    id, name or address that is none.
    """

    order_id: str
    customer_id: str
    recipient: Recipient
    quantities: tuple[tuple[str, int], ...]
    payment_method: str
    flagged: bool = False
    options: PaymentOptions = PaymentOptions()

    def __post_init__(self) -> None:
        checked_order_id(self.order_id)
        CUSTOMER_ID.check(self.customer_id)
        RECIPIENT_NAME.check(self.recipient.name)
        EMAIL.check(self.recipient.email)
        ADDRESS.check(self.recipient.address)
        PAYMENT_METHOD.check(self.payment_method)
        self.options.check()
        if not self.quantities:
            raise InvalidOrderError("an order has at least one line")
        skus = [SKU.check(sku) for sku, _ in self.quantities]
        if twice := sorted({sku for sku in skus if skus.count(sku) > 1}):
            raise InvalidOrderError(f"{', '.join(twice)} is there twice: add the quantities up")
        for sku, quantity in self.quantities:
            if not 1 <= quantity <= MAX_QUANTITY:
                raise InvalidOrderError(
                    f"the quantity of {sku} is {quantity}: it must be from 1 to {MAX_QUANTITY}"
                )


def priced(basket: Basket, catalogue: dict[str, tuple[str, Money]]) -> Order:
    """Make ``basket`` an order at the prices of ``catalogue`` (sku → name, unit price).

    Raises ``InvalidOrderError`` for a product that is not sold, lines of several currencies, or a
    total that no card can be charged.
    """
    if unknown := sorted(sku for sku, _ in basket.quantities if sku not in catalogue):
        raise InvalidOrderError(f"{', '.join(unknown)} is not in the catalogue")
    lines = tuple(Line(sku, *_named(catalogue[sku], qty)) for sku, qty in basket.quantities)
    currencies = sorted({line.unit_price.currency for line in lines})
    if len(currencies) > 1:
        raise InvalidOrderError(f"one order has one currency, not {' and '.join(currencies)}")
    to_pay = total((line.price for line in lines), currencies[0])
    if to_pay.amount <= 0:
        raise InvalidOrderError(f"there is nothing to charge: the total is {to_pay}")
    if problem := charge_problem(to_pay):
        raise InvalidOrderError(problem)
    return Order(
        id=basket.order_id,
        customer_id=basket.customer_id,
        recipient=basket.recipient,
        lines=lines,
        total=to_pay,
        payment_method=basket.payment_method,
        flagged=basket.flagged,
        options=basket.options,
    )


def placed_from(order: Order, basket: Basket) -> bool:
    """Whether ``order`` was placed from ``basket``, whatever the catalogue says now."""
    return (
        order.id == basket.order_id
        and order.customer_id == basket.customer_id
        and order.recipient == basket.recipient
        and order.payment_method == basket.payment_method
        and order.flagged == basket.flagged
        and order.options == basket.options
        and {line.sku: line.quantity for line in order.lines} == dict(basket.quantities)
    )


def _named(product: tuple[str, Money], quantity: int) -> tuple[str, int, Money]:
    name, unit_price = product
    return name, quantity, unit_price
