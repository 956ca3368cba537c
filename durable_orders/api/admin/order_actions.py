"""Routes: actions on an order, each with a confirmation page that says what will happen."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from fastapi import APIRouter
from starlette.responses import Response

from durable_orders.api.admin.forms import Admin, AdminRequest, Form, VerifiedForm
from durable_orders.api.admin.labels import humanize, sentence
from durable_orders.api.admin.templating import HtmlRoute
from durable_orders.api.dependencies import Operations, OrderId, Orders
from durable_orders.api.problems import MALFORMED, NOT_FOUND, ProblemError
from durable_orders.clients.errors import OrderClientError
from durable_orders.domain.activity_messages import (
    Cancelled,
    CancelUnderWay,
    EndedOtherwise,
    Progress,
)
from durable_orders.domain.lifecycle import ON_CANCEL, CancelEffect, Status
from durable_orders.domain.money import Money
from durable_orders.domain.views import OrderView

router = APIRouter(prefix="/operator", route_class=HtmlRoute, include_in_schema=False)


@dataclass(frozen=True)
class Action:
    """An action of the admin pages. ``reason_label``: of a field that is required; ``note_label``:
    of one that is optional; ``amount_label``: of an optional amount.
    """

    name: str
    button: str
    effect: str
    reason_label: str = ""
    note_label: str = ""
    amount_label: str = ""
    is_harmful: bool = False


_NOTE: Final = "Note for the order's history (no personal data)"
_REASON: Final = "Reason for the order's history (no personal data)"

#: All actions on an order, by their names in the path.
ORDER_ACTIONS: Final = {
    action.name: action
    for action in (
        Action("approve", "Approve", "The order goes on: its card is charged.", note_label=_NOTE),
        Action(
            "reject",
            "Reject",
            "The order ends here. What is set aside is released, the customer is told.",
            reason_label=_REASON,
            is_harmful=True,
        ),
        Action("cancel", "Cancel the order", "", is_harmful=True),
        Action("retry-now", "Try again now", "What keeps failing is tried again at once."),
        Action(
            "skip-step",
            "Give the step up",
            "The step that keeps failing is not tried any more. What was done so far is undone.",
            reason_label=_REASON,
            is_harmful=True,
        ),
        Action(
            "resolve",
            "Settled by hand",
            "You have done by hand what keeps failing: it is not tried any more, and the order "
            "goes on as if it had worked.",
            reason_label="How it was done (no personal data)",
            amount_label="What the customer was given back by hand, 0 if nothing was taken",
            is_harmful=True,
        ),
    )
}


#: What a decision does about an order that is held because its payment is uncertain.
_WHEN_HELD: Final = {
    "approve": "The order goes on, although its payment is uncertain. News hold it again.",
    "reject": "The order is stopped: a parcel is called back, what was taken is given back, what "
    "is held or set aside is released, and the customer is told.",
}


class InvalidAmountError(Exception):
    """The text is not an amount; the message says why."""


def available_actions(view: OrderView, progress: Progress | None) -> list[Action]:
    """The actions on an order in this state; the workflow validates them again."""
    status = view.order.status
    names = []
    if status is Status.AWAITING_APPROVAL:
        names += ["approve", "reject"]
    if progress and progress.attention:
        names += [name.replace("_", "-") for name in progress.attention.can]
    if ON_CANCEL[status] not in {CancelEffect.TOO_LATE, CancelEffect.ENDED}:
        names.append("cancel")
    return [ORDER_ACTIONS[name] for name in names if name in ORDER_ACTIONS]


@router.get("/orders/{order_id}/{name}")
async def read_action(order_id: OrderId, name: str, admin: Admin, orders: Orders) -> Response:
    """The confirmation page of an action."""
    return await _page(await orders.view(order_id), _find_action(name), admin)


@router.post("/orders/{order_id}/{name}")
async def perform_action(
    order_id: OrderId,
    name: str,
    admin: Admin,
    orders: Orders,
    operations: Operations,
    *,
    form: VerifiedForm,
) -> Response:
    """Perform an action, and redirect to the order's page with the outcome."""
    action = _find_action(name)
    if action.reason_label and not form["why"]:
        view = await orders.view(order_id)
        return await _page(view, action, admin, error="Say why: it is kept with the order.")
    then = f"/operator/orders/{order_id}"
    try:
        done, outcome = await _perform(
            action, order_id, admin, form, orders=orders, operations=operations
        )
    except (OrderClientError, InvalidAmountError) as error:
        return await admin.redirect_refused(sentence(str(error)), then)
    return await (
        admin.redirect_done(outcome, then) if done else admin.redirect_refused(outcome, then)
    )


async def _perform(
    action: Action,
    order_id: str,
    admin: AdminRequest,
    form: Form,
    *,
    orders: Orders,
    operations: Operations,
) -> tuple[bool, str]:
    """Perform the action; whether it was done, and a sentence about the outcome."""
    by, why = admin.by, form["why"]
    match action.name:
        case "approve":
            await operations.approve(order_id, by, why, actor=by)
            return True, f"Order {order_id} is approved and goes on."
        case "reject":
            await operations.reject(order_id, by, why, actor=by)
            return True, f"Order {order_id} is rejected, and is being undone."
        case "retry-now":
            await operations.retry_now(order_id, by, actor=by)
            return True, f"Order {order_id} tries it again now."
        case "skip-step":
            await operations.skip_step(order_id, why, by, actor=by)
            return True, f"Order {order_id} gives the step up: what was done is being undone."
        case "resolve":
            given_back = await _parse_given_back(order_id, orders, form["given_back"])
            await operations.resolve(order_id, why, by, given_back=given_back, actor=by)
            return True, f"Order {order_id} takes that as done by hand."
        case _:
            return await _cancel(order_id, orders, by)


async def _parse_given_back(order_id: str, orders: Orders, text: str) -> Money | None:
    """The amount in the order's currency; None: all that was captured, where the workflow knows it.

    Raises ``InvalidAmountError``.
    """
    if not text:
        return None
    currency = (await orders.view(order_id)).order.total.currency
    try:
        return Money.parse(text, currency)
    except ValueError as error:
        raise InvalidAmountError(str(error)) from None


async def _cancel(order_id: str, orders: Orders, by: str) -> tuple[bool, str]:
    match await orders.cancel(order_id, by, actor=by):
        case Cancelled(status=status, given_back=given_back):
            money = f"{given_back} went back to the card" if given_back else "nothing was taken"
            return True, f"Order {order_id} is {humanize(status)}: {money}."
        case CancelUnderWay():
            return True, f"Order {order_id} is being cancelled: undoing it takes longer."
        case EndedOtherwise(status=status):
            return False, f"Order {order_id} could not be cancelled: it is {humanize(status)}."


async def _page(view: OrderView, action: Action, admin: AdminRequest, error: str = "") -> Response:
    effect = action.effect or sentence(ON_CANCEL[view.order.status])
    if view.order.status is not Status.AWAITING_APPROVAL:
        effect = _WHEN_HELD.get(action.name, effect)
    return await admin.page(
        "decide.html",
        MALFORMED.status if error else 200,
        about=f"Order {view.order.id}",
        order=view.order,
        amount=view.order.total,
        state=view.order.status,
        action=action,
        effect=effect,
        error=error,
    )


def _find_action(name: str) -> Action:
    if name not in ORDER_ACTIONS:
        raise ProblemError(NOT_FOUND, "There is no such page.")
    return ORDER_ACTIONS[name]
