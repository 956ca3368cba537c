"""The tries of an order's charge, by workers that are killed or frozen anywhere in them.

A killed worker never comes back: its task is cancelled where it is held. A frozen one (SIGSTOP, a
paused machine) goes on later, when others have done its work and gone further.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Coroutine
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from itertools import count
from typing import Any, Final

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from activities.payments import PaymentActivities
from durable_orders.domain.activity_messages import (
    ChargeAnswer,
    ChargeRequest,
    CustomerUnknown,
    Declined,
    Held,
    OrderRef,
    Paid,
)
from durable_orders.domain.charges import LIVE_TRY, TRY_OVER
from durable_orders.domain.disputes.dispute import ConcernKind
from durable_orders.domain.money import Money
from durable_orders.domain.order import Basket, PaymentOptions, Recipient
from durable_orders.domain.ports import (
    AmountRefusedError,
    BusyError,
    CardCharge,
    CardTry,
    ChargeDetails,
    ChargeEntry,
    ChargeState,
    NoAnswerError,
    ProviderError,
    TryRefusal,
    UnusableCardError,
)
from tests.fakes.cards import ELEVATED_RISK, PROCESSING, UNKNOWN, InMemoryCards
from tests.fakes.database import (
    InMemoryDatabase,
    InMemoryOrderRepository,
    InMemoryPaymentLedger,
)
from tests.fakes.disputes import InMemoryDisputeRepository, InMemoryPaymentRiskReader
from tests.fakes.refunds import InMemoryRefundBook
from tests.fakes.script import take_unplayed
from tests.support.keys import charge_key

_numbers = count(1)

VISA, DECLINED = "pm_card_visa", "pm_card_visa_chargeDeclined"
THREE_D_SECURE = "pm_card_authenticationRequired"
#: The kind of answer to each card.
ANSWERS: Final = {
    VISA: "paid",
    DECLINED: "declined",
    THREE_D_SECURE: "authentication_required",
    UNKNOWN: "unusable_card",
}
ADA = Recipient("Ada Lovelace", "ada@example.com", "12 St James's Square, London")
TOTAL = Money(14_50, "EUR")
USED_UP = UnusableCardError("no", code="payment_method_unexpected_state")
TOO_SMALL = AmountRefusedError("no", code="amount_too_small")


@dataclass
class Shop:
    """One order of a shop in memory. ``now`` is its clock's time."""

    cards: InMemoryCards = field(default_factory=InMemoryCards)
    now: datetime = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)
    order_id: str = field(default_factory=lambda: f"c{next(_numbers)}")

    def __post_init__(self) -> None:
        self.database = InMemoryDatabase(lambda: self.now)
        self.database.add_product("MUG", "Mug", TOTAL, 10)
        self.ledger = InMemoryPaymentLedger(self.database)
        self.orders = InMemoryOrderRepository(self.database)
        self.refunds = InMemoryRefundBook(self.database)
        self.disputes = InMemoryDisputeRepository(self.database)
        self.activities = PaymentActivities(
            self.cards,
            self.ledger,
            self.orders,
            self.refunds,
            self.disputes,
            clock=lambda: self.now,
        )

    @classmethod
    async def before_try(cls, number: int) -> Shop:
        """A shop whose order had ``number`` - 1 cards declined."""
        shop = cls()
        basket = Basket(shop.order_id, "cus_1", ADA, (("MUG", 1),), VISA)
        await shop.orders.place(basket, shop.now)
        for earlier in range(1, number):
            assert (await shop.charge(earlier, DECLINED)).kind == "declined"
        return shop

    async def charge(self, number: int, card: str = VISA) -> ChargeAnswer:
        return await self.activities.charge_card(ChargeRequest(self.order_id, number, card))

    async def check(self) -> ChargeAnswer:
        return await self.activities.check_payment(OrderRef(self.order_id))

    async def undo(self) -> None:
        await self.activities.refund_card(OrderRef(self.order_id))

    @property
    def charged(self) -> CardCharge:
        """The one charge of the order at the provider."""
        [charge] = self.cards.charges_of(self.order_id)
        return charge

    async def entry(self) -> ChargeEntry:
        entry = await self.ledger.find(self.order_id)
        assert entry is not None
        return entry

    async def tries(self) -> tuple[CardTry, ...]:
        return (await self.entry()).tries

    async def told(self) -> tuple[object, ...]:
        """All that there is to know of the order's money, at the provider and in our books."""
        view = await self.orders.view(self.order_id)
        return (
            self.cards.charges_of(self.order_id),
            list(self.cards.sent),
            view.payments,
            view.order.status,
        )


