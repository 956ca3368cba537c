"""Routes: request a refund with a form, and actions on refunds."""

from __future__ import annotations

import asyncio
import contextlib
import secrets
from typing import Final

from fastapi import APIRouter
from starlette.responses import Response

from durable_orders.api.admin.forms import Admin, AdminRequest, Form, VerifiedForm
from durable_orders.api.admin.labels import humanize, sentence
from durable_orders.api.admin.order_actions import Action
from durable_orders.api.admin.refund_form import (
    InvalidFormError,
    parse_refund_request,
    returnable_lines,
)
from durable_orders.api.admin.templating import HtmlRoute
from durable_orders.api.dependencies import OrderId, Orders, RefundId, Refunds, RequestId
from durable_orders.api.problems import MALFORMED, NOT_FOUND, ProblemError
from durable_orders.clients.errors import (
    OrderClientError,
    RefundRefusedError,
    UnknownRefundError,
    UnreachableError,
)
from durable_orders.domain.disputes.dispute import ConcernKind
from durable_orders.domain.ids import warning_refund_id
from durable_orders.domain.refunds.messages import RefundProgress
from durable_orders.domain.refunds.refund import REFUSED_EVENT, RefundReason, RefundState
from durable_orders.domain.views import OrderView

router = APIRouter(
    prefix="/operator/orders/{order_id}", route_class=HtmlRoute, include_in_schema=False
)

#: Seconds that a response waits for the outcome of a refund; the bank may take days.
_WAIT_SECONDS: Final = 3.0
#: States in which an operator acts, and which a refund leaves shortly afterwards.
_BEFORE_ACTION: Final = frozenset({RefundState.AWAITING_APPROVAL, RefundState.FAILED})
_REASON: Final = "Reason for the order's history (no personal data)"

#: All actions on a refund, by their names in the path.
REFUND_ACTIONS: Final = {
    action.name: action
    for action in (
        Action("approve", "Approve", "The money is given back.", note_label="Note (no names)"),
        Action(
            "reject",
            "Reject",
            "No money moves; the amount is free for another refund.",
            reason_label=_REASON,
            is_harmful=True,
        ),
        Action("cancel", "Take it back", "No money moves.", is_harmful=True),
        Action("retry-now", "Try again now", "The bank is asked again at once."),
        Action(
            "look-again",
            "Start its run again",
            "The refund goes on from where it was: nothing is given back twice.",
        ),
        Action(
            "resolve",
            "Settled by hand",
            "You have paid the customer back another way: the card provider is not asked any more.",
            reason_label="How it was done (no personal data)",
            is_harmful=True,
        ),
    )
}


@router.get("/refund")
async def read_refund_form(
    order_id: OrderId, admin: Admin, orders: Orders, refunds: Refunds, warning: str = ""
) -> Response:
    """The form of a refund; filled in for the early fraud ``warning`` of this id."""
    view = await orders.view(order_id)
    # Part of the form: the same form sent twice is one refund.
    fields = {"refund_id": f"op{secrets.token_hex(8)}"}
    if _is_open_warning(view, warning):
        fields = {
            "refund_id": warning_refund_id(warning),
            "what": "everything",
            "reason": RefundReason.OTHER,
            "why": "early fraud warning",
        }
    return await _form_page(admin, view, refunds, Form(fields))


@router.post("/refund")
async def request_refund(
    order_id: OrderId,
    admin: Admin,
    *,
    orders: Orders,
    refunds: Refunds,
    form: VerifiedForm,
    request_id: RequestId,
) -> Response:
    """Request the refund, and redirect to the order's page with its state."""
    view = await orders.view(order_id)
    try:
        request = parse_refund_request(form, view.order, by=admin.by)
        progress = await refunds.request(request, request_id=request_id)
    except (InvalidFormError, RefundRefusedError) as error:
        return await _form_page(admin, view, refunds, form, error=sentence(str(error)))
    except OrderClientError as error:
        return await admin.redirect_refused(sentence(str(error)), f"/operator/orders/{order_id}")
    progress = await _wait_for_outcome(progress, refunds)
    return await admin.redirect_done(_describe(progress), f"/operator/orders/{order_id}")


@router.get("/refunds/{refund_id}/{name}")
async def read_action(
    order_id: OrderId, refund_id: RefundId, name: str, admin: Admin, orders: Orders
) -> Response:
    """The confirmation page of an action."""
    return await _action_page(await orders.view(order_id), refund_id, _find_action(name), admin)


