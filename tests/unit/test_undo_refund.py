"""Undoing a paid order: its refund is in the books before the provider is asked, once, whatever
breaks in between.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from itertools import count

import pytest

from activities.payments import PaymentActivities
from durable_orders.domain.activity_messages import (
    ChargeRequest,
    ChargesUndone,
    ManualRefund,
    OrderRef,
)
from durable_orders.domain.ids import UNDO_REFUND_ID
from durable_orders.domain.money import Money
from durable_orders.domain.ports import CardCharge, NoAnswerError, ProviderError, RefusedError
from durable_orders.domain.refunds.refund import RefundEntry, RefundState
from tests.fakes.cards import REFUND_FAILS, REFUND_PENDING, InMemoryCards
from tests.fakes.database import (
    InMemoryDatabase,
    InMemoryOrderRepository,
    InMemoryPaymentLedger,
)
from tests.fakes.disputes import InMemoryDisputeRepository, InMemoryPaymentRiskReader
from tests.fakes.refunds import InMemoryRefundBook
from tests.fakes.script import Scripted
from tests.support.keys import undo_refund_key
from tests.support.shop import basket

TOTAL = Money(29_00, "EUR")
NOTHING = Money(0, "EUR")
SILENCE = NoAnswerError("silence")
S = RefundState
_numbers = count(1)


def eur(amount: int) -> Money:
    return Money(amount, "EUR")


@dataclass
class Shop:
    """One paid order of a shop in memory."""

    cards: InMemoryCards = field(default_factory=InMemoryCards)
    order_id: str = field(default_factory=lambda: f"u{next(_numbers)}")

    def __post_init__(self) -> None:
        self.database = InMemoryDatabase()
        self.database.add_product("MUG", "Mug", eur(14_50), 10)
        self.ledger = InMemoryPaymentLedger(self.database)
        self.orders = InMemoryOrderRepository(self.database)
        self.refunds = InMemoryRefundBook(self.database)
        self.disputes = InMemoryDisputeRepository(self.database)
        self.risks = InMemoryPaymentRiskReader()
        self.activities = PaymentActivities(
            self.cards, self.ledger, self.orders, self.refunds, self.disputes, self.risks
        )

    async def undo(self) -> ChargesUndone:
        return await self.activities.refund_card(OrderRef(self.order_id))

    async def entry(self) -> RefundEntry | None:
        return await self.refunds.find(self.order_id, UNDO_REFUND_ID)

    async def state(self) -> RefundState | None:
        entry = await self.entry()
        return entry.state if entry else None

    @property
    def charge(self) -> CardCharge:
        [charge] = self.cards.charges_of(self.order_id)
        return charge

    def key(self, attempt: int = 1) -> str:
        return undo_refund_key(self.order_id, self.charge.payment_id, attempt)

    async def read_risks(self) -> None:
        """What the run does that follows the payment: record what the provider says."""
        known = await self.disputes.risks_of(self.order_id)
        report = await self.risks.risks_of(self.charge.payment_id)
        report = replace(report, revision=known.revision if known else None)
        await self.disputes.record(self.order_id, report, datetime.now(UTC))

    async def booked(self) -> Money:
        [payment] = (await self.orders.view(self.order_id)).payments
        return payment.refunded

    async def events(self) -> list[str]:
        history = (await self.orders.view(self.order_id)).history
        return [line.event for line in history if line.event.startswith("refund_")]


async def paid(card: str = "pm_card_visa") -> Shop:
    shop = Shop()
    await shop.orders.place(basket(shop.order_id), shop.database.clock())
    answer = await shop.activities.charge_card(ChargeRequest(shop.order_id, 1, card))
    assert answer.kind == "paid"
    return shop


async def test_what_is_given_back_is_in_the_books_before_the_provider_is_asked() -> None:
    shop = await paid()
    shop.cards.fail_next("refund", SILENCE)
    with pytest.raises(NoAnswerError):
        await shop.undo()
    entry = await shop.entry()
    assert entry is not None
    assert (entry.state, entry.amount, entry.attempt) == (S.ISSUING, TOTAL, 1)
    assert not shop.cards.refunds

    assert await shop.undo() == ChargesUndone(TOTAL, TOTAL)
    assert await shop.events() == ["refund_issuing", "refund_succeeded"]
    assert list(shop.cards.refunds) == [shop.key()]
    assert await shop.booked() == TOTAL


CRASHES: list[tuple[Callable[[Shop], Scripted], str]] = [
    (lambda shop: shop.refunds, "reserve_undo"),
    (lambda shop: shop.cards, "refund"),
    (lambda shop: shop.refunds, "tell"),
    (lambda shop: shop.ledger, "record"),
]


@pytest.mark.parametrize("card", ["pm_card_visa", REFUND_PENDING])
@pytest.mark.parametrize("times", [1, 3])
@pytest.mark.parametrize(("neighbour", "call"), CRASHES)
async def test_an_answer_that_is_lost_gives_nothing_back_twice(
    neighbour: Callable[[Shop], Scripted], call: str, times: int, card: str
) -> None:
    shop = await paid(card)
    neighbour(shop).lose_answer_next(call, times=times)
    for _ in range(times):
        with contextlib.suppress(ProviderError):
            await shop.undo()
    undone = await shop.undo()
    assert (undone.taken, undone.given_back) == (TOTAL, TOTAL)
    assert undone.on_its_way == (TOTAL if card == REFUND_PENDING else None)
    assert list(shop.cards.refunds) == [shop.key()]
    assert await shop.state() is (S.PENDING if card == REFUND_PENDING else S.SUCCEEDED)
    assert await shop.booked() == TOTAL


async def test_a_repeated_undo_answers_the_same() -> None:
    shop = await paid(REFUND_PENDING)
    first = await shop.undo()
    assert await shop.undo() == first == ChargesUndone(TOTAL, TOTAL, TOTAL)
    shop.cards.settle_refund(shop.key())
    assert await shop.undo() == ChargesUndone(TOTAL, TOTAL)
    assert await shop.events() == ["refund_issuing", "refund_pending", "refund_succeeded"]


async def test_what_the_bank_sends_back_in_the_meantime_is_owed_and_not_given_back_again() -> None:
    shop = await paid(REFUND_FAILS)
    shop.cards.lose_answer_next("refund")
    with pytest.raises(NoAnswerError):
        await shop.undo()
    shop.cards.settle_refund(shop.key())
    assert await shop.undo() == ChargesUndone(TOTAL, TOTAL, TOTAL)
    assert await shop.state() is S.FAILED
    assert (shop.cards.given_back(shop.order_id), len(shop.cards.refunds)) == (0, 1)
    assert await shop.booked() == NOTHING


async def test_a_refund_that_fails_after_the_undo_is_found_by_its_repetition() -> None:
    shop = await paid(REFUND_FAILS)
    assert await shop.undo() == ChargesUndone(TOTAL, TOTAL)
    shop.cards.settle_refund(shop.key())
    assert await shop.undo() == ChargesUndone(TOTAL, TOTAL, TOTAL)
    assert (await shop.state(), await shop.booked()) == (S.FAILED, NOTHING)


@pytest.mark.parametrize("back", [1, 10_00, 28_99])
async def test_what_was_refunded_in_the_dashboard_before_is_not_given_back_again(back: int) -> None:
    shop = await paid()
    shop.cards.refund_by_hand(shop.charge.payment_id, eur(back))
    assert await shop.undo() == ChargesUndone(TOTAL, TOTAL)
    entry = await shop.entry()
    assert entry is not None
    assert (entry.amount, entry.state) == (TOTAL - eur(back), S.SUCCEEDED)
    assert await shop.booked() == TOTAL


async def test_an_order_that_was_given_back_in_the_dashboard_has_no_refund_of_its_own() -> None:
    shop = await paid()
    shop.cards.refund_by_hand(shop.charge.payment_id)
    assert await shop.undo() == ChargesUndone(TOTAL, TOTAL)
    assert (await shop.entry(), await shop.booked()) == (None, TOTAL)


@pytest.mark.parametrize("lost", ["reserve_undo", "refund"])
async def test_a_refund_in_the_dashboard_after_it_was_set_aside_makes_it_smaller(lost: str) -> None:
    shop = await paid()
    if lost == "refund":
        shop.cards.fail_next("refund", SILENCE)
    else:
        shop.refunds.lose_answer_next("reserve_undo")
    with pytest.raises(NoAnswerError):
        await shop.undo()
    shop.cards.refund_by_hand(shop.charge.payment_id, eur(10_00))
    assert await shop.undo() == ChargesUndone(TOTAL, TOTAL)
    entry = await shop.entry()
    assert entry is not None
    assert (entry.amount, entry.attempt, entry.state) == (eur(19_00), 2, S.SUCCEEDED)
    assert shop.cards.refunds[shop.key(2)].refund.amount == eur(19_00)
    assert await shop.booked() == TOTAL


async def test_a_refund_in_the_dashboard_of_all_that_was_set_aside_ends_it() -> None:
    shop = await paid()
    shop.cards.fail_next("refund", SILENCE)
    with pytest.raises(NoAnswerError):
        await shop.undo()
    shop.cards.refund_by_hand(shop.charge.payment_id)
    assert await shop.undo() == ChargesUndone(TOTAL, TOTAL)
    entry = await shop.entry()
    assert entry is not None
    assert (entry.state, "not by us" in entry.why) == (S.CANCELLED, True)
    assert len(shop.cards.refunds) == 1
    assert await shop.undo() == ChargesUndone(TOTAL, TOTAL)


async def test_an_order_that_was_only_held_has_no_refund() -> None:
    shop = Shop()
    await shop.orders.place(basket(shop.order_id), shop.database.clock())
    await shop.activities.charge_card(ChargeRequest(shop.order_id, hold=True))
    assert await shop.undo() == ChargesUndone(NOTHING, NOTHING)
    assert await shop.entry() is None


async def test_what_an_operator_gave_back_instead_settles_what_was_set_aside() -> None:
    shop = await paid()
    shop.cards.fail_until_healed("refund", RefusedError("the account is closed"))
    with pytest.raises(RefusedError):
        await shop.undo()
    by_hand = ManualRefund(shop.order_id, TOTAL, "ops-7", "by bank transfer")
    for _ in range(2):
        await shop.activities.record_given_back_by_hand(by_hand)
    entry = await shop.entry()
    assert entry is not None
    assert (entry.state, entry.why) == (S.SETTLED, "given back by hand, as ops-7 says")
    shop.cards.heal("refund")
    assert await shop.undo() == ChargesUndone(TOTAL, TOTAL)
    assert not shop.cards.refunds


async def test_an_operators_word_does_not_settle_what_is_on_its_way() -> None:
    shop = await paid(REFUND_PENDING)
    await shop.undo()
    by_hand = ManualRefund(shop.order_id, TOTAL, "ops-7", "by bank transfer")
    await shop.activities.record_given_back_by_hand(by_hand)
    assert await shop.state() is S.PENDING


async def test_what_is_back_at_the_provider_beside_a_failed_refund_is_not_counted_twice() -> None:
    shop = await paid(REFUND_FAILS)
    await shop.undo()
    shop.cards.settle_refund(shop.key())
    await shop.undo()
    shop.cards.refund_by_hand(shop.charge.payment_id)
    assert await shop.undo() == ChargesUndone(TOTAL, TOTAL, TOTAL)


# -- with a dispute of the same money --------------------------------------------------------------

PART = eur(10_00)
CHARGED_BACK = RefusedError("charge_disputed")


async def partly_disputed(*, told: bool) -> tuple[Shop, str]:
    """An order that cannot be undone while a part of it is disputed; the dispute's id."""
    shop = await paid()
    dispute = shop.risks.dispute(shop.charge.payment_id, PART)
    if told:
        await shop.read_risks()
    shop.cards.fail_until_healed("refund", CHARGED_BACK)
    for _ in range(3):
        with pytest.raises(RefusedError, match=f"while dispute {dispute.dispute_id} over 10.00"):
            await shop.undo()
    entry = await shop.entry()
    assert entry is not None
    assert (entry.state, entry.amount) == (S.ISSUING, TOTAL - PART)
    return shop, dispute.dispute_id


