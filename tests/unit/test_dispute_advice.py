"""The one action that helps about a dispute, a warning or a review, by what became of the order."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from durable_orders.domain.activity_messages import Attention
from durable_orders.domain.disputes.advice import ASKING, RiskAction, advice_for, not_shown
from durable_orders.domain.disputes.dispute import (
    ConcernKind,
    Dispute,
    DisputeStatus,
    FraudWarning,
    Review,
)
from durable_orders.domain.disputes.listing import ListedRisk, RiskView, risk_view
from durable_orders.domain.disputes.messages import PaymentRiskNeedingAttention
from durable_orders.domain.lifecycle import Status
from durable_orders.domain.money import Money
from tests.unit.test_printed_commands import accept

AT = datetime(2026, 3, 1, 10, 0, tzinfo=UTC)
EUROS = Money(29_00, "EUR")
WARNING = FraudWarning("issfr_1", "pi_1", "misc", is_actionable=True, opened_at=AT)
REVIEW = Review("prv_1", "pi_1", "rule", is_open=True, opened_at=AT)


def disputed(status: DisputeStatus) -> RiskView:
    return risk_view(Dispute("du_1", "pi_1", EUROS, EUROS, EUROS, "general", status, AT), EUROS)


@pytest.mark.parametrize("order", list(Status))
@pytest.mark.parametrize(
    "risk",
    [*map(disputed, DisputeStatus), risk_view(WARNING, EUROS), risk_view(REVIEW, EUROS)],
    ids=lambda risk: f"{risk.kind}-{risk.state}",
)
def test_every_command_that_helps_is_one_of_ours(risk: RiskView, order: Status) -> None:
    advice = advice_for(risk, "1001", order)
    assert advice.sentence
    assert bool(advice.command) == (
        advice.action in {RiskAction.SEND_EVIDENCE, RiskAction.REFUND, RiskAction.CANCEL}
    )
    if advice.command:
        accept(advice.command)


@pytest.mark.parametrize(
    ("status", "action"),
    [
        (Status.PAID, RiskAction.CANCEL),
        (Status.HELD, RiskAction.CANCEL),
        (Status.FULFILLED, RiskAction.REFUND),
        (Status.SHIPPED, RiskAction.REFUND),
        (Status.COMPLETED, RiskAction.REFUND),
        (Status.REFUNDED, RiskAction.NONE),
        (Status.CANCELLED, RiskAction.NONE),
    ],
)
def test_a_warned_payment_is_given_back_while_that_spares_the_dispute(
    status: Status, action: RiskAction
) -> None:
    assert advice_for(risk_view(WARNING, EUROS), "1001", status).action is action


@pytest.mark.parametrize(
    ("status", "kind", "action"),
    [
        (DisputeStatus.NEEDS_RESPONSE, ConcernKind.CHARGEBACK, RiskAction.SEND_EVIDENCE),
        (DisputeStatus.WARNING_NEEDS_RESPONSE, ConcernKind.INQUIRY, RiskAction.SEND_EVIDENCE),
        (DisputeStatus.UNDER_REVIEW, ConcernKind.CHARGEBACK, RiskAction.NONE),
        (DisputeStatus.WARNING_UNDER_REVIEW, ConcernKind.INQUIRY, RiskAction.NONE),
        (DisputeStatus.WON, ConcernKind.CHARGEBACK, RiskAction.NONE),
        (DisputeStatus.LOST, ConcernKind.CHARGEBACK, RiskAction.NONE),
        (DisputeStatus.WARNING_CLOSED, ConcernKind.INQUIRY, RiskAction.NONE),
    ],
)
def test_a_dispute_is_answered_while_the_bank_waits_for_it(
    status: DisputeStatus, kind: ConcernKind, action: RiskAction
) -> None:
    risk = disputed(status)
    assert (risk.kind, advice_for(risk, "1001", Status.COMPLETED).action) == (kind, action)


def test_nobody_is_told_to_refund_a_chargeback() -> None:
    told = advice_for(disputed(DisputeStatus.NEEDS_RESPONSE), "1001", Status.COMPLETED)
    assert "do not refund it" in told.sentence
    inquiry = disputed(DisputeStatus.WARNING_NEEDS_RESPONSE)
    assert "ends the inquiry too" in advice_for(inquiry, "1001", Status.COMPLETED).sentence


@pytest.mark.parametrize("settled", [True, False])
def test_what_is_over_or_acknowledged_needs_nothing(*, settled: bool) -> None:
    over = FraudWarning(
        "issfr_1", "pi_1", "misc", is_actionable=not settled, opened_at=AT,
        acknowledged_by="" if settled else "ops-7",
    )  # fmt: skip
    advice = advice_for(risk_view(over, EUROS), "1001", Status.COMPLETED)
    assert (advice.action, advice.command) == (RiskAction.NONE, "")


def test_a_run_that_asks_about_what_is_listed_is_not_shown_twice() -> None:
    listed = [ListedRisk("1001", Status.COMPLETED, risk_view(WARNING, EUROS))]
    asking = Attention(ASKING, "now", "early fraud warning issfr_1: refund the order")
    failing = Attention("review_payment_risks", "now", "no answer", ("retry_now",))
    asks = PaymentRiskNeedingAttention("1001", "waiting for a person", asking)
    fails = PaymentRiskNeedingAttention("1001", "reading disputes", failing)
    owes = PaymentRiskNeedingAttention("1002", "waiting for a person", asking)
    silent = PaymentRiskNeedingAttention("1003", "unknown: no worker answered")
    assert not_shown([asks, fails, owes, silent], listed) == (fails, owes, silent)
    assert not_shown([asks], []) == (asks,)
