"""Contract of `PaymentRiskReader`: the fake and Stripe's SDK."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Any, Protocol

import pytest
import stripe

from durable_orders.domain.disputes.dispute import (
    ConcernKind,
    Dispute,
    DisputeStatus,
    PaymentRisks,
)
from durable_orders.domain.disputes.ports import PaymentRiskReader
from durable_orders.domain.money import Money
from durable_orders.domain.ports import RefusedError
from durable_orders.providers.stripe.cards import StripeCards
from durable_orders.providers.stripe.disputes import StripeDisputes, dispute_of
from tests.contracts.conftest import SandboxControl
from tests.fakes.disputes import InMemoryPaymentRiskReader
from tests.support.keys import INSTALLATION, charge_key, payment_key

PRICE, NOTHING = Money(42_00, "EUR"), Money(0, "EUR")
S = DisputeStatus


class Bank(Protocol):
    """What cardholders, banks and Stripe do; each returns the id of what it opens."""

    async def pay(self, order_id: str) -> str: ...

    async def dispute(self, payment_id: str, amount: int, *, inquiry: bool = False) -> str: ...

    async def decide(self, dispute_id: str, how: str) -> None: ...

    async def warn(self, payment_id: str) -> str: ...

    async def review(self, payment_id: str) -> str: ...


@dataclass
class FakeBank:
    reader: InMemoryPaymentRiskReader

    async def pay(self, order_id: str) -> str:
        return f"pi_{order_id}"

    async def dispute(self, payment_id: str, amount: int, *, inquiry: bool = False) -> str:
        money = Money(amount, "EUR")
        return self.reader.dispute(payment_id, money, inquiry=inquiry).dispute_id

    async def decide(self, dispute_id: str, how: str) -> None:
        decisions = {
            "win": self.reader.win,
            "lose": self.reader.lose,
            "escalate": self.reader.escalate,
        }
        decisions[how](dispute_id)

    async def warn(self, payment_id: str) -> str:
        return self.reader.warn(payment_id).warning_id

    async def review(self, payment_id: str) -> str:
        return self.reader.review(payment_id).review_id


@dataclass
class SandboxBank:
    cards: StripeCards
    control: SandboxControl

    async def pay(self, order_id: str) -> str:
        key = payment_key(order_id)
        charge = await self.cards.create(
            installation=INSTALLATION, order_id=order_id, amount=PRICE, key=key
        )
        key = charge_key(order_id, 1)
        await self.cards.confirm(charge.payment_id, payment_method="pm_card_visa", key=key)
        return charge.payment_id

    async def dispute(self, payment_id: str, amount: int, *, inquiry: bool = False) -> str:
        return await self.control.dispute(payment_id, amount=amount, inquiry=inquiry)

    async def decide(self, dispute_id: str, how: str) -> None:
        await self.control.decide(dispute_id, how)

    async def warn(self, payment_id: str) -> str:
        return await self.control.warn(payment_id)

    async def review(self, payment_id: str) -> str:
        return await self.control.review(payment_id)


@dataclass
class Provider:
    """A provider under test, with a payment of 42 euros."""

    reader: PaymentRiskReader
    bank: Bank
    payment_id: str

    async def risks(self) -> PaymentRisks:
        return await self.reader.risks_of(self.payment_id)

    async def dispute(self) -> Dispute:
        [dispute] = (await self.risks()).disputes
        return dispute


@pytest.fixture(params=["in memory", "Stripe's SDK on the sandbox"])
async def provider(
    request: pytest.FixtureRequest, control: SandboxControl, order_id: str
) -> AsyncIterator[Provider]:
    if request.param == "in memory":
        fake = InMemoryPaymentRiskReader()
        bank = FakeBank(fake)
        yield Provider(fake, bank, await bank.pay(order_id))
        return
    async with StripeCards("sk_test_sandbox", api_base=control.url) as cards:
        real = SandboxBank(cards, control)
        yield Provider(StripeDisputes(cards), real, await real.pay(order_id))


async def test_a_payment_that_nobody_questions_has_no_risks(provider: Provider) -> None:
    assert await provider.risks() == PaymentRisks(provider.payment_id)


async def test_a_chargeback_has_taken_its_amount_and_a_fee(provider: Provider) -> None:
    id_ = await provider.bank.dispute(provider.payment_id, 42_00)
    dispute = await provider.dispute()
    assert (dispute.dispute_id, dispute.payment_id) == (id_, provider.payment_id)
    assert (dispute.amount, dispute.withdrawn) == (PRICE, PRICE)
    assert dispute.fee == Money(15_00, "EUR")
    assert (dispute.reason, dispute.status) == ("fraudulent", S.NEEDS_RESPONSE)
    assert dispute.due_by is not None
    assert timedelta(days=8) < dispute.due_by - datetime.now(UTC) < timedelta(days=10)
    [concern] = (await provider.risks()).concerns
    assert (concern.kind, concern.due_by) == (ConcernKind.CHARGEBACK, dispute.due_by)


async def test_an_inquiry_has_taken_nothing(provider: Provider) -> None:
    id_ = await provider.bank.dispute(provider.payment_id, 42_00, inquiry=True)
    dispute = await provider.dispute()
    assert (dispute.status, dispute.withdrawn) == (S.WARNING_NEEDS_RESPONSE, NOTHING)
    await provider.bank.decide(id_, "win")
    dispute = await provider.dispute()
    assert (dispute.status, dispute.withdrawn) == (S.WARNING_CLOSED, NOTHING)


async def test_an_inquiry_that_becomes_a_chargeback_takes_the_money(provider: Provider) -> None:
    id_ = await provider.bank.dispute(provider.payment_id, 42_00, inquiry=True)
    await provider.bank.decide(id_, "escalate")
    dispute = await provider.dispute()
    assert (dispute.status, dispute.withdrawn) == (S.NEEDS_RESPONSE, PRICE)


@pytest.mark.parametrize(
    ("how", "status", "withdrawn"), [("win", S.WON, NOTHING), ("lose", S.LOST, PRICE)]
)
async def test_a_decided_chargeback_says_where_the_money_is(
    provider: Provider, how: str, status: S, withdrawn: Money
) -> None:
    id_ = await provider.bank.dispute(provider.payment_id, 42_00)
    await provider.bank.decide(id_, how)
    dispute = await provider.dispute()
    assert (dispute.status, dispute.withdrawn) == (status, withdrawn)
    assert (await provider.risks()).concerns == ()


async def test_two_partial_disputes_are_both_there(provider: Provider) -> None:
    first = await provider.bank.dispute(provider.payment_id, 10_00)
    second = await provider.bank.dispute(provider.payment_id, 5_00)
    risks = await provider.risks()
    assert {one.dispute_id for one in risks.disputes} == {first, second}
    assert risks.withdrawn("EUR") == Money(15_00, "EUR")


async def test_a_warning_can_be_acted_on_until_the_payment_is_disputed(provider: Provider) -> None:
    id_ = await provider.bank.warn(provider.payment_id)
    [warning] = (await provider.risks()).warnings
    assert (warning.warning_id, warning.payment_id) == (id_, provider.payment_id)
    assert (warning.fraud_type, warning.is_actionable) == ("made_with_stolen_card", True)
    await provider.bank.dispute(provider.payment_id, 42_00)
    [warning] = (await provider.risks()).warnings
    assert not warning.is_actionable


async def test_a_review_is_found_by_its_payment(provider: Provider) -> None:
    id_ = await provider.bank.review(provider.payment_id)
    [review] = (await provider.risks()).reviews
    assert (review.review_id, review.payment_id) == (id_, provider.payment_id)
    assert (review.opened_reason, review.is_open, review.closed_reason) == ("manual", True, "")


async def test_evidence_is_kept_first_and_then_sent_to_the_bank_once(provider: Provider) -> None:
    id_ = await provider.bank.dispute(provider.payment_id, 42_00)
    evidence = {"product_description": "A mug"}
    kept = await provider.reader.submit_evidence(id_, evidence, submit=False, key=f"{id_}:1")
    assert (kept.status, kept.submissions) == (S.NEEDS_RESPONSE, 0)
    sent = await provider.reader.submit_evidence(id_, evidence, submit=True, key=f"{id_}:2")
    assert (sent.status, sent.submissions) == (S.UNDER_REVIEW, 1)
    again = await provider.reader.submit_evidence(id_, evidence, submit=True, key=f"{id_}:2")
    assert again == sent


async def test_a_dispute_that_is_over_takes_no_evidence(provider: Provider) -> None:
    id_ = await provider.bank.dispute(provider.payment_id, 42_00)
    await provider.bank.decide(id_, "lose")
    with pytest.raises(RefusedError):
        await provider.reader.submit_evidence(
            id_, {"product_description": "A mug"}, submit=True, key=f"{id_}:1"
        )


# -- what only Stripe does -------------------------------------------------------------------------


def at_stripe(**changed: Any) -> stripe.Dispute:
    """A dispute as the documentation of API 2026-09-30 shows one."""
    shown: dict[str, Any] = {
        "id": "du_1",
        "object": "dispute",
        "amount": 42_00,
        "balance_transactions": [],
        "created": 1_700_000_000,
        "currency": "eur",
        "evidence_details": {"due_by": None, "submission_count": 0},
        "payment_intent": "pi_1",
        "reason": "fraudulent",
        "status": "needs_response",
    }
    return stripe.Dispute.construct_from({**shown, **changed}, "sk_test")


def booked(amount: int, currency: str, category: str, fee: int = 0) -> dict[str, Any]:
    return {
        "object": "balance_transaction",
        "amount": amount,
        "currency": currency,
        "fee": fee,
        "reporting_category": category,
    }


@pytest.mark.parametrize(
    ("status", "read_as"),
    [
        ("prevented", S.PREVENTED),
        ("arbitration", S.NEEDS_RESPONSE),
        ("warning_escalating", S.WARNING_NEEDS_RESPONSE),
    ],
)
def test_a_status_that_stripe_has_added_since_waits_for_a_person(status: str, read_as: S) -> None:
    assert dispute_of(at_stripe(status=status)).status is read_as


def test_a_balance_in_another_currency_says_whether_the_money_is_gone() -> None:
    taken = booked(-45_50, "usd", "dispute", fee=20_00)
    dispute = dispute_of(at_stripe(balance_transactions=[taken]))
    assert (dispute.withdrawn, dispute.fee) == (PRICE, Money(20_00, "USD"))
    # The rate was another one when it was put back.
    back = booked(44_10, "usd", "dispute_reversal")
    dispute = dispute_of(at_stripe(status="won", balance_transactions=[taken, back]))
    assert (dispute.withdrawn, dispute.fee) == (NOTHING, Money(20_00, "USD"))


def test_a_part_that_was_put_back_is_not_withdrawn() -> None:
    moved = [booked(-42_00, "eur", "dispute", fee=15_00), booked(12_00, "eur", "dispute_reversal")]
    dispute = dispute_of(at_stripe(balance_transactions=moved))
    assert dispute.withdrawn == Money(30_00, "EUR")


def test_a_fee_that_was_given_back_is_no_fee() -> None:
    moved = [
        booked(-42_00, "eur", "dispute", fee=15_00),
        booked(42_00, "eur", "dispute_reversal", fee=-15_00),
    ]
    assert dispute_of(at_stripe(status="won", balance_transactions=moved)).fee == NOTHING


def test_a_dispute_without_a_deadline_has_none() -> None:
    assert dispute_of(at_stripe()).due_by is None
    assert dispute_of(at_stripe()) == replace(
        dispute_of(at_stripe()), opened_at=datetime.fromtimestamp(1_700_000_000, UTC)
    )