#: Calls of a first try, and of a later one: a worker may be cut off before or after each.
FIRST = [
    ("orders", "get_for_charge"),
    ("cards", "create"),
    ("ledger", "announce"),
    ("cards", "confirm"),
    ("ledger", "record"),
]
LATER = [
    ("orders", "get_for_charge"),
    ("cards", "read"),
    ("ledger", "announce"),
    ("cards", "confirm"),
    ("ledger", "record"),
]
MOMENTS = [(1, *call, where) for call in FIRST for where in ("before", "after")] + [
    (2, *call, where) for call in LATER for where in ("before", "after")
]
at_every_moment = pytest.mark.parametrize(("number", "neighbour", "method", "where"), MOMENTS)
with_every_card = pytest.mark.parametrize("card", [VISA, DECLINED, THREE_D_SECURE])


async def held_in(
    shop: Shop, work: Coroutine[Any, Any, ChargeAnswer], neighbour: str, method: str, where: Any
) -> tuple[asyncio.Task[ChargeAnswer], Any]:
    """Begin the work and return when it is held there: its task, and the gate to let it go on."""
    gate = getattr(shop, neighbour).hold(method, where=where)
    working = asyncio.create_task(work)
    await gate.entered()
    return working, gate


@with_every_card
@at_every_moment
async def test_a_try_whose_worker_was_killed_is_made_once_and_answered(
    number: int, neighbour: str, method: str, where: str, card: str
) -> None:
    shop = await Shop.before_try(number)
    killed, _ = await held_in(shop, shop.charge(number, card), neighbour, method, where)
    killed.cancel()
    await asyncio.wait([killed])

    answer = await shop.charge(number, card)

    assert answer.kind == ANSWERS[card]
    assert shop.cards.confirmations[shop.charged.payment_id] == [DECLINED] * (number - 1) + [card]
    last = (await shop.tries())[-1]
    assert (last.number, last.state) == (number, shop.charged.state)
    assert (await shop.entry()).state is shop.charged.state
    assert (await shop.charge(number, card)).kind == ANSWERS[card]


@with_every_card
@at_every_moment
async def test_a_try_whose_worker_was_frozen_is_made_once_and_answered(
    number: int, neighbour: str, method: str, where: str, card: str
) -> None:
    shop = await Shop.before_try(number)
    frozen, gate = await held_in(shop, shop.charge(number, card), neighbour, method, where)
    answer = await shop.charge(number, card)
    before = await shop.told()

    gate.release()
    late = await frozen

    assert answer.kind == late.kind == ANSWERS[card]
    assert await shop.told() == before
    assert shop.cards.confirmations[shop.charged.payment_id] == [DECLINED] * (number - 1) + [card]


@pytest.mark.parametrize("further", ["declined", "paid", "asked"])
@pytest.mark.parametrize("card", [DECLINED, THREE_D_SECURE])
@at_every_moment
async def test_a_worker_that_wakes_up_after_later_tries_changes_nothing(
    number: int, neighbour: str, method: str, where: str, card: str, further: str
) -> None:
    """The customer has brought another card meanwhile, and perhaps is asked by the bank now."""
    shop = await Shop.before_try(number)
    frozen, gate = await held_in(shop, shop.charge(number, card), neighbour, method, where)
    await shop.charge(number, card)
    if card == THREE_D_SECURE:
        shop.cards.authenticate(shop.charged.payment_id, succeeds=False)
        assert (await shop.check()).kind == "declined"
    another = {"declined": DECLINED, "paid": VISA, "asked": THREE_D_SECURE}[further]
    await shop.charge(number + 1, another)
    before = await shop.told()

    gate.release()
    await asyncio.wait([frozen])

    assert await shop.told() == before
    assert [one.number for one in await shop.tries()] == list(range(1, number + 2))


@with_every_card
@at_every_moment
async def test_a_worker_that_wakes_up_after_the_undo_takes_nothing(
    number: int, neighbour: str, method: str, where: str, card: str
) -> None:
    shop = await Shop.before_try(number)
    frozen, gate = await held_in(shop, shop.charge(number, card), neighbour, method, where)
    await shop.undo()
    sent = list(shop.cards.sent)

    gate.release()
    await asyncio.wait([frozen])
    await shop.undo()

    assert all(not charge.kept for charge in shop.cards.charges_of(shop.order_id))
    over = {ChargeState.CANCELLED, ChargeState.CAPTURED}
    assert {charge.state for charge in shop.cards.charges_of(shop.order_id)} <= over
    assert len(shop.cards.refunds) <= 1
    assert set(shop.cards.sent) - set(sent) <= {charge_key(shop.order_id, number)}


