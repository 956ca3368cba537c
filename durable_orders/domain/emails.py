"""Emails about an order.

A recipient's name comes from whoever fills in the checkout, and the mail goes to whatever address
they type: nothing in a name may become a link (``greeting``).

Rendered from the order alone, without a clock: the email service compares the bytes of a repeated
request, so the same order must give the same email every time.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable
from dataclasses import replace
from html import escape
from typing import Final

from durable_orders.domain.activity_messages import OrderSummary
from durable_orders.domain.disputes.messages import DisputeDue
from durable_orders.domain.installation import MARK
from durable_orders.domain.lifecycle import Status, StopReason
from durable_orders.domain.money import Money
from durable_orders.domain.order import Order
from durable_orders.domain.parcels import Parcel
from durable_orders.domain.ports import Mail
from durable_orders.domain.texts import RECIPIENT_NAME, escaped

_EXPLANATIONS = {
    StopReason.OUT_OF_STOCK: "something you ordered is no longer in stock",
    StopReason.CARD_DECLINED: "your bank declined the payment",
    StopReason.TOO_MANY_CARDS: "none of the cards that were tried could be charged",
    StopReason.CARD_UNUSABLE: "the card or payment method you chose cannot be charged",
    StopReason.CUSTOMER_UNKNOWN: "the card that you saved with us cannot be found any more",
    StopReason.AMOUNT_REFUSED: "its total cannot be charged to a card",
    StopReason.NOT_APPROVED: "it did not pass our checks",
    StopReason.APPROVAL_TIMED_OUT: "we could not check it in time",
    StopReason.PAYMENT_TIMED_OUT: "the payment was not completed in time",
    StopReason.PAYMENT_ENDED: "its payment was cancelled before it was completed",
    StopReason.PAYMENT_RETURNED: "its payment was given back before anything was sent",
    StopReason.DISPUTED: "its payment was questioned before anything was sent",
    StopReason.HOLD_LAPSED: "your bank no longer holds the money for it",
    StopReason.CANNOT_FULFILL: "our warehouse cannot ship it",
    StopReason.CANCELLED: "it was cancelled, as requested",
    StopReason.CLOSED_BEFORE: "it was closed before",
    StopReason.GIVEN_UP: "we could not complete it",
    StopReason.NO_ANSWER: "we ran into a technical problem on our side",
}


# What mail clients make links of: addresses with a scheme, of hosts, of files and of mailboxes, and
# telephone numbers. "J.R.R. Tolkien" and "Dr. No" are none of it.
_LIKE_A_LINK: Final = re.compile(r":\S|//|\\\\|@|[.。]\w{2}|(?:\d[\s()./-]*){7}")


def confirmation(order: Order, *, short: Iterable[tuple[str, int]] = ()) -> Mail:
    """Email: the order is confirmed, except for the (sku, pieces) that are ``short``."""
    opening = f"Thank you! Order {order.id} is paid and on its way to the parcel service."
    names = {line.sku: line.name for line in order.lines}
    if missing := ", ".join(f"{pieces} x {names.get(sku, sku)}" for sku, pieces in short):
        opening += f" We are sorry: {missing} cannot be sent. You get the money for it back."
    return _mail(order, "confirmation", f"Order {order.id} is confirmed", opening)


def closing(
    order: Order,
    *,
    taken: Money | None = None,
    on_its_way: Money | None = None,
    disputed: Money | None = None,
) -> Mail:
    """Email: why the order ended early, and what that means for the customer's money.

    ``taken`` is all that was taken for it, its total unless another amount is known. ``on_its_way``
    is what of it has not arrived yet: another email follows once it has. ``disputed`` is what the
    customer's bank has taken back by disputes: that is not ours to give.
    """
    why = _EXPLANATIONS[StopReason(order.reason)] if order.reason else "it could not be completed"
    headline = "cancelled" if order.status is Status.CANCELLED else "not going ahead"
    money = "Nothing was taken from your card."
    if order.status is Status.REFUNDED:
        taken_back = disputed or order.total * 0
        money = _taken_back(taken_back)
        rest = (taken or order.total) - taken_back
        if rest.amount > 0:  # a bank may take more than was paid: its currency's rate has changed
            # What a bank has taken back itself is on its way no more.
            money += _given_back(rest, min(on_its_way, rest) if on_its_way else None)
    opening = f"Order {order.id} is {headline}: {why}. {money}"
    return _mail(order, "closing", f"Order {order.id} is {headline}", opening)


def payment_request(order: Order, *, payment_url: str = "") -> Mail:
    """Email: the customer's bank wants them to confirm the payment. ``payment_url`` is the shop's
    page for it, with ``{order_id}`` in it; without one the mail names no address.
    """
    link = payment_url.replace("{order_id}", order.id)
    opening = (
        f"Your bank wants you to confirm the payment of order {order.id} over {order.total}. "
        "Nothing has been taken from your card. "
        f"Please open {link or 'the order in our shop'} to confirm it, or to pay with another card."
    )
    subject = f"Please confirm the payment of order {order.id}"
    return _mail(order, "payment_request", subject, opening, link=link)


def _given_back(amount: Money, on_its_way: Money | None) -> str:
    """What became of ``amount``, all that was taken for an order."""
    if on_its_way is None:
        return f"We have given {amount} back to your card; banks take 5 to 10 days to show it."
    rest = amount - on_its_way
    before = f"We have given {rest} back to your card. " if rest else ""
    return f"{before}{on_its_way} is on its way back to you; we write again when it has arrived."


def _taken_back(disputed: Money) -> str:
    """What the customer's bank has taken back from us; empty for nothing."""
    if not disputed:
        return ""
    return (
        f"Your bank has taken {disputed} back from us, because the payment was disputed: ask your "
        "bank about it. "
    )


