"""Money of paid orders is given back."""

from __future__ import annotations

from typing import Annotated, Final, Literal

from fastapi import APIRouter, Body, Request, Response
from fastapi import Path as InPath
from pydantic import Field

from edge.access import Caller, needs
from edge.describing import declared, example
from edge.orders import ApproveOrder, RejectOrder
from edge.parts import OrderId, Orders, Refunds, RequestId
from edge.placing import IdempotencyKey
from edge.problems import (
    INVALID_ORDER_ID,
    INVALID_REFUND_ID,
    MALFORMED,
    NO_WORKER,
    NOT_WAITING,
    REFUND_ENDED,
    REFUND_REFUSED,
    UNAVAILABLE,
    UNKNOWN_ORDER,
    UNKNOWN_REFUND,
    ProblemError,
)
from edge.shapes import REFUND_ID, Amount, Asked, AskedAmount, Pieces, Remark, Told
from orders.keys import Scope
from orders.placing import RequestKey
from orders.refund_messages import RefundProgress
from orders.refunds import RefundReason, RefundRequest, RefundState

router = APIRouter(prefix="/orders/{order_id}/refunds", tags=["refunds"])

RefundId = Annotated[
    str,
    InPath(description="The refund's id.", examples=["r1"], json_schema_extra=dict(REFUND_ID)),
]
_REFUND: Final = {
    "order_id": "1001",
    "refund_id": "r1",
    "state": "issuing",
    "amount": {"amount": 1450, "currency": "EUR"},
    "doing": "giving back 14.50 EUR",
    "why": "",
    "status_url": "/orders/1001/refunds/r1",
}
_IDS: Final = declared(MALFORMED, INVALID_ORDER_ID, INVALID_REFUND_ID)


class NewRefund(Asked):
    """Give money back: for lines, or an amount, or with neither all that is left. With both, the
    amount instead of what the lines cost, and not more.
    """

    refund_id: str | None = Field(
        default=None,
        description="Your own id of the refund, or send an Idempotency-Key.",
        examples=["r1"],
        json_schema_extra=dict(REFUND_ID),
    )
    lines: list[Pieces] = Field(default=[], max_length=100)
    amount: AskedAmount | None = None
    restock: bool = Field(default=False, description="The pieces go back on the shelf.")
    reason: Annotated[RefundReason, Field(strict=False)] = RefundReason.OTHER
    message: Remark = Field(default="", description="No personal data.")


class Refund(Told):
    """Where a refund stands."""

    order_id: str
    refund_id: str
    state: RefundState
    amount: Amount | None
    doing: str
    why: str
    status_url: str

    @classmethod
    def of(cls, progress: RefundProgress, request: Request) -> Refund:
        ref = progress.refund
        url = request.app.url_path_for(
            "read_refund", order_id=ref.order_id, refund_id=ref.refund_id
        )
        return cls(
            order_id=ref.order_id,
            refund_id=ref.refund_id,
            state=progress.state,
            amount=None if progress.amount is None else Amount.model_validate(progress.amount),
            doing=progress.doing,
            why=progress.why,
            status_url=str(url),
        )


class RefundDecided(Told):
    """What was decided, and by whom: it is in the order's history."""

    order_id: str
    refund_id: str
    decision: Literal["approved", "rejected"]
    by: str


@router.post(
    "",
    status_code=202,
    dependencies=[needs(Scope.OPERATOR)],
    responses={
        202: {
            "headers": {
                "Location": {"description": "Where the refund is.", "schema": {"type": "string"}}
            },
            **example(_REFUND),
        },
        **declared(UNKNOWN_ORDER),
        **declared(REFUND_REFUSED),
        **_IDS,
        **declared(UNAVAILABLE, NO_WORKER),
    },
)
async def request_refund(
    order_id: OrderId,
    asked: NewRefund,
    *,
    orders: Orders,
    refunds: Refunds,
    request: Request,
    response: Response,
    request_id: RequestId,
    idempotency_key: IdempotencyKey = None,
) -> Refund:
    """Have money of a paid order given back. 202: the amount is set aside, the rest follows.

    The same `refund_id`, or the same `Idempotency-Key` where there is none, is the same refund
    however often it is sent; with other contents it is refused.
    """
    refund_id = asked.refund_id
    if refund_id is None:
        if idempotency_key is None:
            raise ProblemError(
                MALFORMED, "send a refund_id or an Idempotency-Key: a refund is never given twice"
            )
        refund_id = RequestKey(idempotency_key).made_id
    await orders.view(order_id)  # a refund of no order is no refund that was refused
    wish = RefundRequest(
        order_id=order_id,
        refund_id=refund_id,
        lines=tuple((line.sku, line.quantity) for line in asked.lines),
        amount=asked.amount.money() if asked.amount else None,
        restock=asked.restock,
        reason=asked.reason,
        message=asked.message,
    )
    progress = await refunds.request(wish, request_id=request_id)
    told = Refund.of(progress, request)
    response.headers["Location"] = told.status_url
    return told


@router.get(
    "/{refund_id}",
    responses={200: example(_REFUND), **declared(UNKNOWN_REFUND), **_IDS},
)
async def read_refund(
    order_id: OrderId, refund_id: RefundId, refunds: Refunds, request: Request
) -> Refund:
    """Where the refund stands."""
    return Refund.of(await refunds.status(order_id, refund_id), request)


@router.post(
    "/{refund_id}/approve",
    dependencies=[needs(Scope.OPERATOR)],
    responses={
        200: example(
            {"order_id": "1001", "refund_id": "r1", "decision": "approved", "by": "ops-7"}
        ),
        **declared(UNKNOWN_REFUND),
        **declared(NOT_WAITING, REFUND_ENDED),
        **_IDS,
        **declared(UNAVAILABLE, NO_WORKER),
    },
)
async def approve_refund(
    order_id: OrderId,
    refund_id: RefundId,
    refunds: Refunds,
    caller: Caller,
    asked: Annotated[ApproveOrder, Body()] = ApproveOrder(),  # noqa: B008 - frozen
) -> RefundDecided:
    """Let a refund pass that waits for a person."""
    by = asked.by or caller.name
    await refunds.approve(order_id, refund_id, by, asked.note)
    return RefundDecided(order_id=order_id, refund_id=refund_id, decision="approved", by=by)


@router.post(
    "/{refund_id}/reject",
    dependencies=[needs(Scope.OPERATOR)],
    responses={
        200: example(
            {"order_id": "1001", "refund_id": "r1", "decision": "rejected", "by": "ops-7"}
        ),
        **declared(UNKNOWN_REFUND),
        **declared(NOT_WAITING, REFUND_ENDED),
        **_IDS,
        **declared(UNAVAILABLE, NO_WORKER),
    },
)
async def reject_refund(
    order_id: OrderId,
    refund_id: RefundId,
    refunds: Refunds,
    caller: Caller,
    asked: Annotated[RejectOrder, Body()] = RejectOrder(),  # noqa: B008 - frozen
) -> RefundDecided:
    """Stop a refund that waits for a person; no money moves."""
    by = asked.by or caller.name
    await refunds.reject(order_id, refund_id, by, asked.reason)
    return RefundDecided(order_id=order_id, refund_id=refund_id, decision="rejected", by=by)
