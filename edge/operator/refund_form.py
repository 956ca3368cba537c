"""What a refund's form asks for."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from edge.operator.visits import Form
from orders.money import Money
from orders.order import Line, Order
from orders.refund_plan import left_to_return
from orders.refunds import Quantities, RefundEntry, RefundReason, RefundRequest


class WrongFormError(ValueError):
    """The form does not say what to give back; the message says what is missing."""


@dataclass(frozen=True)
class LeftLine:
    """A line of the form: ``left`` pieces of ``line`` can be given back, typed into ``field``."""

    field: str
    line: Line
    left: int


def left_lines(order: Order, earlier: Iterable[RefundEntry]) -> list[LeftLine]:
    """What can be given back of each line, beside the order's ``earlier`` refunds."""
    left = left_to_return(order, earlier)
    return [LeftLine(f"pieces-{n}", line, left[line.sku]) for n, line in enumerate(order.lines)]


def request_in(form: Form, order: Order, *, by: str) -> RefundRequest:
    """The refund that the form asks for. Raises ``WrongFormError``.

    What else was typed than was chosen is never guessed at: it may be money.
    """
    lines, amount, what = _lines(form, order), form["amount"], form["what"]
    restock = form["restock"] == "yes"
    if what not in {"everything", "lines", "amount"}:
        raise WrongFormError("choose what to give back")
    if (lines and what != "lines") or (amount and what != "amount"):
        raise WrongFormError(f"you chose {what}, and typed something else too: choose one of them")
    if what == "lines" and not lines:
        raise WrongFormError("type how many pieces come back")
    if restock and what == "amount":
        raise WrongFormError("only pieces go back on the shelf: choose lines for that")
    try:
        money = Money.parse(amount, order.total.currency) if what == "amount" else None
        reason = RefundReason(form["reason"])
    except ValueError as error:
        wrong = str(error) if form["reason"] else "choose a reason"
        raise WrongFormError(wrong) from None
    note = form["why"]
    return RefundRequest(
        order.id,
        form["refund_id"],
        lines=lines,
        amount=money,
        restock=restock,
        reason=reason,
        message=f"{by}: {note}" if note else f"by {by}",
    )


def _lines(form: Form, order: Order) -> Quantities:
    typed = [(line.sku, form[f"pieces-{n}"]) for n, line in enumerate(order.lines)]
    for sku, pieces in typed:
        if pieces and not (pieces.isdecimal() and pieces.isascii() and len(pieces) < 6):
            raise WrongFormError(f"{pieces!r} is no number of {sku}")
    return tuple((sku, int(pieces)) for sku, pieces in typed if pieces and int(pieces))
