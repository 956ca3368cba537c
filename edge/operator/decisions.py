"""What an operator decides about an order, each on a page that says what will happen."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from fastapi import APIRouter
from starlette.responses import Response

from durable_orders.clients.errors import OrderClientError
from edge.operator.rendering import Page
from edge.operator.visits import Form, Sent, Visit, Visiting
from edge.operator.words import sentence, spelled
from edge.parts import Operations, Orders
from edge.problems import MALFORMED, NOT_FOUND, ProblemError
from orders.lifecycle import ON_CANCEL, CancelEffect, Status
from orders.messages import Cancelled, CancelUnderWay, EndedOtherwise, Progress
from orders.money import Money
from orders.views import OrderView

router = APIRouter(prefix="/operator", route_class=Page, include_in_schema=False)


@dataclass(frozen=True)
class Decision:
    """Something to decide. ``asks`` is what has to be typed, ``may_tell`` what can be,
    ``asks_amount`` what sum.
    """

    name: str
    button: str
    effect: str
    asks: str = ""
    may_tell: str = ""
    asks_amount: str = ""
    is_harmful: bool = False


_NOTE: Final = "Note for the order's history (no personal data)"
_REASON: Final = "Reason for the order's history (no personal data)"

#: Every decision about an order, by its name in the address.
DECISIONS: Final = {
    decision.name: decision
    for decision in (
        Decision("approve", "Approve", "The order goes on: its card is charged.", may_tell=_NOTE),
        Decision(
            "reject",
            "Reject",
            "The order ends here. What is set aside is released, the customer is told.",
            asks=_REASON,
            is_harmful=True,
        ),
        Decision("cancel", "Cancel the order", "", is_harmful=True),
        Decision("retry-now", "Try again now", "What keeps failing is tried again at once."),
        Decision(
            "skip-step",
            "Give the step up",
            "The step that keeps failing is not tried any more. What was done so far is undone.",
            asks=_REASON,
            is_harmful=True,
        ),
        Decision(
            "resolve",
            "Settled by hand",
            "You have done by hand what keeps failing: it is not tried any more, and the order "
            "goes on as if it had worked.",
            asks="How it was done (no personal data)",
            asks_amount="What the customer was given back by hand, 0 if nothing was taken",
            is_harmful=True,
        ),
    )
}


class WrongSumError(Exception):
    """What was typed as a sum is none; the message says why."""


def possible(view: OrderView, progress: Progress | None) -> list[Decision]:
    """What can be decided about the order as it is; the order itself has the last word."""
    status = view.order.status
    names = []
    if status is Status.AWAITING_APPROVAL:
        names += ["approve", "reject"]
    if progress and progress.attention:
        names += [word.replace("_", "-") for word in progress.attention.can]
    if ON_CANCEL[status] not in {CancelEffect.TOO_LATE, CancelEffect.ENDED}:
        names.append("cancel")
    return [DECISIONS[name] for name in names if name in DECISIONS]


@router.get("/orders/{order_id}/{name}")
async def ask(order_id: str, name: str, visit: Visiting, orders: Orders) -> Response:
    """What the decision will do, and a form to make it."""
    return await _page(await orders.view(order_id), _decision(name), visit)


@router.post("/orders/{order_id}/{name}")
async def decide(
    order_id: str,
    name: str,
    visit: Visiting,
    orders: Orders,
    operations: Operations,
    *,
    sent: Sent,
) -> Response:
    """Make the decision; the order's page says what became of it."""
    decision = _decision(name)
    if decision.asks and not sent["why"]:
        view = await orders.view(order_id)
        return await _page(view, decision, visit, wrong="Say why: it is kept with the order.")
    then = f"/operator/orders/{order_id}"
    try:
        done, told = await _carried_out(
            decision, order_id, visit, sent, orders=orders, operations=operations
        )
    except (OrderClientError, WrongSumError) as error:
        return await visit.refused(sentence(str(error)), then)
    return await (visit.done(told, then) if done else visit.refused(told, then))


async def _carried_out(
    decision: Decision,
    order_id: str,
    visit: Visit,
    sent: Form,
    *,
    orders: Orders,
    operations: Operations,
) -> tuple[bool, str]:
    """Whether it was done as asked, and what became of it."""
    by, why = visit.by, sent["why"]
    match decision.name:
        case "approve":
            await operations.approve(order_id, by, why)
            return True, f"Order {order_id} is approved and goes on."
        case "reject":
            await operations.reject(order_id, by, why)
            return True, f"Order {order_id} is rejected: it is being closed, nothing is taken."
        case "retry-now":
            await operations.retry_now(order_id, by)
            return True, f"Order {order_id} tries it again now."
        case "skip-step":
            await operations.skip_step(order_id, why, by)
            return True, f"Order {order_id} gives the step up: what was done is being undone."
        case "resolve":
            given_back = await _given_back(order_id, orders, sent["given_back"])
            await operations.resolve(order_id, why, by, given_back=given_back)
            return True, f"Order {order_id} takes that as done by hand."
        case _:
            return await _cancelled(order_id, orders, by)


async def _given_back(order_id: str, orders: Orders, typed: str) -> Money | None:
    """The sum in the order's currency; None leaves it to what is known of the order.

    Raises ``WrongSumError``.
    """
    if not typed:
        return None
    currency = (await orders.view(order_id)).order.total.currency
    try:
        return Money.parse(typed, currency)
    except ValueError as error:
        raise WrongSumError(str(error)) from None


async def _cancelled(order_id: str, orders: Orders, by: str) -> tuple[bool, str]:
    match await orders.cancel(order_id, by):
        case Cancelled(status=status, given_back=given_back):
            money = f"{given_back} went back to the card" if given_back else "nothing was taken"
            return True, f"Order {order_id} is {spelled(status)}: {money}."
        case CancelUnderWay():
            return True, f"Order {order_id} is being cancelled: undoing it takes longer."
        case EndedOtherwise(status=status):
            return False, f"Order {order_id} could not be cancelled: it is {spelled(status)}."


async def _page(view: OrderView, decision: Decision, visit: Visit, wrong: str = "") -> Response:
    effect = decision.effect or sentence(ON_CANCEL[view.order.status])
    return await visit.page(
        "decide.html",
        MALFORMED.status if wrong else 200,
        about=f"Order {view.order.id}",
        order=view.order,
        amount=view.order.total,
        state=view.order.status,
        decision=decision,
        effect=effect,
        wrong=wrong,
    )


def _decision(name: str) -> Decision:
    if name not in DECISIONS:
        raise ProblemError(NOT_FOUND, "There is no such page.")
    return DECISIONS[name]