@at_every_moment
async def test_a_worker_that_wakes_up_when_the_key_is_forgotten_charges_no_old_card(
    number: int, neighbour: str, method: str, where: str
) -> None:
    """Two days later the order still waits for another card, and Stripe knows no key any more."""
    if (method, where) == ("confirm", "before"):
        pytest.skip("its request is on its way: only Stripe could stop it")
    shop = await Shop.before_try(number)
    frozen, gate = await held_in(shop, shop.charge(number, DECLINED), neighbour, method, where)
    await shop.charge(number, DECLINED)
    shop.now += timedelta(days=2)
    shop.cards.forget_keys()
    sent = list(shop.cards.sent)

    gate.release()
    await asyncio.wait([frozen])

    assert shop.cards.sent == sent
    assert (await shop.entry()).state is ChargeState.DECLINED
    # At worst it has created another charge: that is not the order's, and never confirmed.
    confirmed = [cards for cards in shop.cards.confirmations.values() if cards]
    assert len(confirmed) == 1


class TestALostAnswer:
    """The provider has done what was asked, and nobody knows."""

    @with_every_card
    @pytest.mark.parametrize("number", [1, 2])
    async def test_is_asked_for_again_under_the_same_key(self, number: int, card: str) -> None:
        shop = await Shop.before_try(number)
        shop.cards.lose_answer_next("confirm")
        with pytest.raises(NoAnswerError):
            await shop.charge(number, card)
        assert (await shop.charge(number, card)).kind == ANSWERS[card]
        assert len(shop.cards.sent) == number

    @pytest.mark.parametrize("number", [1, 2])
    async def test_that_was_never_given_is_asked_for_again(self, number: int) -> None:
        shop = await Shop.before_try(number)
        shop.cards.fail_next("confirm", NoAnswerError("the network is down"))
        with pytest.raises(NoAnswerError):
            await shop.charge(number)
        shop.now += timedelta(hours=22)
        assert (await shop.charge(number)).kind == "paid"

    @pytest.mark.parametrize("number", [1, 2])
    async def test_a_day_later_a_newer_charge_is_the_answer(self, number: int) -> None:
        shop = await Shop.before_try(number)
        shop.cards.lose_answer_next("confirm")
        with pytest.raises(NoAnswerError):
            await shop.charge(number)
        shop.now += timedelta(hours=30)
        shop.cards.forget_keys()
        assert (await shop.charge(number)).kind == "paid"
        assert len(shop.cards.sent) == number
        assert (await shop.tries())[-1].state is ChargeState.CAPTURED

    @pytest.mark.parametrize("number", [1, 2])
    async def test_a_day_later_nothing_is_confirmed_anew(self, number: int) -> None:
        """Nobody can say whether the request arrived, so it is never sent again."""
        shop = await Shop.before_try(number)
        shop.cards.fail_next("confirm", NoAnswerError("the network is down"))
        with pytest.raises(NoAnswerError):
            await shop.charge(number)
        shop.now += timedelta(hours=23)
        shop.cards.forget_keys()
        assert (await shop.charge(number)).kind == "try_expired"
        again = await shop.charge(number)  # the answer was lost
        assert again.kind == ("try_expired" if number == 1 else "declined")
        assert len(shop.cards.sent) == number - 1
        assert (await shop.tries())[-1].state is ChargeState.CANCELLED
        assert not shop.charged.captured

    async def test_of_a_customer_who_failed_is_a_decline(self) -> None:
        """3-D Secure fails without a charge: only the key can tell that the try was made."""
        shop = await Shop.before_try(2)
        shop.cards.lose_answer_next("confirm")
        with pytest.raises(NoAnswerError):
            await shop.charge(2, THREE_D_SECURE)
        shop.cards.authenticate(shop.charged.payment_id, succeeds=False)
        assert (await shop.charge(2, THREE_D_SECURE)).kind == "declined"
        assert len(shop.cards.sent) == 2
        assert (await shop.tries())[-1].state is ChargeState.DECLINED
        assert (await shop.charge(3)).kind == "paid"


