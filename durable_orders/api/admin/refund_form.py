"""The refund form: its lines, and the request that it makes."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from durable_orders.api.admin.forms import Form
from durable_orders.domain.money import Money
from durable_orders.domain.order import Line, Order
from durable_orders.domain.refunds.calculation import returnable_quantities
from durable_orders.domain.refunds.refund import (
    Quantities,
    RefundEntry,
    RefundReason,
    RefundRequest,
)


class InvalidFormError(ValueError):
    """The form is incomplete or contradictory; the message says what is wrong."""


@dataclass(frozen=True)
class ReturnableLine:
    """A line of the form: ``left`` pieces of ``line`` can be returned; ``field`` is its input."""

    field: str
    line: Line
    left: int


def returnable_lines(order: Order, earlier: Iterable[RefundEntry]) -> list[ReturnableLine]:
    """What can be returned of each line, after the order's ``earlier`` refunds."""
    left = returnable_quantities(order, earlier)
    return [
        ReturnableLine(f"pieces-{n}", line, left[line.sku]) for n, line in enumerate(order.lines)
    ]


def parse_refund_request(form: Form, order: Order, *, by: str) -> RefundRequest:
    """The refund request in the form. Raises ``InvalidFormError``.

    Input that contradicts the chosen option is refused: guessing could cost money.
    """
    lines, amount, what = _lines(form, order), form["amount"], form["what"]
    restock = form["restock"] == "yes"
    if what not in {"everything", "lines", "amount"}:
        raise InvalidFormError("choose what to give back")
    if (lines and what != "lines") or (amount and what != "amount"):
        raise InvalidFormError(
            f"you chose {what}, and typed something else too: choose one of them"
        )
    if what == "lines" and not lines:
        raise InvalidFormError("type how many pieces come back")
    if restock and what == "amount":
        raise InvalidFormError("only pieces go back on the shelf: choose lines for that")
    try:
        money = Money.parse(amount, order.total.currency) if what == "amount" else None
        reason = RefundReason(form["reason"])
    except ValueError as error:
        wrong = str(error) if form["reason"] else "choose a reason"
        raise InvalidFormError(wrong) from None
    note = form["why"]
    return RefundRequest(
        order.id,
        form.fields.get("refund_id", ""),
        lines=lines,
        amount=money,
        restock=restock,
        reason=reason,
        message=f"{by}: {note}" if note else f"by {by}",
        requested_by=by,
    )


def _lines(form: Form, order: Order) -> Quantities:
    entered = [(line.sku, form[f"pieces-{n}"]) for n, line in enumerate(order.lines)]
    for sku, pieces in entered:
        if pieces and not (pieces.isdecimal() and pieces.isascii() and len(pieces) < 6):
            raise InvalidFormError(f"{pieces!r} is no number of {sku}")
    return tuple((sku, int(pieces)) for sku, pieces in entered if pieces and int(pieces))
