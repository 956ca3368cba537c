"""Advice to operators on the findings of an audit."""

from __future__ import annotations

import shlex
from dataclasses import dataclass
from typing import Final

from durable_orders.domain.audit.messages import Finding
from durable_orders.domain.audit.model import DiscrepancyKind


@dataclass(frozen=True)
class Advice:
    """What an operator should look at or do, and the commands that help.

    Each command lacks the program: that is ``temporal``, Temporal's own command line, for
    ``temporal_commands``, and this project's command line for ``commands``.
    """

    text: str
    commands: tuple[str, ...] = ()
    temporal_commands: tuple[str, ...] = ()


_ON_START: Final = {
    DiscrepancyKind.NEVER_STARTED: "start it, if the customer still wants it",
    DiscrepancyKind.CANCELLED_UNTOLD: "start it: its run charges and ships nothing, it only tells "
    "the customer that the order is cancelled; the next audit does it too",
}


def advice(finding: Finding) -> Advice:
    """Say what to look at, and which commands help."""
    order_id, payment_id = shlex.quote(finding.order_id), finding.payment_id
    run = f"--workflow-id {shlex.quote(f'order-{finding.order_id}')}"
    match finding.kind:
        case DiscrepancyKind.STRANDED | DiscrepancyKind.STRANDED_WITH_MONEY:
            advised = Advice(
                "a reset replays the run up to its last step and goes on from there, safely days "
                "later too: what the order's row, its ledger and its history say was done is not "
                "done again. If the customer no longer wants it, cancel it after that",
                temporal_commands=(
                    f"workflow reset {run} --type LastWorkflowTask --reason 'found by the audit'",
                ),
            )
        case DiscrepancyKind.NEVER_STARTED | DiscrepancyKind.CANCELLED_UNTOLD:
            advised = Advice(_ON_START[finding.kind], (f"start {order_id}",))
        case DiscrepancyKind.REFUND_STRANDED:
            advised = Advice(
                "start the refund's run again with its id as REFUND: it goes on from where it was, "
                "and nothing is given back twice; the next audit does it too",
                (f"refund list {order_id}", f"refund look-again {order_id} REFUND"),
            )
        case DiscrepancyKind.REFUND_FAILED:
            advised = Advice(
                "list the order's refunds, and take the one that did not arrive up again with its "
                "id as REFUND; then refund retry-now or refund resolve. Is none listed, it was "
                f"made in the provider's dashboard: give the money of {payment_id} back again",
                (f"refund list {order_id}", f"refund look-again {order_id} REFUND"),
            )
        case DiscrepancyKind.REFUND_OVERDUE:
            advised = Advice(
                f"look at {payment_id} in the provider's dashboard: the account's balance may be "
                "too low for the refund. Then have it read again, with its id as REFUND",
                (f"refund list {order_id}", f"refund look-again {order_id} REFUND"),
            )
        case DiscrepancyKind.RUN_WITHOUT_ORDER | DiscrepancyKind.RUN_AFTER_END:
            advised = Advice(
                "look at what its run did", temporal_commands=(f"workflow show {run}",)
            )
        case DiscrepancyKind.RISK_BEHIND | DiscrepancyKind.RISK_UNFOLLOWED:
            following = shlex.quote(f"payment-risk-{finding.order_id}")
            advised = Advice(
                "the next audit starts its run again; look at what the last one did",
                temporal_commands=(f"workflow show --workflow-id {following}",),
            )
        case _:
            advised = _about_money(finding)
    return advised


def _about_money(finding: Finding) -> Advice:
    """Advice on what disagrees about an order's money."""
    order_id, payment_id = shlex.quote(finding.order_id), finding.payment_id
    match finding.kind:
        case DiscrepancyKind.GIVEN_BACK_TOO_MUCH:
            advised = Advice(
                f"compare order {finding.order_id} in the provider's dashboard with what was given "
                "back by hand: the customer may have the money twice"
            )
        case DiscrepancyKind.MONEY_MOVED:
            advised = Advice(
                f"look at {payment_id} in the provider's dashboard: who moved the money, and does "
                "the customer have what is theirs, once? Nothing shows a difference any more, so "
                "acknowledge this when you know",
                (f"status {order_id}", f"refund list {order_id}"),
            )
        case DiscrepancyKind.REFUNDS_DIFFER:
            advised = Advice(
                "compare the order's refunds with the provider's dashboard: a refund was made "
                "there, or settled by hand and made all the same",
                (f"refund list {order_id}",),
            )
        case DiscrepancyKind.PAID_IN_PART:
            advised = Advice(
                f"compare order {finding.order_id} in the provider's dashboard: a part of its hold "
                "was captured there. Get the rest in another way, or acknowledge that you do not",
                (f"status {order_id}",),
            )
        case DiscrepancyKind.BOOKS_BEHIND | DiscrepancyKind.LIVE_CHARGE:
            advised = Advice(
                f"the next audit tries again; look at {payment_id} in the provider's dashboard"
            )
        case _:
            where = payment_id or f"order {finding.order_id}"
            advised = Advice(
                f"compare {where} in the provider's dashboard: refund it or restore the order"
            )
    return advised


def acknowledge_command(finding: Finding) -> str:
    """The command that acknowledges a finding, for when nothing more can be done about it."""
    order_id = shlex.quote(finding.order_id)  # as the card provider has it, whoever wrote it there
    return f'acknowledge {order_id} --kind {finding.kind} --by WHO --note "…"'