class TestACardThatCannotBeCharged:
    """The provider refuses the confirmation, and asks no bank."""

    #: A try that is refused is read, and ended in our books; its confirmation has no "after".
    at_every_moment = pytest.mark.parametrize(
        ("number", "neighbour", "method", "where"),
        [
            *(at for at in MOMENTS if at[2] != "record" and at[2:] != ("confirm", "after")),
            *((1, "cards", "read", where) for where in ("before", "after")),
            *((n, "ledger", "end_try", where) for n in (1, 2) for where in ("before", "after")),
        ],
    )

    @pytest.mark.parametrize("number", [1, 2, 3])
    async def test_ends_its_try_and_another_card_pays_the_same_charge(self, number: int) -> None:
        shop = await Shop.before_try(number)
        for _ in range(2):
            assert (await shop.charge(number, UNKNOWN)).kind == "unusable_card"
            assert (await shop.check()).kind == "unusable_card"
        last = (await shop.tries())[-1]
        assert (last.state, last.refusal) == (ChargeState.DECLINED, TryRefusal.CARD)
        assert last.decline_code == "resource_missing"
        assert shop.cards.calls.count("confirm") == number  # asked once: the answer stays the same
        assert (await shop.charge(number + 1)).kind == "paid"
        assert shop.cards.taken(shop.order_id) == TOTAL.amount
        assert shop.cards.confirmations[shop.charged.payment_id] == [DECLINED] * (number - 1) + [
            VISA
        ]

    @at_every_moment
    async def test_is_answered_when_its_worker_was_killed(
        self, number: int, neighbour: str, method: str, where: str
    ) -> None:
        shop = await Shop.before_try(number)
        killed, _ = await held_in(shop, shop.charge(number, UNKNOWN), neighbour, method, where)
        killed.cancel()
        await asyncio.wait([killed])
        assert (await shop.charge(number, UNKNOWN)).kind == "unusable_card"
        assert (await shop.tries())[-1].refusal is TryRefusal.CARD

    @pytest.mark.parametrize("another", [VISA, DECLINED, THREE_D_SECURE, UNKNOWN])
    @at_every_moment
    async def test_changes_nothing_when_its_worker_wakes_up_after_another_card(
        self, number: int, neighbour: str, method: str, where: str, another: str
    ) -> None:
        shop = await Shop.before_try(number)
        frozen, gate = await held_in(shop, shop.charge(number, UNKNOWN), neighbour, method, where)
        assert (await shop.charge(number, UNKNOWN)).kind == "unusable_card"
        assert (await shop.charge(number + 1, another)).kind == ANSWERS[another]
        before = await shop.told()

        gate.release()
        await asyncio.wait([frozen])

        assert await shop.told() == before
        assert [one.number for one in await shop.tries()] == list(range(1, number + 2))

    @pytest.mark.parametrize("number", [1, 2])
    async def test_is_no_reason_to_overlook_that_the_charge_is_paid(self, number: int) -> None:
        """By the browser, or by an earlier request: then the card may be used up because of it."""
        shop = await Shop.before_try(number)
        trying, gate = await held_in(shop, shop.charge(number), "ledger", "announce", "after")
        shop.cards.confirm_in_browser(shop.charged.payment_id)
        shop.cards.fail_next("confirm", USED_UP)
        gate.release()
        assert (await trying).kind == "paid"
        assert (await shop.tries())[-1].state is ChargeState.CAPTURED
        assert shop.cards.taken(shop.order_id) == TOTAL.amount

    async def test_is_forgotten_when_the_browser_has_another_card_declined(self) -> None:
        shop = await Shop.before_try(1)
        assert (await shop.charge(1, UNKNOWN)).kind == "unusable_card"
        shop.cards.confirm_in_browser(shop.charged.payment_id, DECLINED)
        answer = await shop.check()
        assert isinstance(answer, Declined)
        assert answer.code == "generic_decline"
        assert (await shop.entry()).state is ChargeState.DECLINED


