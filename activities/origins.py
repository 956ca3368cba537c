"""Origins: the runs from which each activity may come.

Whoever reaches the Temporal namespace can put an activity on our task queue: by itself, from a
workflow of their own, or from one of ours under another id. An activity is done only for the run
that its argument names: what has to do with the order 1001 comes from the run ``order-1001`` of the
type ``Order``. The server says who asks (``activity.info()``), so nobody else is asked.

This does not hold against a caller who may start a workflow of our type, under the id of an order
whose own run has ended, on a task queue of their own. Only the namespace's authorizer does
(docs/threat-model.md). The namespace needs no look: a task queue belongs to one.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from temporalio import activity

from durable_orders.domain.audit.messages import AUDIT_ID
from durable_orders.domain.ids import (
    examination_workflow_id,
    payment_risk_workflow_id,
    refund_of,
    refund_workflow_id,
    workflow_id,
)
from durable_orders.domain.texts import InvalidTextError


@dataclass(frozen=True)
class Origin:
    """Runs of one workflow type. ``is_named``: whether the activity's argument names the run of
    this workflow id.
    """

    workflow_type: str
    is_named: Callable[[str, Any], bool]


def find_stray(info: activity.Info, arguments: Sequence[Any]) -> str | None:
    """Why the activity does not come from a run that may have it done; None when it does.

    One that is not listed is done for nobody.
    """
    origins = ORIGINS.get(info.activity_type, ())
    if any(_is_from(origin, info, arguments) for origin in origins):
        return None
    types = " or ".join(origin.workflow_type for origin in origins) or "no"
    came_from = (
        f"the run {info.workflow_id!r} of the type {info.workflow_type!r}"
        if info.workflow_id
        else "no workflow"
    )
    return (
        f"nothing was done: {info.activity_type} is done for {types} runs, each for what is its "
        f"own, and this came from {came_from}"
    )


def _is_from(origin: Origin, info: activity.Info, arguments: Sequence[Any]) -> bool:
    if origin.workflow_type != info.workflow_type or not info.workflow_id or len(arguments) != 1:
        return False
    try:
        return origin.is_named(info.workflow_id, arguments[0])
    except InvalidTextError:
        return False  # no order or refund has such an id


_ORDER: Final = Origin("Order", lambda run, about: run == workflow_id(about.order_id))
_PAYMENT_RISK: Final = Origin(
    "PaymentRisk", lambda run, about: run == payment_risk_workflow_id(about.order_id)
)
#: Of the request, or of the refund itself.
_REFUND: Final = Origin(
    "Refund", lambda run, about: run == refund_workflow_id(about.order_id, about.refund_id)
)
#: Of what is about a refund.
_ITS_REFUND: Final = Origin(
    "Refund",
    lambda run, about: run == refund_workflow_id(about.refund.order_id, about.refund.refund_id),
)


def _is_of_refund(run: str, about: Any) -> bool:
    refund = refund_of(run)
    return refund is not None and refund[0] == about.order_id


#: Any refund of the order.
_REFUND_OF_ORDER: Final = Origin("Refund", _is_of_refund)
#: A schedule appends the time to its workflow's id.
_AUDIT: Final = Origin(
    "Reconcile", lambda run, _: run == AUDIT_ID or run.startswith(f"{AUDIT_ID}-")
)
_EXAMINATION: Final = Origin(
    "Examine", lambda run, about: run == examination_workflow_id(about.order_id)
)
_ITS_EXAMINATION: Final = Origin(
    "Examine", lambda run, about: run == examination_workflow_id(about.discrepancy.order_id)
)

#: Every activity that the worker has. A test compares them: a new one is listed here, too.
ORIGINS: Final[Mapping[str, tuple[Origin, ...]]] = {
    "read_order": (_ORDER,),
    "begin_order": (_ORDER,),
    "begin_undo": (_ORDER,),
    "record_status": (_ORDER,),
    "record_note": (_ORDER, _REFUND_OF_ORDER),
    "record_parcel": (_ORDER,),
    "reserve_inventory": (_ORDER,),
    "release_inventory": (_ORDER,),
    "update_inventory": (_ORDER,),
    "charge_card": (_ORDER,),
    "check_payment": (_ORDER,),
    "capture_payment": (_ORDER,),
    "refund_card": (_ORDER,),
    "record_given_back_by_hand": (_ORDER,),
    "fulfill_order": (_ORDER,),
    "cancel_fulfillment": (_ORDER,),
    "read_fulfillment": (_ORDER,),
    "resend_parcel": (_ORDER,),
    "send_confirmation_email": (_ORDER,),
    "send_closing_email": (_ORDER,),
    "send_payment_request_email": (_ORDER,),
    "send_shipped_email": (_ORDER,),
    "send_approval_reminder": (_ORDER,),
    "send_refund_approval_reminder": (_ITS_REFUND,),
    "send_dispute_reminder": (_PAYMENT_RISK,),
    "review_payment_risks": (_PAYMENT_RISK,),
    "review_page": (_AUDIT,),
    "settle_discrepancy": (_AUDIT, _ITS_EXAMINATION),
    "examine_order": (_EXAMINATION,),
    "reserve_refund": (_ORDER, _REFUND),
    "record_refund_state": (_ITS_REFUND,),
    "issue_refund": (_ITS_REFUND,),
    "check_refund": (_ITS_REFUND,),
    "restock_refund": (_REFUND,),
    "send_refund_email": (_ITS_REFUND,),
}
