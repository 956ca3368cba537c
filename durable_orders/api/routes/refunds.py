"""Routes: request a refund, read it, approve or reject it."""

from __future__ import annotations

from typing import Annotated, Final, Literal

from fastapi import APIRouter, Body, Request, Response
from pydantic import Field

from durable_orders.api.auth import Caller, require_scope
from durable_orders.api.dependencies import OrderId, Orders, RefundId, Refunds, RequestId
from durable_orders.api.openapi import example, problem_responses
from durable_orders.api.problems import (
    INVALID_ORDER_ID,
    INVALID_REFUND_ID,
    MALFORMED,
    NO_WORKER,
    NOT_WAITING,
    REFUND_ENDED,
    REFUND_REFUSED,
    SECOND_PERSON_NEEDED,
    UNAVAILABLE,
    UNKNOWN_ORDER,
    UNKNOWN_REFUND,
    ProblemError,
)
from durable_orders.api.routes.order_actions import ApproveRequest, RejectRequest
from durable_orders.api.routes.orders import IdempotencyKeyHeader
from durable_orders.api.schemas import (
    Amount,
    LineItem,
    RefundIdText,
    Remark,
    RequestedAmount,
    RequestModel,
    ResponseModel,
)
from durable_orders.domain.ids import IdempotencyKey
from durable_orders.domain.operators.api_keys import Scope
from durable_orders.domain.refunds.messages import RefundProgress
from durable_orders.domain.refunds.refund import RefundReason, RefundRequest, RefundState

router = APIRouter(prefix="/orders/{order_id}/refunds", tags=["refunds"])

_REFUND_EXAMPLE: Final = {
    "order_id": "1001",
    "refund_id": "r1",
    "state": "issuing",
    "amount": {"amount": 1450, "currency": "EUR"},
    "doing": "giving back 14.50 EUR",
    "why": "",
    "status_url": "/orders/1001/refunds/r1",
}
_ID_PROBLEMS: Final = problem_responses(MALFORMED, INVALID_ORDER_ID, INVALID_REFUND_ID)


class CreateRefundRequest(RequestModel):
    """A refund of lines, of an amount, or with neither of all that is left. With both: the amount
    in place of the lines' price, and at most that price.
    """

    refund_id: RefundIdText | None = Field(
        default=None,
        description="Your own id of the refund, or send an Idempotency-Key.",
        examples=["r1"],
    )
    lines: list[LineItem] = Field(default=[], max_length=100)
    amount: RequestedAmount | None = None
    restock: bool = Field(default=False, description="The pieces go back on the shelf.")
    reason: Annotated[RefundReason, Field(strict=False)] = RefundReason.OTHER
    message: Remark = Field(default="", description="No personal data.")


class RefundResponse(ResponseModel):
    """The state of a refund."""

    order_id: str
    refund_id: str
    state: RefundState
    amount: Amount | None
    doing: str
    why: str
    status_url: str

    @classmethod
    def of(cls, progress: RefundProgress, request: Request) -> RefundResponse:
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


class RefundDecisionResponse(ResponseModel):
    """A decision and who made it; it is in the order's history. ``actor``: the API key's name."""

    order_id: str
    refund_id: str
    decision: Literal["approved", "rejected"]
    by: str
    actor: str