class TestACustomerWhoIsAway:
    """The parameters of a try are the same each time that it is sent."""

    async def shop(self, card: str = VISA) -> tuple[Shop, ChargeRequest]:
        """An order of a saved card, and its first try."""
        shop = Shop()
        customer = shop.cards.add_customer()
        saved = shop.cards.save_card(customer, card)
        options = PaymentOptions(customer, off_session=True, receipt_email="ada@example.com")
        basket = Basket(shop.order_id, "cus_1", ADA, (("MUG", 1),), saved, options=options)
        await shop.orders.place(basket, shop.now)
        return shop, ChargeRequest(shop.order_id, off_session=True)

    async def test_has_a_charge_with_all_that_the_order_says(self) -> None:
        shop, first = await self.shop()
        assert (await shop.activities.charge_card(first)).kind == "paid"
        [announced] = shop.cards.announced.values()
        assert announced.details == ChargeDetails(
            customer=next(iter(shop.cards.customers)),
            receipt_email="ada@example.com",
            description=f"Order {shop.order_id}",
            recipient=ADA,
        )

    @pytest.mark.parametrize(("neighbour", "method"), FIRST)
    @pytest.mark.parametrize("where", ["before", "after"])
    async def test_is_charged_once_and_as_away_wherever_the_worker_was_killed(
        self, neighbour: str, method: str, where: str
    ) -> None:
        shop, first = await self.shop()
        trying = shop.activities.charge_card(first)
        killed, _ = await held_in(shop, trying, neighbour, method, where)
        killed.cancel()
        await asyncio.wait([killed])
        assert (await shop.activities.charge_card(first)).kind == "paid"
        assert shop.cards.off_session == shop.cards.sent
        assert len(shop.cards.sent) == 1
        assert shop.cards.taken(shop.order_id) == TOTAL.amount

    async def test_is_told_apart_from_a_plain_decline_and_names_the_charge(self) -> None:
        shop, first = await self.shop(THREE_D_SECURE)
        for _ in range(2):
            declined = await shop.activities.charge_card(first)
            assert isinstance(declined, Declined)
            assert declined.code == "authentication_required"
            assert declined.payment_id == shop.charged.payment_id
            assert await shop.check() == declined

    async def test_who_comes_pays_the_same_charge_on_session(self) -> None:
        shop, first = await self.shop(THREE_D_SECURE)
        await shop.activities.charge_card(first)
        assert (await shop.charge(2)).kind == "paid"
        assert len(shop.cards.charges) == 1
        assert len(shop.cards.off_session) == 1


class TestACustomerWhomTheProviderDoesNotKnow:
    async def test_is_an_answer_that_leaves_nothing_behind(self) -> None:
        shop = Shop()
        options = PaymentOptions("cus_nobodys")
        basket = Basket(shop.order_id, "cus_1", ADA, (("MUG", 1),), VISA, options=options)
        await shop.orders.place(basket, shop.now)
        for _ in range(2):
            answer = await shop.charge(1)
            assert isinstance(answer, CustomerUnknown)
            assert answer.code == "resource_missing"
        assert shop.cards.charges == {}
        assert await shop.ledger.find(shop.order_id) is None
        view = await shop.orders.view(shop.order_id)
        noted = [line.detail for line in view.history if line.event == "payment_customer_unknown"]
        assert noted == [{"code": "resource_missing"}]  # once
        await shop.undo()


class TestAnAmountThatIsRefused:
    @pytest.mark.parametrize("number", [1, 2])
    async def test_by_the_confirmation_ends_the_try(self, number: int) -> None:
        shop = await Shop.before_try(number)
        shop.cards.fail_next("confirm", TOO_SMALL)
        for _ in range(2):
            assert (await shop.charge(number)).kind == "amount_refused"
        assert (await shop.check()).kind == "amount_refused"
        assert (await shop.tries())[-1].refusal is TryRefusal.AMOUNT
        await shop.undo()
        assert shop.charged.state is ChargeState.CANCELLED

    async def test_when_the_charge_is_created_leaves_none(self) -> None:
        shop = await Shop.before_try(1)
        shop.cards.fail_next("create", TOO_SMALL)
        assert (await shop.charge(1)).kind == "amount_refused"
        assert await shop.ledger.find(shop.order_id) is None
        assert not shop.cards.charges_of(shop.order_id)
        history = (await shop.orders.view(shop.order_id)).history
        assert history[-1].event == "payment_amount_refused"


class TestLoad:
    """The provider has too much to do: the request did nothing."""

    @with_every_card
    @pytest.mark.parametrize(
        ("number", "method"), [(1, "create"), (1, "confirm"), (2, "read"), (2, "confirm")]
    )
    async def test_is_no_answer_and_the_same_try_is_made_later(
        self, number: int, method: str, card: str
    ) -> None:
        shop = await Shop.before_try(number)
        shop.cards.fail_next(method, BusyError("too many requests"))
        with pytest.raises(BusyError):
            await shop.charge(number, card)
        assert (await shop.charge(number, card)).kind == ANSWERS[card]
        assert len(shop.cards.sent) == number
        assert len(await shop.tries()) == number


