"""Emails about a refund: rendered from stored data alone, the same bytes every time."""

from __future__ import annotations

from html import escape

from durable_orders.domain.emails import greeting, how_to_decide, mail_tags, plain_text_mail
from durable_orders.domain.order import Order
from durable_orders.domain.ports import Mail
from durable_orders.domain.refunds.messages import RefundAwaitingApproval
from durable_orders.domain.refunds.refund import RefundEntry
from durable_orders.domain.texts import escaped


def approval_reminder(waiting: RefundAwaitingApproval, *, prefix: str, to: str) -> Mail:
    """Email to the approver: a refund still waits."""
    order_id, refund_id = waiting.refund.order_id, waiting.refund.refund_id
    text = (
        f"Refund {refund_id} of {waiting.amount} for order {order_id} still waits for an approval."
        f"\n\n{how_to_decide(order_id, refund_id)}"
    )
    tags = mail_tags(prefix, order_id, "refund_approval_reminder")
    subject = f"Refund {refund_id} of order {order_id} waits for your approval"
    return plain_text_mail(to, subject, text, tags)


def refunded(order: Order, refund: RefundEntry) -> Mail:
    """Email: the bank has accepted the refund."""
    names = {line.sku: line.name for line in order.lines}
    hello, amount = greeting(order.recipient.name), str(refund.amount)
    opening = (
        f"We have given {amount} of order {order.id} back to your card; banks take 5 to 10 days "
        "to show it."
    )
    pieces = [f"{quantity} x {escaped(names[sku])}" for sku, quantity in refund.lines]
    listed = ["", "It is for:", *(f"  {piece}" for piece in pieces)] if pieces else []
    reference = f"Reference: {refund.request.refund_id}"
    text = "\n".join([hello, "", opening, *listed, "", reference, ""])
    items = "".join(f"<li>{escape(piece)}</li>" for piece in pieces)
    html = (
        '<!doctype html><html lang="en"><body style="font-family:sans-serif;max-width:36em">'
        f"<p>{escape(hello)}</p><p>{escape(opening)}</p>"
        + (f"<p>It is for:</p><ul>{items}</ul>" if pieces else "")
        + f"<p>{escape(reference)}</p></body></html>"
    )
    return Mail(
        to=order.recipient.email,
        subject=f"We have given {amount} of order {order.id} back to you",
        html=html,
        text=text,
        tags=mail_tags(order.key_prefix, order.id, "refund"),
    )
