"""Advice to operators on the findings of an audit."""

from __future__ import annotations

from durable_orders.domain.audit.messages import Finding
from durable_orders.domain.audit.model import DiscrepancyKind


def advice(finding: Finding) -> str:
    """Say what to look at, and which command helps."""
    order_id, payment_id = finding.order_id, finding.payment_id
    match finding.kind:
        case DiscrepancyKind.STRANDED | DiscrepancyKind.STRANDED_WITH_MONEY:
            # A reset replays the run up to its last step and continues from there with the same
            # idempotency keys: nothing is charged, shipped or emailed twice.
            what = (
                f"temporal workflow reset --workflow-id order-{order_id} "
                "--type LastWorkflowTask --reason 'found by the audit'"
            )
        case DiscrepancyKind.NEVER_STARTED:
            what = f"python client.py start {order_id}, if the customer still wants it"
        case DiscrepancyKind.REFUND_FAILED:
            what = (
                f"python client.py refund list {order_id}. The one that did not arrive is taken up "
                f"again by python client.py refund look-again {order_id} REFUND; then refund "
                "retry-now or refund resolve. Is none listed, the order itself was undone: return "
                f"the money of {payment_id} another way"
            )
        case DiscrepancyKind.GIVEN_BACK_TOO_MUCH:
            what = (
                f"compare order {order_id} in the provider's dashboard with what was given back "
                "by hand: the customer may have the money twice"
            )
        case DiscrepancyKind.REFUNDS_DIFFER:
            what = (
                f"compare python client.py refund list {order_id} with the provider's dashboard: "
                "a refund was made there, or settled by hand and made all the same"
            )
        case DiscrepancyKind.RUN_WITHOUT_ORDER | DiscrepancyKind.RUN_AFTER_END:
            what = f"temporal workflow show --workflow-id order-{order_id}"
        case DiscrepancyKind.BOOKS_BEHIND | DiscrepancyKind.LIVE_CHARGE:
            what = f"the next audit tries again; {payment_id} in the provider's dashboard"
        case _:
            where = payment_id or f"order {order_id}"
            what = f"compare {where} in the provider's dashboard: refund it or restore the order"
    return what


def acknowledge_command(finding: Finding) -> str:
    """The command that acknowledges a finding, for when nothing more can be done about it."""
    return (
        f'python client.py acknowledge {finding.order_id} --kind {finding.kind} --by WHO --note "…"'
    )