class TestTheBrowser:
    """The customer goes on with the same charge beside us."""

    @pytest.mark.parametrize(
        ("card", "kind"), [(THREE_D_SECURE, "authentication_required"), (PROCESSING, "processing")]
    )
    async def test_is_not_interrupted_by_another_try(self, card: str, kind: str) -> None:
        shop = await Shop.before_try(2)
        shop.cards.confirm_in_browser(shop.charged.payment_id, card)
        for _ in range(2):
            assert (await shop.charge(2)).kind == kind
        assert len(shop.cards.sent) == 1
        assert (await shop.tries())[-1].state is ChargeState.CANCELLED  # never to be made
        assert (await shop.check()).kind == kind

    async def test_that_pays_before_another_try_has_paid(self) -> None:
        shop = await Shop.before_try(2)
        shop.cards.confirm_in_browser(shop.charged.payment_id)
        assert (await shop.charge(2)).kind == "paid"
        assert len(shop.cards.sent) == 1

    @pytest.mark.parametrize("where", ["before", "after"])
    async def test_that_pays_while_a_try_is_announced_pays_once(self, where: str) -> None:
        shop = await Shop.before_try(2)
        trying, gate = await held_in(shop, shop.charge(2), "ledger", "announce", where)
        shop.cards.confirm_in_browser(shop.charged.payment_id)
        gate.release()
        assert (await trying).kind == "paid"
        assert shop.cards.taken(shop.order_id) == TOTAL.amount

    async def test_that_fails_leaves_a_decline_and_a_charge_to_be_tried(self) -> None:
        shop = await Shop.before_try(2)
        shop.cards.confirm_in_browser(shop.charged.payment_id, THREE_D_SECURE)
        assert (await shop.check()).kind == "authentication_required"
        assert (await shop.entry()).state is ChargeState.NEEDS_CUSTOMER
        shop.cards.authenticate(shop.charged.payment_id, succeeds=False)
        assert (await shop.check()).kind == "declined"
        assert (await shop.charge(2)).kind == "paid"


class TestAChargeThatIsOver:
    async def test_that_was_cancelled_by_hand_is_said_to_have_ended(self) -> None:
        shop = await Shop.before_try(2)
        shop.cards.cancel_by_hand(shop.charged.payment_id)
        assert (await shop.check()).kind == "payment_ended"
        assert (await shop.charge(2)).kind == "payment_ended"
        assert len(shop.cards.charges_of(shop.order_id)) == 1

    async def test_that_was_confirmed_too_often_is_said_to_have_ended(self) -> None:
        shop = await Shop.before_try(2)
        shop.cards.confirm_limit = 1
        assert (await shop.charge(2)).kind == "payment_ended"

    @pytest.mark.parametrize("by_browser", [True, False])
    async def test_whose_money_was_given_back_pays_for_nothing(
        self,
        by_browser: bool,  # noqa: FBT001 - a parameter of the test
    ) -> None:
        shop = await Shop.before_try(2)
        if by_browser:
            shop.cards.confirm_in_browser(shop.charged.payment_id)
        else:
            assert (await shop.charge(2)).kind == "paid"
        shop.cards.refund_by_hand(shop.charged.payment_id, Money(1, "EUR"))
        assert (await shop.check()).kind == "paid"  # but for a discount of somebody's
        shop.cards.refund_by_hand(shop.charged.payment_id)
        assert (await shop.check()).kind == "payment_returned"
        await shop.undo()
        assert shop.cards.given_back(shop.order_id) == TOTAL.amount


# -- whatever comes ------------------------------------------------------------------------------

CARDS = st.sampled_from([VISA, DECLINED, THREE_D_SECURE, PROCESSING, UNKNOWN])
CALLS = st.sampled_from(sorted({*FIRST, *LATER, ("ledger", "end_try")}))
WHERE = st.sampled_from(["before", "after"])
EVENTS = st.one_of(
    st.tuples(st.just("charge"), CARDS),
    st.tuples(st.just("freeze"), CARDS, CALLS, WHERE),
    st.tuples(st.just("kill"), CARDS, CALLS, WHERE),
    st.tuples(st.just("retry")),
    st.tuples(st.just("wake")),
    st.tuples(st.just("browser"), CARDS),
    st.tuples(st.just("bank"), st.booleans()),
    st.tuples(st.just("look")),
    st.tuples(st.just("day")),
    st.tuples(st.just("cancel_by_hand")),
    st.tuples(st.just("refund_by_hand")),
    st.tuples(st.just("undo")),
)