@router.post(
    "",
    status_code=202,
    dependencies=[require_scope(Scope.OPERATOR)],
    responses={
        202: {
            "headers": {
                "Location": {"description": "Where the refund is.", "schema": {"type": "string"}}
            },
            **example(_REFUND_EXAMPLE),
        },
        **problem_responses(UNKNOWN_ORDER),
        **problem_responses(REFUND_REFUSED),
        **_ID_PROBLEMS,
        **problem_responses(UNAVAILABLE, NO_WORKER),
    },
)
async def request_refund(
    order_id: OrderId,
    body: CreateRefundRequest,
    *,
    orders: Orders,
    refunds: Refunds,
    request: Request,
    response: Response,
    request_id: RequestId,
    caller: Caller,
    idempotency_key: IdempotencyKeyHeader = None,
) -> RefundResponse:
    """Request a refund of a paid order. 202: the amount is reserved; the refund is made afterwards.

    Requests with the same `refund_id`, or without one with the same `Idempotency-Key`, are the same
    refund; with other contents they are refused.
    """
    refund_id = body.refund_id
    if refund_id is None:
        if idempotency_key is None:
            raise ProblemError(
                MALFORMED, "send a refund_id or an Idempotency-Key: a refund is never given twice"
            )
        refund_id = IdempotencyKey(idempotency_key).derived_id
    await orders.view(order_id)  # 404 for an unknown order, in place of 409
    refund = RefundRequest(
        order_id=order_id,
        refund_id=refund_id,
        lines=tuple((line.sku, line.quantity) for line in body.lines),
        amount=body.amount.money() if body.amount else None,
        restock=body.restock,
        reason=body.reason,
        message=body.message,
        requested_by=caller.name,
    )
    progress = await refunds.request(refund, request_id=request_id)
    response_body = RefundResponse.of(progress, request)
    response.headers["Location"] = response_body.status_url
    return response_body


@router.get(
    "/{refund_id}",
    responses={200: example(_REFUND_EXAMPLE), **problem_responses(UNKNOWN_REFUND), **_ID_PROBLEMS},
)
async def read_refund(
    order_id: OrderId, refund_id: RefundId, refunds: Refunds, request: Request
) -> RefundResponse:
    """The state of a refund."""
    return RefundResponse.of(await refunds.status(order_id, refund_id), request)


@router.post(
    "/{refund_id}/approve",
    dependencies=[require_scope(Scope.OPERATOR)],
    responses={
        200: example(
            {
                "order_id": "1001",
                "refund_id": "r1",
                "decision": "approved",
                "by": "ops-7",
                "actor": "backoffice",
            }
        ),
        **problem_responses(UNKNOWN_REFUND),
        **problem_responses(SECOND_PERSON_NEEDED),
        **problem_responses(NOT_WAITING, REFUND_ENDED),
        **_ID_PROBLEMS,
        **problem_responses(UNAVAILABLE, NO_WORKER),
    },
)
async def approve_refund(
    order_id: OrderId,
    refund_id: RefundId,
    refunds: Refunds,
    caller: Caller,
    body: Annotated[ApproveRequest, Body()] = ApproveRequest(),  # noqa: B008 - frozen
) -> RefundDecisionResponse:
    """Approve a refund that waits for approval."""
    by = body.by or caller.name
    await refunds.approve(order_id, refund_id, by, body.note, actor=caller.name)
    return RefundDecisionResponse(
        order_id=order_id, refund_id=refund_id, decision="approved", by=by, actor=caller.name
    )


@router.post(
    "/{refund_id}/reject",
    dependencies=[require_scope(Scope.OPERATOR)],
    responses={
        200: example(
            {
                "order_id": "1001",
                "refund_id": "r1",
                "decision": "rejected",
                "by": "ops-7",
                "actor": "backoffice",
            }
        ),
        **problem_responses(UNKNOWN_REFUND),
        **problem_responses(NOT_WAITING, REFUND_ENDED),
        **_ID_PROBLEMS,
        **problem_responses(UNAVAILABLE, NO_WORKER),
    },
)
async def reject_refund(
    order_id: OrderId,
    refund_id: RefundId,
    refunds: Refunds,
    caller: Caller,
    body: Annotated[RejectRequest, Body()] = RejectRequest(),  # noqa: B008 - frozen
) -> RefundDecisionResponse:
    """Reject a refund that waits for approval; no money moves."""
    by = body.by or caller.name
    await refunds.reject(order_id, refund_id, by, body.reason, actor=caller.name)
    return RefundDecisionResponse(
        order_id=order_id, refund_id=refund_id, decision="rejected", by=by, actor=caller.name
    )
