"""Every id and idempotency key, made in one place.

Keys name a *business* event (this order's second card), never a Temporal attempt or run: a retry
must find the first try, and a second run of the same order must find the first run.
"""

from __future__ import annotations

import re
from typing import Final

TASK_QUEUE: Final = "orders"

_ORDER_ID: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
# No dash: the last one in ``refund-{order}-{refund}`` is where the order's id ends.
_REFUND_ID: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._]{0,63}")
_WORKFLOW_PREFIX: Final = "order-"
_REFUND_PREFIX: Final = "refund-"
_REFUND_KEY: Final = re.compile(r"order-([^:]+):refund:([^:]+):[0-9]+")


class InvalidOrderIdError(ValueError):
    """The text cannot be an order id."""

    def __init__(self, order_id: str) -> None:
        super().__init__(
            f"{order_id[:80]!r} is not an order id: 1 to 64 letters, digits, dots, dashes or "
            "underscores, starting with a letter or digit"
        )


class InvalidRefundIdError(ValueError):
    """The text cannot be the id of a refund."""

    def __init__(self, refund_id: str) -> None:
        super().__init__(
            f"{refund_id[:80]!r} is not a refund id: 1 to 64 letters, digits, dots or "
            "underscores, starting with a letter or digit"
        )


def checked_order_id(order_id: str) -> str:
    """``order_id`` itself, or ``InvalidOrderIdError``."""
    if not _ORDER_ID.fullmatch(order_id):
        raise InvalidOrderIdError(order_id)
    return order_id


def checked_refund_id(refund_id: str) -> str:
    """``refund_id`` itself, or ``InvalidRefundIdError``."""
    if not _REFUND_ID.fullmatch(refund_id):
        raise InvalidRefundIdError(refund_id)
    return refund_id


def workflow_id(order_id: str) -> str:
    """The id of the run that carries this order: one order, one run."""
    return f"{_WORKFLOW_PREFIX}{checked_order_id(order_id)}"


def refund_workflow_id(order_id: str, refund_id: str) -> str:
    """The id of the run that carries this refund: one refund, one run at a time."""
    return f"{_REFUND_PREFIX}{checked_order_id(order_id)}-{checked_refund_id(refund_id)}"


def refund_of(workflow_id: str) -> tuple[str, str] | None:
    """The order and the refund that a run carries, None when the run is of another kind."""
    order_id, _, refund_id = workflow_id.removeprefix(_REFUND_PREFIX).rpartition("-")
    is_refund = workflow_id.startswith(_REFUND_PREFIX) and _ORDER_ID.fullmatch(order_id)
    return (order_id, refund_id) if is_refund and _REFUND_ID.fullmatch(refund_id) else None


def order_id_of(workflow_id: str) -> str | None:
    """The order a run works for, or None when the run is of another kind."""
    if refund := refund_of(workflow_id):
        return refund[0]
    order_id = workflow_id.removeprefix(_WORKFLOW_PREFIX)
    is_order = order_id != workflow_id and _ORDER_ID.fullmatch(order_id)
    return order_id if is_order else None


def charge_key(order_id: str, attempt: int) -> str:
    """Idempotency key of business attempt ``attempt`` (from 1) to charge this order."""
    return f"order-{order_id}:charge:{attempt}"


def capture_key(order_id: str, attempt: int) -> str:
    """Idempotency key of taking what charge ``attempt`` holds."""
    return f"order-{order_id}:charge:{attempt}:capture"


def undo_refund_key(order_id: str, attempt: int) -> str:
    """Idempotency key of giving back all that charge ``attempt`` took."""
    return f"order-{order_id}:charge:{attempt}:undo"


def refund_key(order_id: str, refund_id: str, attempt: int = 1) -> str:
    """Idempotency key of giving a refund's amount back. A new ``attempt`` follows only on one that
    failed at the bank.
    """
    return f"order-{order_id}:refund:{refund_id}:{attempt}"


def refund_of_key(key: str) -> tuple[str, str] | None:
    """The order and the refund that a key of ``refund_key`` names, None for any other text."""
    match = _REFUND_KEY.fullmatch(key)
    return (match[1], match[2]) if match else None


def fulfillment_key(order_id: str) -> str:
    """Idempotency key of asking the warehouse to ship this order."""
    return f"order-{order_id}:fulfillment"


def parcel_refund_id(parcel_id: str) -> str:
    """The refund of one parcel's contents; a warehouse's ids may hold what a refund's must not."""
    return f"parcel.{re.sub(r'[^A-Za-z0-9._]', '_', parcel_id)[:50]}"


def resend_key(order_id: str, parcel_id: str) -> str:
    """Idempotency key of sending the contents of one parcel again."""
    return f"order-{order_id}:fulfillment:resend:{parcel_id}"


def mail_key(order_id: str, kind: str) -> str:
    """Idempotency key of the one mail of this ``kind`` that an order may cause."""
    return f"order-{order_id}:mail:{kind}"