class Story:
    """An order to which anything happens, and what must be true of it all the time."""

    def __init__(self, shop: Shop) -> None:
        self.shop = shop
        self.number = 0
        self.card = VISA
        #: Workers that are held: the task, the gate, and whether a request is on its way.
        self.frozen: list[tuple[asyncio.Task[ChargeAnswer], Any, bool]] = []
        self.undone = False

    async def happen(self, event: str, *how: Any) -> None:
        with contextlib.suppress(ProviderError, ValueError):
            await getattr(self, event)(*how)
        take_unplayed()
        await self.check()

    # -- what may happen -----------------------------------------------------------------------

    async def charge(self, card: str) -> None:
        self._next_try(card)
        await self.shop.charge(self.number, self.card)

    async def freeze(self, card: str, call: tuple[str, str], where: Any) -> None:
        self._next_try(card)
        neighbour, method = call
        gate = getattr(self.shop, neighbour).hold(method, where=where)
        working = asyncio.create_task(self.shop.charge(self.number, self.card))
        entered = asyncio.create_task(gate.entered())
        await asyncio.wait([working, entered], return_when=asyncio.FIRST_COMPLETED)
        entered.cancel()
        if working.done():
            working.result()
        self.frozen.append((working, gate, (method, where) == ("confirm", "before")))

    async def kill(self, card: str, call: tuple[str, str], where: Any) -> None:
        await self.freeze(card, call, where)
        killed, _, _ = self.frozen.pop()
        killed.cancel()
        await asyncio.wait([killed])

    async def retry(self) -> None:
        if self.number:
            await self.shop.charge(self.number, self.card)

    async def wake(self) -> None:
        if self.frozen:
            frozen, gate, _ = self.frozen.pop(0)
            gate.release()
            await asyncio.wait([frozen])

    async def browser(self, card: str) -> None:
        if charge := self._confirmed():
            self.shop.cards.confirm_in_browser(charge.payment_id, card)

    async def bank(self, passes: bool) -> None:  # noqa: FBT001 - drawn
        if charge := self._confirmed():
            if charge.state is ChargeState.PROCESSING:
                self.shop.cards.finish_processing(charge.payment_id, captured=passes)
            else:
                self.shop.cards.authenticate(charge.payment_id, succeeds=passes)

    async def look(self) -> None:
        await self.shop.check()

    async def day(self) -> None:
        """A day passes. A request that is on its way arrives sooner, or never."""
        for frozen, _, is_sending in list(self.frozen):
            if is_sending:
                frozen.cancel()
                await asyncio.wait([frozen])
        self.frozen = [one for one in self.frozen if not one[2]]
        self.shop.now += timedelta(hours=25)
        self.shop.cards.forget_keys()

    async def cancel_by_hand(self) -> None:
        charge = self._confirmed()
        if charge and charge.state not in {ChargeState.CAPTURED, ChargeState.PROCESSING}:
            self.shop.cards.cancel_by_hand(charge.payment_id)

    async def refund_by_hand(self) -> None:
        if (charge := self._confirmed()) and charge.kept:
            self.shop.cards.refund_by_hand(charge.payment_id)

    async def undo(self) -> None:
        await self.shop.undo()
        self.undone = True

    def _next_try(self, card: str) -> None:
        """As the workflow does: another try only when the one before has an answer."""
        payment = self.shop.database.row(self.shop.order_id).payment
        last = payment.tries.get(self.number) if payment else None
        if self.number == 0 or (last is not None and last.state in TRY_OVER):
            self.number += 1
            self.card = card

    def _confirmed(self) -> CardCharge | None:
        """The charge that a browser knows: the one that was confirmed."""
        cards = self.shop.cards
        charges = cards.charges_of(self.shop.order_id)
        return next((one for one in charges if cards.confirmations[one.payment_id]), None)

    # -- what must be true ---------------------------------------------------------------------

    async def check(self) -> None:
        shop = self.shop
        charges = shop.cards.charges_of(shop.order_id)
        # One charge of the order's is ever confirmed: Stripe lets it succeed once.
        assert sum(bool(shop.cards.confirmations[one.payment_id]) for one in charges) <= 1
        # No try is made twice, however long ago it was.
        assert len(shop.cards.sent) == len(set(shop.cards.sent))
        entry = await shop.ledger.find(shop.order_id)
        tries = entry.tries if entry else ()
        assert sum(one.state in LIVE_TRY for one in tries) <= 1
        assert [one.number for one in tries] == sorted({one.number for one in tries})
        if self.undone:
            live = {ChargeState.NEEDS_CUSTOMER, ChargeState.PROCESSING, ChargeState.HELD}
            assert not any(charge.kept or charge.state in live for charge in charges)


@settings(max_examples=400)
@given(st.lists(EVENTS, max_size=14))
def test_an_order_never_has_two_live_charges_whatever_happens(events: list[Any]) -> None:
    async def story() -> None:
        story = Story(await Shop.before_try(1))
        for event in events:
            await story.happen(*event)
        while story.frozen:
            await story.happen("wake")

    asyncio.run(story())


# -- what makes the money uncertain ----------------------------------------------------------------


