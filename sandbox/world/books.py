"""The stand-in's books: what was captured, refunded, disputed, packed and mailed, per order.

They are computed from the objects that the APIs return, without any expectation of what should have
happened.
"""

from typing import Final

from sandbox.world.state_store import JsonObject, StateStore, StoredObject

_KINDS: Final = ("payment_intent", "charge", "refund", "dispute", "fulfillment", "mail")


def all_books(store: StateStore) -> dict[str, JsonObject]:
    """The books of every order by its id; entries without an order are under ``""``."""
    by_order: dict[str, list[StoredObject]] = {}
    for stored in store.objects(_KINDS):
        by_order.setdefault(stored.order_id or "", []).append(stored)
    return {order_id: _order_books(order_id, objects) for order_id, objects in by_order.items()}


def order_books(store: StateStore, order_id: str) -> JsonObject:
    """The books of one order; empty when nothing is known of it."""
    return _order_books(order_id, store.objects(_KINDS, order_id))


def _order_books(order_id: str, objects: list[StoredObject]) -> JsonObject:
    kinds: dict[str, list[JsonObject]] = {kind: [] for kind in _KINDS}
    for stored in objects:
        kinds[stored.kind].append(stored.body)
    refunds = [_refund(refund) for refund in kinds["refund"]]
    payments = [_payment(intent, kinds["charge"], refunds) for intent in kinds["payment_intent"]]
    return {
        "order_id": order_id,
        "captured": sum(payment["captured"] for payment in payments),
        "refunded": sum(payment["refunded"] for payment in payments),
        "payments": payments,
        "refunds": refunds,
        "disputes": [_dispute(dispute) for dispute in kinds["dispute"]],
        "fulfillments": [body for body in kinds["fulfillment"] if body["id"] is not None],
        "mails": [_mail(mail) for mail in kinds["mail"]],
    }


def _payment(
    intent: JsonObject, charges: list[JsonObject], refunds: list[JsonObject]
) -> JsonObject:
    own = [charge for charge in charges if charge["payment_intent"] == intent["id"]]
    return {
        "id": intent["id"],
        "status": intent["status"],
        "amount": intent["amount"],
        "currency": intent["currency"],
        "customer": intent["customer"],
        "capturable": intent["amount_capturable"],
        "captured": sum(charge["amount_captured"] for charge in own),
        # Not from the charge: it does not say which refunds are pending or failed.
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


def _refund(refund: JsonObject) -> JsonObject:
    return {
        "id": refund["id"],
        "payment": refund["payment_intent"],
        "charge": refund["charge"],
        "amount": refund["amount"],
        "currency": refund["currency"],
        "status": refund["status"],
    }


def _dispute(dispute: JsonObject) -> JsonObject:
    moved = sum(transaction["amount"] for transaction in dispute["balance_transactions"])
    return {
        "id": dispute["id"],
        "payment": dispute["payment_intent"],
        "charge": dispute["charge"],
        "amount": dispute["amount"],
        "currency": dispute["currency"],
        "reason": dispute["reason"],
        "status": dispute["status"],
        "withdrawn": -moved,
    }


def _mail(mail: JsonObject) -> JsonObject:
    return {
        "id": mail["id"],
        "key": mail["_key"],
        "kind": mail["_kind"],
        "to": mail["to"],
        "subject": mail["subject"],
        "at": mail["created_at"],
    }
