"""Routes: list disputes, early fraud warnings and reviews, and read one."""

from __future__ import annotations

from typing import Annotated, Final

from fastapi import APIRouter, Query
from pydantic import BaseModel, ConfigDict, Field

from durable_orders.api.dependencies import Disputes, RiskId
from durable_orders.api.openapi import example, problem_responses
from durable_orders.api.problems import INVALID_CURSOR, MALFORMED, UNKNOWN_DISPUTE
from durable_orders.api.schemas import ResponseModel, Risk
from durable_orders.domain.disputes.advice import RiskAction, advice_for
from durable_orders.domain.disputes.listing import ListedRisk, RiskCursor
from durable_orders.domain.lifecycle import Status

router = APIRouter(prefix="/disputes", tags=["disputes"])

_EUR_29: Final = {"amount": 2900, "currency": "EUR"}
_DISPUTE_EXAMPLE: Final = {
    "order_id": "1001",
    "order_status": "completed",
    "risk": {
        "risk_id": "du_1NqQ2zK",
        "kind": "chargeback",
        "state": "needs_response",
        "reason": "product_not_received",
        "payment_id": "pi_3Nx",
        "amount": _EUR_29,
        "is_open": True,
        "opened_at": "2026-03-21T10:00:00Z",
        "due_by": "2026-03-30T10:00:00Z",
        "needs_response": True,
        "withdrawn": _EUR_29,
        "fee": {"amount": 1500, "currency": "EUR"},
        "submissions": 0,
        "acknowledged_by": "",
    },
    "action": "send_evidence",
    "advice": "send evidence before the deadline, or the money is lost; do not refund it, the bank "
    "has taken it already",
}


class DisputeResponse(ResponseModel):
    """A dispute, early fraud warning or review with its order, and the one `action` that helps."""

    order_id: str
    order_status: Status
    risk: Risk
    action: RiskAction
    advice: str

    @classmethod
    def of(cls, listed: ListedRisk) -> DisputeResponse:
        advice = advice_for(listed.risk, listed.order_id, listed.status)
        return cls(
            order_id=listed.order_id,
            order_status=listed.status,
            risk=Risk.model_validate(listed.risk),
            action=advice.action,
            advice=advice.sentence,
        )


class DisputeListResponse(ResponseModel):
    """A page. ``next_cursor`` leads to the next page; null at the end."""

    disputes: tuple[DisputeResponse, ...]
    next_cursor: str | None


class DisputeListQuery(BaseModel):
    """Query of the list. A misspelt parameter is refused: without it another list would come."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    closed: bool = Field(default=False, description="Also those that are over or acknowledged.")
    cursor: str | None = Field(
        default=None, max_length=500, description="`next_cursor` of the page before."
    )
    limit: int = Field(default=50, ge=1, le=100, description="At most so many.")


@router.get(
    "",
    responses={
        200: example({"disputes": [_DISPUTE_EXAMPLE], "next_cursor": None}),
        **problem_responses(MALFORMED, INVALID_CURSOR),
    },
)
async def list_disputes(
    disputes: Disputes, query: Annotated[DisputeListQuery, Query()]
) -> DisputeListResponse:
    """List disputes, early fraud warnings and reviews that are open, the next deadline first, and
    then those without one. With `closed` all, newest first; a cursor is for the same `closed` only.
    """
    closed, cursor = query.closed, query.cursor
    after = None if cursor is None else RiskCursor.read(cursor, closed=closed)
    page = await disputes.page(query.limit, after, closed=closed)
    return DisputeListResponse(
        disputes=tuple(map(DisputeResponse.of, page.risks)),
        next_cursor=str(page.next) if page.next else None,
    )


@router.get(
    "/{risk_id}",
    responses={
        200: example(_DISPUTE_EXAMPLE),
        **problem_responses(UNKNOWN_DISPUTE),
        **problem_responses(MALFORMED),
    },
)
async def read_dispute(risk_id: RiskId, disputes: Disputes) -> DisputeResponse:
    """A dispute, early fraud warning or review, by Stripe's id."""
    return DisputeResponse.of(await disputes.find(risk_id))
