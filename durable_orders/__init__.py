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
    from orders.audits import Report
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
    from orders.pages import Bookmark, OrderPage, PlacedOrder, Wanted
    from orders.parcels import ParcelStatus
    from orders.payment_news import (
        ApprovalAwaited,
        CustomerNeeded,
        PaymentDeclined,
        PaymentHeld,
        PaymentNews,
        PaymentPending,
        PaymentStopped,
        PaymentTaken,
    )
    from orders.placing import KeyReusedError, RequestKey
    from orders.ports import (
        NoAnswerError,
        NoSuchOrderError,
        OrderBook,
        OrderExistsError,
        ProviderError,
    )
    from orders.refund_messages import (
        RefundAnswer,
        RefundOutcome,
        RefundProgress,
        RefundRef,
        TroubledRefund,
    )
    from orders.refund_ports import RefundBook
    from orders.refunds import RefundEntry, RefundReason, RefundRefused, RefundRequest, RefundState
    from orders.requests import CardAccepted
    from orders.views import ListedOrder, OrderView, PaymentToFinish, Sighting, TroubledOrder

__all__ = [
    "ApprovalAwaited",
    "Attention",
    "AuditClient",
    "AuditTerms",
    "Basket",
    "Bookmark",
    "CancelUnderWay",
    "Cancelled",
    "CardAccepted",
    "CheckedOut",
    "CustomerNeeded",
    "EndedOtherwise",
    "InvalidOrderError",
    "InvalidOrderIdError",
    "InvalidRefundIdError",
    "KeyReusedError",
    "Line",
    "ListedOrder",
    "Money",
    "NoAnswerError",
    "NoSuchOrderError",
    "Order",
    "OrderBook",
    "OrderClient",
    "OrderClientError",
    "OrderExistsError",
    "OrderOperations",
    "OrderPage",
    "OrderView",
    "Outcome",
    "ParcelStatus",
    "PaymentDeclined",
    "PaymentHeld",
    "PaymentNews",
    "PaymentPending",
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
    "RefundOutcome",
    "RefundProgress",
    "RefundReason",
    "RefundRef",
    "RefundRefused",
    "RefundRequest",
    "RefundState",
    "Report",
    "RequestKey",
    "Resent",
    "Sighting",
    "StartedOrder",
    "Status",
    "Stop",
    "StopReason",
    "TroubledOrder",
    "TroubledRefund",
    "UnreachableError",
    "UpdateLimiter",
    "Wanted",
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
    "orders.audits": ("Report",),
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
        "Bookmark",
        "OrderPage",
        "PlacedOrder",
        "Wanted",
    ),
    "orders.parcels": ("ParcelStatus",),
    "orders.payment_news": (
        "ApprovalAwaited",
        "CustomerNeeded",
        "PaymentDeclined",
        "PaymentHeld",
        "PaymentNews",
        "PaymentPending",
        "PaymentStopped",
        "PaymentTaken",
    ),
    "orders.placing": (
        "KeyReusedError",
        "RequestKey",
    ),
    "orders.ports": (
        "NoAnswerError",
        "NoSuchOrderError",
        "OrderBook",
        "OrderExistsError",
        "ProviderError",
    ),
    "orders.refund_messages": (
        "RefundAnswer",
        "RefundOutcome",
        "RefundProgress",
        "RefundRef",
        "TroubledRefund",
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
        "Sighting",
        "TroubledOrder",
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