def shipped(order: Order, parcel: Parcel) -> Mail:
    """Email: a parcel of the order was shipped."""
    tracking = f" Track it as {parcel.tracking}." if parcel.tracking else ""
    opening = f"Parcel {parcel.parcel_id} of your order {order.id} is on its way.{tracking}"
    return _mail(order, "shipped", f"A parcel of order {order.id} is on its way", opening)


def approval_reminder(order: OrderSummary, *, to: str) -> Mail:
    """Email to the approver: an order still waits."""
    text = (
        f"Order {order.order_id} over {order.total} still waits for an approval.\n\n"
        f"{how_to_decide(order.order_id)}"
    )
    tags = mail_tags(order.key_prefix, order.order_id, "approval_reminder")
    return plain_text_mail(to, f"Order {order.order_id} waits for your approval", text, tags)


def dispute_reminder(due: DisputeDue, *, prefix: str, to: str) -> Mail:
    """Email to the approver: a dispute waits for evidence."""
    order_id, dispute_id = due.order_id, due.dispute_id
    text = (
        f"Dispute {dispute_id} of order {order_id} waits for evidence until "
        f"{due.due_by:%Y-%m-%d %H:%M} UTC. Without an answer it is lost.\n\n"
        f"See the operators' pages, at /operator/orders/{order_id}, or in a worker's container, or "
        "in a checkout whose virtual environment is active:\n\n"
        f"  python client.py disputes evidence {dispute_id}\n"
    )
    tags = mail_tags(prefix, order_id, "dispute_reminder")
    return plain_text_mail(to, f"Dispute {dispute_id} of order {order_id} is due", text, tags)


def how_to_decide(order_id: str, refund_id: str = "") -> str:
    """How an approver approves or rejects an order, or a refund of it: on a page or by a command.

    Every worker writes the same, whichever way it was started: as in a worker's container.
    """
    program, about = "python client.py", order_id
    if refund_id:
        program, about = f"{program} refund", f"{order_id} {refund_id}"
    return (
        f"Decide on the operators' pages, at /operator/orders/{order_id}, or in a worker's "
        "container, or in a checkout whose virtual environment is active:\n\n"
        f"  {program} approve {about} --by you\n"
        f'  {program} reject {about} --by you --reason "..."\n'
    )


def mail_tags(prefix: str, order_id: str, kind: str) -> tuple[tuple[str, str], ...]:
    """Tags of an email; the service's events repeat them."""
    return ((MARK, prefix), ("order", order_id), ("kind", kind))


def plain_text_mail(to: str, subject: str, text: str, tags: tuple[tuple[str, str], ...]) -> Mail:
    """An email to the shop's staff: the text as it is."""
    text = "\n".join(map(escaped, text.split("\n")))
    html = f'<!doctype html><html lang="en"><body><pre>{escape(text)}</pre></body></html>'
    return Mail(to=to, subject=escaped(subject), html=html, text=text, tags=tags)


def greeting(name: str) -> str:
    """The first line of an email to a customer, without a name that a mail client may make a link
    of: each client has its own idea of what a link looks like, so breaking it up is no remedy.
    """
    is_like_a_link = _LIKE_A_LINK.search(unicodedata.normalize("NFKC", name))
    return "Hello," if is_like_a_link or not RECIPIENT_NAME.matches(name) else f"Hello {name},"


def _mail(order: Order, kind: str, subject: str, opening: str, *, link: str = "") -> Mail:
    """An email to the customer; ``link`` is the part of ``opening`` that is one, of our making."""
    hello, opening = greeting(order.recipient.name), escaped(opening)
    lines = [replace(line, name=escaped(line.name)) for line in order.lines]
    text_lines = [f"  {line.quantity} x {line.name}   {line.price}" for line in lines]
    text = "\n".join([hello, "", opening, "", *text_lines, "", f"Total: {order.total}", ""])
    rows = "".join(
        f'<tr><td>{line.quantity} &times; {escape(line.name)}</td><td align="right">'
        f"{escape(str(line.price))}</td></tr>"
        for line in lines
    )
    opening = escape(opening)
    if link:
        opening = opening.replace(escape(link), f'<a href="{escape(link)}">{escape(link)}</a>')
    html = (
        '<!doctype html><html lang="en"><body style="font-family:sans-serif;max-width:36em">'
        f"<p>{escape(hello)}</p><p>{opening}</p>"
        f'<table width="100%" cellpadding="4">{rows}<tr><td><b>Total</b></td>'
        f'<td align="right"><b>{escape(str(order.total))}</b></td></tr></table>'
        "</body></html>"
    )
    tags = mail_tags(order.key_prefix, order.id, kind)
    to = order.recipient.email
    return Mail(to=to, subject=escaped(subject), html=html, text=text, tags=tags)
