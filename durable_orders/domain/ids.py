"""Ids and idempotency keys, all of them made here.

Keys name a *business* event (this order's second card), never a Temporal attempt or run: a retry
must find the first try's result, and a second run of the same order the first run's.

Each key begins with a ``prefix``, the name of the installation that placed the order: others may
use the same account of a provider, and have an order of the same id. An order's prefix is fixed
when it is placed (``Order.key_prefix``).
"""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass
from typing import Final

TASK_QUEUE: Final = "orders"

_ORDER_ID: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
# No dash: the last one in ``refund-{order}-{refund}`` is where the order's id ends.
_REFUND_ID: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._]{0,63}")
_WORKFLOW_PREFIX: Final = "order-"
_REFUND_PREFIX: Final = "refund-"
_REFUND_KEY: Final = re.compile(r"[a-z0-9]+:order-([^:]+):refund:([^:]+):[0-9]+")
_REFERENCE: Final = re.compile(rf"([a-z0-9]+)-({_ORDER_ID.pattern})")
#: The longest key that every provider takes: Stripe 255 characters, Resend 256.
_LONGEST_KEY: Final = 255


class InvalidOrderIdError(ValueError):
    """The text cannot be an order id."""

    def __init__(self, order_id: str) -> None:
        super().__init__(
            f"{order_id[:80]!r} is not an order id: 1 to 64 letters, digits, dots, dashes or "
            "underscores, starting with a letter or digit"
        )


class InvalidRefundIdError(ValueError):
    """The text cannot be a refund id."""

    def __init__(self, refund_id: str) -> None:
        super().__init__(
            f"{refund_id[:80]!r} is not a refund id: 1 to 64 letters, digits, dots or "
            "underscores, starting with a letter or digit"
        )


def checked_order_id(order_id: str) -> str:
    """Return ``order_id``, or raise ``InvalidOrderIdError``."""
    if not _ORDER_ID.fullmatch(order_id):
        raise InvalidOrderIdError(order_id)
    return order_id


def checked_refund_id(refund_id: str) -> str:
    """Return ``refund_id``, or raise ``InvalidRefundIdError``."""
    if not _REFUND_ID.fullmatch(refund_id):
        raise InvalidRefundIdError(refund_id)
    return refund_id


def workflow_id(order_id: str) -> str:
    """Workflow id of an order: one order, one workflow."""
    return f"{_WORKFLOW_PREFIX}{checked_order_id(order_id)}"


def refund_workflow_id(order_id: str, refund_id: str) -> str:
    """Workflow id of a refund: one refund, one open run at a time."""
    return f"{_REFUND_PREFIX}{checked_order_id(order_id)}-{checked_refund_id(refund_id)}"


def refund_of(workflow_id: str) -> tuple[str, str] | None:
    """Order id and refund id in the workflow id of a refund; None for any other workflow."""
    order_id, _, refund_id = workflow_id.removeprefix(_REFUND_PREFIX).rpartition("-")
    is_refund = workflow_id.startswith(_REFUND_PREFIX) and _ORDER_ID.fullmatch(order_id)
    return (order_id, refund_id) if is_refund and _REFUND_ID.fullmatch(refund_id) else None


def order_id_of(workflow_id: str) -> str | None:
    """Order id in the workflow id of an order or a refund; None for any other workflow."""
    if refund := refund_of(workflow_id):
        return refund[0]
    order_id = workflow_id.removeprefix(_WORKFLOW_PREFIX)
    is_order = order_id != workflow_id and _ORDER_ID.fullmatch(order_id)
    return order_id if is_order else None


def payment_key(prefix: str, order_id: str) -> str:
    """Idempotency key of creating this order's charge."""
    return _key(prefix, order_id, "payment")


def charge_key(prefix: str, order_id: str, number: int) -> str:
    """Idempotency key of try ``number`` (from 1) to charge this order."""
    return _key(prefix, order_id, f"charge:{number}")


def capture_key(prefix: str, order_id: str, payment_id: str) -> str:
    """Idempotency key of capturing what this charge holds."""
    return _key(prefix, order_id, f"charge:{payment_id}:capture")


def undo_refund_key(prefix: str, order_id: str, payment_id: str) -> str:
    """Idempotency key of refunding all of this charge when the order is undone."""
    return _key(prefix, order_id, f"charge:{payment_id}:undo")


def refund_key(prefix: str, order_id: str, refund_id: str, attempt: int = 1) -> str:
    """Idempotency key of one attempt of a refund. A new ``attempt`` follows only on one that failed
    at the bank.
    """
    return _key(prefix, order_id, f"refund:{refund_id}:{attempt}")


def refund_of_key(key: str) -> tuple[str, str] | None:
    """Order id and refund id in a key of ``refund_key``; None for any other text."""
    match = _REFUND_KEY.fullmatch(key)
    return (match[1], match[2]) if match else None


def fulfillment_key(prefix: str, order_id: str) -> str:
    """Idempotency key of asking the warehouse to ship this order."""
    return _key(prefix, order_id, "fulfillment")


def warehouse_reference(prefix: str, order_id: str) -> str:
    """The order's id at the warehouse, which ships for other installations too."""
    return f"{prefix}-{order_id}"


def order_of_reference(reference: str) -> tuple[str, str] | None:
    """Prefix and order id in a reference of ``warehouse_reference``; None for any other text."""
    match = _REFERENCE.fullmatch(reference)
    return (match[1], match[2]) if match else None


def parcel_refund_id(parcel_id: str) -> str:
    """Refund id for one parcel's contents, without characters that a refund id must not have."""
    return f"parcel.{re.sub(r'[^A-Za-z0-9._]', '_', parcel_id)[:50]}"


def resend_key(prefix: str, order_id: str, parcel_id: str) -> str:
    """Idempotency key of resending one parcel's contents."""
    return _key(prefix, order_id, f"fulfillment:resend:{parcel_id}")


def mail_key(prefix: str, order_id: str, kind: str) -> str:
    """Idempotency key of the one email of this ``kind`` about an order."""
    return _key(prefix, order_id, f"mail:{kind}")


def _key(prefix: str, order_id: str, event: str) -> str:
    """The key of an event of this order; the end of one that is too long is a digest of it all."""
    key = f"{prefix}:order-{order_id}:{event}"
    if len(key) <= _LONGEST_KEY:
        return key
    digest = hashlib.sha256(key.encode()).hexdigest()
    return f"{key[: _LONGEST_KEY - len(digest) - 1]}:{digest}"


@dataclass(frozen=True)
class IdempotencyKey:
    """Idempotency key of a request (``Idempotency-Key``). It belongs to the shop, not to the API
    key it came with: a request sent again after the API key was replaced is the same request.
    """

    text: str

    @property
    def derived_id(self) -> str:
        """The id that this request's order or refund gets if the caller gives none: always the
        same one for the same key, and valid as either.
        """
        return f"k{hashlib.sha256(self.text.encode()).hexdigest()[:31]}"


class IdempotencyKeyReusedError(Exception):
    """The key was used for a request with other contents; nothing was changed."""

    def __init__(self, key: IdempotencyKey) -> None:
        super().__init__(
            f"the key {key.text!r} was sent before with other contents: send the same again, or "
            "take a new key for a new order"
        )
