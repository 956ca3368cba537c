"""Durable Orders: start, follow and operate orders that Temporal workflows carry to their end.

    from durable_orders import OrderClient, connect

    orders = OrderClient(await connect())
    await orders.start("1001")
    outcome = await orders.result("1001")

``durable_orders.store`` opens the order store, with which the client also places and shows orders.

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
    from durable_orders.clients.payment_risks import PaymentRiskClient
    from durable_orders.clients.refunds import RefundClient
    from durable_orders.clients.update_limiter import UpdateLimiter
    from durable_orders.domain.activity_messages import (
        Attention,
        Cancelled,
        CancelUnderWay,
        EndedOtherwise,
        Outcome,
        Progress,
        Resent,
    )
    from durable_orders.domain.audit.messages import AuditReport
    from durable_orders.domain.audit.model import AuditTerms
    from durable_orders.domain.ids import (
        IdempotencyKey,
        IdempotencyKeyReusedError,
        InvalidOrderIdError,
        InvalidRefundIdError,
    )
    from durable_orders.domain.lifecycle import Status, Stop, StopReason
    from durable_orders.domain.listing import Cursor, OrderFilter, OrderPage, PlacedOrder
    from durable_orders.domain.money import Money
    from durable_orders.domain.order import Basket, InvalidOrderError, Line, Order, Recipient
    from durable_orders.domain.parcels import ParcelStatus
    from durable_orders.domain.payment_status import (
        ApprovalRequired,
        CustomerActionRequired,
        PaymentDeclined,
        PaymentHeld,
        PaymentPending,
        PaymentProgress,
        PaymentStopped,
        PaymentTaken,
    )
    from durable_orders.domain.ports import (
        NoAnswerError,
        NoSuchOrderError,
        OrderExistsError,
        OrderRepository,
        ProviderError,
    )
    from durable_orders.domain.refunds.messages import (
        RefundAnswer,
        RefundNeedingAttention,
        RefundOutcome,
        RefundProgress,
        RefundRef,
    )
    from durable_orders.domain.refunds.ports import RefundBook
    from durable_orders.domain.refunds.refund import (
        RefundEntry,
        RefundReason,
        RefundRefused,
        RefundRequest,
        RefundState,
    )
    from durable_orders.domain.texts import InvalidTextError
    from durable_orders.domain.views import (
        ListedOrder,
        OrderNeedingAttention,
        OrderSnapshotView,
        OrderView,
        PaymentToFinish,
    )
    from durable_orders.domain.workflow_messages import CardAccepted

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
    "InvalidTextError",
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
    "PaymentRiskClient",
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
    "durable_orders.clients.payment_risks": ("PaymentRiskClient",),
    "durable_orders.clients.refunds": ("RefundClient",),
    "durable_orders.clients.update_limiter": ("UpdateLimiter",),
    "durable_orders.domain.audit.messages": ("AuditReport",),
    "durable_orders.domain.audit.model": ("AuditTerms",),
    "durable_orders.domain.ids": (
        "IdempotencyKey",
        "IdempotencyKeyReusedError",
        "InvalidOrderIdError",
        "InvalidRefundIdError",
    ),
    "durable_orders.domain.lifecycle": (
        "StopReason",
        "Status",
        "Stop",
    ),
    "durable_orders.domain.activity_messages": (
        "Attention",
        "Cancelled",
        "CancelUnderWay",
        "EndedOtherwise",
        "Outcome",
        "Progress",
        "Resent",
    ),
    "durable_orders.domain.money": ("Money",),
    "durable_orders.domain.order": (
        "Basket",
        "InvalidOrderError",
        "Line",
        "Order",
        "Recipient",
    ),
    "durable_orders.domain.listing": (
        "Cursor",
        "OrderPage",
        "PlacedOrder",
        "OrderFilter",
    ),
    "durable_orders.domain.parcels": ("ParcelStatus",),
    "durable_orders.domain.payment_status": (
        "ApprovalRequired",
        "CustomerActionRequired",
        "PaymentDeclined",
        "PaymentHeld",
        "PaymentProgress",
        "PaymentPending",
        "PaymentStopped",
        "PaymentTaken",
    ),
    "durable_orders.domain.ports": (
        "NoAnswerError",
        "NoSuchOrderError",
        "OrderRepository",
        "OrderExistsError",
        "ProviderError",
    ),
    "durable_orders.domain.refunds.messages": (
        "RefundAnswer",
        "RefundOutcome",
        "RefundProgress",
        "RefundRef",
        "RefundNeedingAttention",
    ),
    "durable_orders.domain.refunds.ports": ("RefundBook",),
    "durable_orders.domain.refunds.refund": (
        "RefundEntry",
        "RefundReason",
        "RefundRefused",
        "RefundRequest",
        "RefundState",
    ),
    "durable_orders.domain.texts": ("InvalidTextError",),
    "durable_orders.domain.workflow_messages": ("CardAccepted",),
    "durable_orders.domain.views": (
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
