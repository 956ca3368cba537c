"""The world's own books, by order: what was taken, given back, packed and mailed.

They are read from the same objects the APIs show, and say nothing about what should have been.
"""

from typing import Final

from sandbox.world.state_store import Doc, Ledger, Thing

_KINDS: Final = ("payment_intent", "charge", "refund", "fulfillment", "mail")


def books(ledger: Ledger) -> dict[str, Doc]:
    """The page of every order. What names no order is on the page called ``""``."""
    by_order: dict[str, list[Thing]] = {}
    for thing in ledger.things(_KINDS):
        by_order.setdefault(thing.order_id or "", []).append(thing)
    return {order_id: _page(order_id, things) for order_id, things in by_order.items()}


def page(ledger: Ledger, order_id: str) -> Doc:
    """The page of one order; an empty one when nothing is known of it."""
    return _page(order_id, ledger.things(_KINDS, order_id))


def _page(order_id: str, things: list[Thing]) -> Doc:
    kinds: dict[str, list[Doc]] = {kind: [] for kind in _KINDS}
    for thing in things:
        kinds[thing.kind].append(thing.body)
    refunds = [_refund(refund) for refund in kinds["refund"]]
    payments = [_payment(intent, kinds["charge"], refunds) for intent in kinds["payment_intent"]]
    return {
        "order_id": order_id,
        "captured": sum(payment["captured"] for payment in payments),
        "refunded": sum(payment["refunded"] for payment in payments),
        "payments": payments,
        "refunds": refunds,
        "fulfillments": [body for body in kinds["fulfillment"] if body["id"] is not None],
        "mails": [_mail(mail) for mail in kinds["mail"]],
    }


def _payment(intent: Doc, charges: list[Doc], refunds: list[Doc]) -> Doc:
    own = [charge for charge in charges if charge["payment_intent"] == intent["id"]]
    return {
        "id": intent["id"],
        "status": intent["status"],
        "amount": intent["amount"],
        "currency": intent["currency"],
        "customer": intent["customer"],
        "capturable": intent["amount_capturable"],
        "captured": sum(charge["amount_captured"] for charge in own),
        # From the refunds: a released hold shows on its charge as refunded, and took nothing.
        "refunded": sum(
            refund["amount"]
            for refund in refunds
            if refund["payment"] == intent["id"] and refund["status"] in {"succeeded", "pending"}
        ),
        "charges": [
            {
                "id": charge["id"],
                "status": charge["status"],
                "amount": charge["amount"],
                "captured": charge["amount_captured"],
                "failure": (charge["outcome"]["reason"] if charge["failure_code"] else None),
            }
            for charge in own
        ],
    }


def _refund(refund: Doc) -> Doc:
    return {
        "id": refund["id"],
        "payment": refund["payment_intent"],
        "charge": refund["charge"],
        "amount": refund["amount"],
        "currency": refund["currency"],
        "status": refund["status"],
    }


def _mail(mail: Doc) -> Doc:
    return {
        "id": mail["id"],
        "key": mail["_key"],
        "kind": mail["_kind"],
        "to": mail["to"],
        "subject": mail["subject"],
    }