async def test_an_ordinary_charge_is_certain_and_the_books_of_disputes_are_not_asked() -> None:
    shop = await Shop.before_try(1)
    assert await shop.charge(1) == Paid(shop.charged.payment_id, TOTAL)
    assert await shop.check() == Paid(shop.charged.payment_id, TOTAL)
    assert shop.disputes.calls == []


async def test_what_was_given_back_at_the_provider_is_in_the_answer() -> None:
    shop = await Shop.before_try(1)
    await shop.charge(1)
    back = Money(4_50, "EUR")
    shop.cards.refund_by_hand(shop.charged.payment_id, back)
    answer = await shop.check()
    assert isinstance(answer, Paid)
    assert (answer.amount, answer.given_back) == (TOTAL, back)
    [concern] = answer.concerns
    assert concern.id == f"{shop.charged.payment_id}:1000"


async def test_what_a_person_captures_of_a_hold_is_in_the_answer_of_our_capture() -> None:
    shop = await Shop.before_try(1)
    held = await shop.activities.charge_card(ChargeRequest(shop.order_id, 1, VISA, hold=True))
    assert isinstance(held, Held)
    assert held.concerns == ()
    shop.cards.capture_by_hand(shop.charged.payment_id, Money(10_00, "EUR"))
    captured = await shop.activities.capture_payment(OrderRef(shop.order_id))
    assert isinstance(captured, Paid)
    assert captured.amount == Money(10_00, "EUR")
    assert [one.kind for one in captured.concerns] == [ConcernKind.AMOUNT]


async def test_a_charge_that_goes_into_review_says_so_at_once() -> None:
    shop = await Shop.before_try(1)
    answer = await shop.charge(1, ELEVATED_RISK)
    assert isinstance(answer, Paid)
    assert [one.id for one in answer.concerns] == [shop.charged.review]
    shop.cards.close_review(shop.charged.payment_id)
    assert await shop.check() == Paid(shop.charged.payment_id, TOTAL)


async def test_what_our_books_have_open_is_in_each_answer_until_it_is_over() -> None:
    shop = await Shop.before_try(1)
    await shop.charge(1)
    payment_id = shop.charged.payment_id
    bank = InMemoryPaymentRiskReader(lambda: shop.now)
    inquiry = bank.dispute(payment_id, TOTAL, inquiry=True)
    await shop.disputes.record(shop.order_id, await bank.risks_of(payment_id), shop.now)
    for answer in (await shop.check(), await shop.charge(1)):
        assert isinstance(answer, Paid)
        assert answer.concerns == (inquiry.concern,)
    bank.win(inquiry.dispute_id)
    await shop.disputes.record(shop.order_id, await bank.risks_of(payment_id), shop.now)
    assert await shop.check() == Paid(payment_id, TOTAL)


# -- looks of others -------------------------------------------------------------------------------


async def test_an_older_look_that_an_audit_records_does_not_keep_the_next_card_out() -> None:
    """The audit has read that the payment is processing; the order has heard since that the bank
    declined it, and is about to record that. It asks again then.
    """
    shop = await Shop.before_try(1)
    await shop.charge(1, THREE_D_SECURE)
    entry, payment_id = await shop.entry(), shop.charged.payment_id
    old_look = replace(shop.charged, state=ChargeState.PROCESSING)
    shop.cards.authenticate(payment_id, succeeds=False)
    recording = shop.ledger.hold("record")
    checking = asyncio.create_task(shop.check())
    await recording.entered()
    await shop.ledger.record(entry, old_look)
    recording.release()
    assert (await checking).kind == "declined"
    assert (await shop.entry()).tries[-1].state is ChargeState.DECLINED

    assert (await shop.charge(2)).kind == "paid"

    assert [one.state for one in (await shop.entry()).tries] == [
        ChargeState.DECLINED,
        ChargeState.CAPTURED,
    ]


async def test_an_older_look_that_is_recorded_once_more_meanwhile_does_not_either() -> None:
    shop = await Shop.before_try(1)
    await shop.charge(1, THREE_D_SECURE)
    payment_id = shop.charged.payment_id
    waiting = shop.charged
    processing = replace(waiting, state=ChargeState.PROCESSING)
    await shop.ledger.record(await shop.entry(), processing)
    shop.cards.authenticate(payment_id, succeeds=False)
    recording = shop.ledger.hold("record")
    charging = asyncio.create_task(shop.charge(2))
    await recording.entered()
    await shop.ledger.record(await shop.entry(), waiting)
    recording.release()
    assert (await charging).kind == "paid"