@router.post("/refunds/{refund_id}/{name}")
async def perform_action(
    order_id: OrderId,
    refund_id: RefundId,
    name: str,
    admin: Admin,
    *,
    orders: Orders,
    refunds: Refunds,
    form: VerifiedForm,
) -> Response:
    """Perform an action, and redirect to the order's page with the outcome."""
    action = _find_action(name)
    if action.reason_label and not form["why"]:
        error = "Say why: it is kept with the order."
        return await _action_page(await orders.view(order_id), refund_id, action, admin, error)
    by, why, ids = admin.by, form["why"], (order_id, refund_id)
    then = f"/operator/orders/{order_id}"
    try:
        match action.name:
            case "approve":
                await refunds.approve(*ids, by, why, actor=by)
            case "reject":
                await refunds.reject(*ids, by, why, actor=by)
            case "cancel":
                await refunds.cancel(*ids, by, actor=by)
            case "retry-now":
                await refunds.retry_now(*ids, by, actor=by)
            case "look-again":
                await refunds.look_again(*ids)
            case _:
                await refunds.resolve(*ids, why, by, actor=by)
                if refund_id in refused_refunds(await orders.view(order_id)):
                    done = f"Refund {refund_id} is settled by hand."
                    return await admin.redirect_done(done, then)
        progress = await _wait_for_outcome(await refunds.status(*ids), refunds, also=_BEFORE_ACTION)
    except OrderClientError as error:
        return await admin.redirect_refused(sentence(str(error)), then)
    return await admin.redirect_done(_describe(progress), then)


def refused_refunds(view: OrderView) -> list[str]:
    """Ids of refunds that the order itself started and that were refused: nothing is set aside for
    them, so they are in its history only.
    """
    told = (line.detail for line in view.history if line.event == REFUSED_EVENT)
    known = {refund.refund_id for refund in view.refunds}
    ids = dict.fromkeys(detail.get("refund_id", "") for detail in told)
    return [refund_id for refund_id in ids if refund_id and refund_id not in known]


async def _wait_for_outcome(
    progress: RefundProgress, refunds: Refunds, also: frozenset[RefundState] = frozenset()
) -> RefundProgress:
    """Wait until the refund waits for a person or has ended, at most ``_WAIT_SECONDS``. ``also``:
    further states that it is about to leave.
    """
    ref = progress.refund
    passing = {RefundState.REQUESTED, RefundState.ISSUING, *also}
    with contextlib.suppress(TimeoutError, UnreachableError):
        async with asyncio.timeout(_WAIT_SECONDS):
            while progress.state in passing and progress.attention is None:
                await asyncio.sleep(0.1)
                progress = await refunds.status(ref.order_id, ref.refund_id)
    return progress


def _describe(progress: RefundProgress) -> str:
    amount = f" of {progress.amount}" if progress.amount else ""
    why = f" {sentence(progress.why)}" if progress.why else ""
    return f"Refund {progress.refund.refund_id}{amount}: {humanize(progress.state)}.{why}"


def _is_open_warning(view: OrderView, warning_id: str) -> bool:
    return any(
        risk.risk_id == warning_id and risk.kind is ConcernKind.FRAUD_WARNING and risk.is_open
        for risk in view.risks
    )


async def _form_page(
    admin: AdminRequest, view: OrderView, refunds: Refunds, form: Form, error: str = ""
) -> Response:
    earlier = await refunds.refunds_of(view.order.id)
    return await admin.page(
        "refund.html",
        MALFORMED.status if error else 200,
        order=view.order,
        view=view,
        lines=returnable_lines(view.order, earlier),
        reasons=list(RefundReason),
        form=form,
        error=error,
    )


async def _action_page(
    view: OrderView, refund_id: str, action: Action, admin: AdminRequest, error: str = ""
) -> Response:
    found = next((each for each in view.refunds if each.refund_id == refund_id), None)
    if found is None and refund_id not in refused_refunds(view):
        raise UnknownRefundError(view.order.id, refund_id)
    return await admin.page(
        "decide.html",
        MALFORMED.status if error else 200,
        about=f"Refund {refund_id} of order {view.order.id}",
        order=view.order,
        amount=found.amount if found else "",
        state=found.state if found else "refused",
        action=action,
        effect=action.effect,
        error=error,
    )


def _find_action(name: str) -> Action:
    if name not in REFUND_ACTIONS:
        raise ProblemError(NOT_FOUND, "There is no such page.")
    return REFUND_ACTIONS[name]