@pytest.mark.parametrize("told", [False, True])
async def test_what_a_lost_dispute_has_taken_is_not_given_back(*, told: bool) -> None:
    shop, dispute = await partly_disputed(told=told)
    shop.risks.lose(dispute)
    await shop.read_risks()
    shop.cards.heal("refund")
    assert await shop.undo() == ChargesUndone(TOTAL, TOTAL)
    assert await shop.undo() == ChargesUndone(TOTAL, TOTAL)
    assert shop.cards.given_back(shop.order_id) == 19_00


@pytest.mark.parametrize("told", [False, True])
async def test_what_a_won_dispute_has_put_back_is_given_back_too(*, told: bool) -> None:
    shop, dispute = await partly_disputed(told=told)
    shop.risks.win(dispute)
    await shop.read_risks()
    shop.cards.heal("refund")
    shop.cards.lose_answer_next("refund")
    with pytest.raises(NoAnswerError):
        await shop.undo()
    assert await shop.undo() == ChargesUndone(TOTAL, TOTAL)
    assert await shop.undo() == ChargesUndone(TOTAL, TOTAL)
    assert shop.cards.given_back(shop.order_id) == TOTAL.amount
    assert await shop.booked() == TOTAL


async def test_a_refund_in_the_dashboard_that_fails_meanwhile_is_given_back_too() -> None:
    shop = await paid()
    shop.cards.refund_by_hand(shop.charge.payment_id, PART)
    shop.cards.fail_next("refund", SILENCE)
    with pytest.raises(NoAnswerError):
        await shop.undo()
    shop.cards.fail_refund(next(iter(shop.cards.refunds)))
    assert await shop.undo() == ChargesUndone(TOTAL, TOTAL)
    assert shop.cards.given_back(shop.order_id) == TOTAL.amount


@pytest.mark.parametrize("disputed", [TOTAL, PART])
async def test_a_refund_that_fails_because_of_a_dispute_is_not_given_back_twice(
    disputed: Money,
) -> None:
    """Stripe: a pending refund fails when its charge is charged back."""
    shop = await paid(REFUND_PENDING)
    shop.cards.lose_answer_next("refund")
    with pytest.raises(NoAnswerError):
        await shop.undo()
    shop.cards.fail_refund(shop.key())
    shop.risks.dispute(shop.charge.payment_id, disputed)
    # It is followed, for a person decides about it: until our books have the dispute, and after.
    assert await shop.undo() == ChargesUndone(TOTAL, TOTAL, TOTAL)
    await shop.read_risks()
    for _ in range(2):
        assert await shop.undo() == ChargesUndone(TOTAL, TOTAL, TOTAL)
    assert (await shop.state(), len(shop.cards.refunds)) == (S.FAILED, 1)
