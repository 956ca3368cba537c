"""Durable Orders: start, follow and operate orders that Temporal workflows carry to their end.

    from durable_orders import OrderClient, connect

    orders = OrderClient(await connect())
    await orders.start("1001")
    outcome = await orders.result("1001")

Names are loaded when they are used: importing this package, or its domain, loads no Temporal SDK.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from durable_orders.clients import errors
    from durable_orders.clients.audits import AuditClient
    from durable_orders.clients.checkout import CheckedOut, StartedOrder
    from durable_orders.clients.connection import connect
    from durable_orders.clients.errors import OrderClientError, UnreachableError
    from durable_orders.clients.order_operations import OrderOperations
    from durable_orders.clients.orders import OrderClient
    from durable_orders.clients.refunds import RefundClient
    from durable_orders.clients.update_limiter import UpdateLimiter
    from orders.audits import AuditReport
    from orders.discrepancies import AuditTerms
    from orders.ids import InvalidOrderIdError, InvalidRefundIdError
    from orders.lifecycle import Status, Stop, StopReason
    from orders.messages import (
        Attention,
        Cancelled,
        CancelUnderWay,
        EndedOtherwise,
        Outcome,
        Progress,
        Resent,
    )
    from orders.money import Money
    from orders.order import Basket, InvalidOrderError, Line, Order, Recipient
    from orders.pages import Cursor, OrderFilter, OrderPage, PlacedOrder
    from orders.parcels import ParcelStatus
    from orders.payment_news import (
        ApprovalRequired,
        CustomerActionRequired,
        PaymentDeclined,
        PaymentHeld,
        PaymentPending,
        PaymentProgress,
        PaymentStopped,
        PaymentTaken,
    )
    from orders.placing import IdempotencyKey, IdempotencyKeyReusedError
    from orders.ports import (
        NoAnswerError,
        NoSuchOrderError,
        OrderExistsError,
        OrderRepository,
        ProviderError,
    )
    from orders.refund_messages import (
        RefundAnswer,
        RefundNeedingAttention,
        RefundOutcome,
        RefundProgress,
        RefundRef,
    )
    from orders.refund_ports import RefundBook
    from orders.refunds import RefundEntry, RefundReason, RefundRefused, RefundRequest, RefundState
    from orders.requests import CardAccepted
    from orders.views import (
        ListedOrder,
        OrderNeedingAttention,
        OrderSnapshotView,
        OrderView,
        PaymentToFinish,
    )

__all__ = [
    "ApprovalRequired",
    "Attention",
    "AuditClient",
    "AuditReport",
    "AuditTerms",
    "Basket",
    "CancelUnderWay",
    "Cancelled",
    "CardAccepted",
    "CheckedOut",
    "Cursor",
    "CustomerActionRequired",
    "EndedOtherwise",
    "IdempotencyKey",
    "IdempotencyKeyReusedError",
    "InvalidOrderError",
    "InvalidOrderIdError",
    "InvalidRefundIdError",
    "Line",
    "ListedOrder",
    "Money",
    "NoAnswerError",
    "NoSuchOrderError",
    "Order",
    "OrderClient",
    "OrderClientError",
    "OrderExistsError",
    "OrderFilter",
    "OrderNeedingAttention",
    "OrderOperations",
    "OrderPage",
    "OrderRepository",
    "OrderSnapshotView",
    "OrderView",
    "Outcome",
    "ParcelStatus",
    "PaymentDeclined",
    "PaymentHeld",
    "PaymentPending",
    "PaymentProgress",
    "PaymentStopped",
    "PaymentTaken",
    "PaymentToFinish",
    "PlacedOrder",
    "Progress",
    "ProviderError",
    "Recipient",
    "RefundAnswer",
    "RefundBook",
    "RefundClient",
    "RefundEntry",
    "RefundNeedingAttention",
    "RefundOutcome",
    "RefundProgress",
    "RefundReason",
    "RefundRef",
    "RefundRefused",
    "RefundRequest",
    "RefundState",
    "Resent",
    "StartedOrder",
    "Status",
    "Stop",
    "StopReason",
    "UnreachableError",
    "UpdateLimiter",
    "connect",
    "errors",
]

#: Where each name of ``__all__`` comes from; ``errors`` is a module.
_MODULES: Final = {
    "durable_orders.clients.audits": ("AuditClient",),
    "durable_orders.clients.checkout": ("CheckedOut", "StartedOrder"),
    "durable_orders.clients.connection": ("connect",),
    "durable_orders.clients.errors": (
        "OrderClientError",
        "UnreachableError",
    ),
    "durable_orders.clients.order_operations": ("OrderOperations",),
    "durable_orders.clients.orders": ("OrderClient",),
    "durable_orders.clients.refunds": ("RefundClient",),
    "durable_orders.clients.update_limiter": ("UpdateLimiter",),
    "orders.audits": ("AuditReport",),
    "orders.discrepancies": ("AuditTerms",),
    "orders.ids": (
        "InvalidOrderIdError",
        "InvalidRefundIdError",
    ),
    "orders.lifecycle": (
        "StopReason",
        "Status",
        "Stop",
    ),
    "orders.messages": (
        "Attention",
        "Cancelled",
        "CancelUnderWay",
        "EndedOtherwise",
        "Outcome",
        "Progress",
        "Resent",
    ),
    "orders.money": ("Money",),
    "orders.order": (
        "Basket",
        "InvalidOrderError",
        "Line",
        "Order",
        "Recipient",
    ),
    "orders.pages": (
        "Cursor",
        "OrderPage",
        "PlacedOrder",
        "OrderFilter",
    ),
    "orders.parcels": ("ParcelStatus",),
    "orders.payment_news": (
        "ApprovalRequired",
        "CustomerActionRequired",
        "PaymentDeclined",
        "PaymentHeld",
        "PaymentProgress",
        "PaymentPending",
        "PaymentStopped",
        "PaymentTaken",
    ),
    "orders.placing": (
        "IdempotencyKeyReusedError",
        "IdempotencyKey",
    ),
    "orders.ports": (
        "NoAnswerError",
        "NoSuchOrderError",
        "OrderRepository",
        "OrderExistsError",
        "ProviderError",
    ),
    "orders.refund_messages": (
        "RefundAnswer",
        "RefundOutcome",
        "RefundProgress",
        "RefundRef",
        "RefundNeedingAttention",
    ),
    "orders.refund_ports": ("RefundBook",),
    "orders.refunds": (
        "RefundEntry",
        "RefundReason",
        "RefundRefused",
        "RefundRequest",
        "RefundState",
    ),
    "orders.requests": ("CardAccepted",),
    "orders.views": (
        "ListedOrder",
        "OrderView",
        "PaymentToFinish",
        "OrderSnapshotView",
        "OrderNeedingAttention",
    ),
}
_MODULE_OF: Final = {name: module for module, names in _MODULES.items() for name in names}


def __getattr__(name: str) -> Any:
    if name == "errors":
        return import_module("durable_orders.clients.errors")
    if name not in _MODULE_OF:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(import_module(_MODULE_OF[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
