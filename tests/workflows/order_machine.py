"""A model of an order's life for Hypothesis: the real workflow, driven through any interleaving of
what neighbours answer, what customers, banks and people do, and how much time passes.

Nothing of it is a copy of the workflow: after every move, and at the end, the books of all
neighbours are compared with the promises.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from itertools import count, product
from typing import Any, Final, TypeVar

from hypothesis import strategies as st
from temporalio.api.enums.v1 import PendingActivityState
from temporalio.client import (
    WorkflowExecutionStatus,
    WorkflowHandle,
    WorkflowUpdateFailedError,
)
from temporalio.service import RPCError
from temporalio.testing import TimeSkipper

from durable_orders.domain.activity_messages import CancelRequest, OrderInput, Outcome, Progress
from durable_orders.domain.disputes.dispute import Dispute
from durable_orders.domain.ids import TASK_QUEUE, mail_key, workflow_id
from durable_orders.domain.lifecycle import CLOSED_EARLY, FULFILLED_OR_LATER, Status
from durable_orders.domain.money import Money
from durable_orders.domain.order import Basket, PaymentOptions, Recipient
from durable_orders.domain.parcels import ParcelStatus
from durable_orders.domain.ports import (
    BusyError,
    CardCharge,
    ChargeState,
    LockedOutError,
    NoAnswerError,
)
from durable_orders.domain.terms import CaptureMethod, OrderTerms, ShopTerms
from durable_orders.domain.workflow_messages import (
    Approve,
    NewCard,
    OperatorCommand,
    ParcelUpdate,
    PaymentUpdate,
    Reject,
    Resolve,
    RetryNow,
    SkipStep,
)
from tests.support.eventually import eventually
from tests.workflows.conductor import Conductor, WaitingCall
from tests.workflows.conftest import ON_HAND, PRICE, QUANTITY, TOTAL, Shop, ended
from tests.workflows.test_payment_risk import tell
from workflows.order import OrderWorkflow
from workflows.payment_risk import PaymentRiskWorkflow

T = TypeVar("T")
Handle = WorkflowHandle[OrderWorkflow, Outcome]

_numbers: Final = count(1)
ADA: Final = Recipient("Ada Lovelace", "ada@example.com", "12 St James's Square, London")
#: All pauses between tries are long: what happens in them is the machine's choice, not the clock's.
HOUR: Final = timedelta(hours=1)

PAYS, DECLINED = "pm_card_visa", "pm_card_visa_chargeDeclined"
WANTS_CUSTOMER, SLOW_BANK = "pm_card_authenticationRequired", "pm_sandbox_processing"
RISKY = "pm_card_riskLevelElevated"
CARDS: Final = (PAYS, DECLINED, WANTS_CUSTOMER, SLOW_BANK, RISKY)

#: Methods of ours whose answer, or whose work, is lost once.
OF_OURS: Final = {
    "inventory": ("reserve", "release", "commit"),
    "book": ("begin_undo", "move", "keep", "record_parcels"),
    "ledger": ("announce", "record", "close"),
}
#: Neighbours' methods that are asked in local activities, and so do not wait for the machine.
ASIDE: Final = ("mailer.send", "cards.read")

ERRORS: Final[dict[str, Exception]] = {
    "silent": NoAnswerError("nobody answers", retry_after=HOUR * 8),
    "busy": BusyError("too many requests", retry_after=HOUR / 6),
    "refusing our key": LockedOutError("the key is not accepted", retry_after=HOUR * 8),
}


@dataclass(frozen=True)
class Placing:
    """How an order is placed, and how many first calls at neighbours are just answered."""

    card: str = PAYS
    needs_approval: bool = False
    capture: CaptureMethod = CaptureMethod.AT_CHECKOUT
    is_followed: bool = False
    takes_other_cards: bool = False
    answered: int = 0

    @property
    def terms(self) -> OrderTerms:
        return OrderTerms(
            needs_approval=self.needs_approval,
            capture=self.capture,
            delivery_deadline=timedelta(days=30 if self.is_followed else 0),
            new_card_window=HOUR * (2 if self.takes_other_cards else 0),
        )


#: Numbers of moves: always so many, of which counterexamples need few. Lists would be shorter.
CHOICES: Final = st.lists(st.integers(0, 2**16), min_size=16, max_size=16)

PLACINGS: Final = st.builds(
    Placing,
    card=st.sampled_from([PAYS, PAYS, PAYS, *CARDS]),
    needs_approval=st.sampled_from([False, False, False, True]),
    capture=st.sampled_from(CaptureMethod),
    is_followed=st.booleans(),
    takes_other_cards=st.booleans(),
    answered=st.integers(0, 5),
)


@dataclass(frozen=True)
class Play:
    """A move with its arguments; printed as the call that plays it again."""

    name: str
    arguments: Mapping[str, Any] = field(default_factory=dict, hash=False)

    def __str__(self) -> str:
        given = "".join(f", {name}={value!r}" for name, value in self.arguments.items())
        return f'play("{self.name}"{given})'


def play(name: str, **arguments: Any) -> Play:
    """For programs that are written down."""
    return Play(name, arguments)


#: The moves in the order in which they are tried when a counterexample is made simpler: their
#: condition, how much likelier than the others they are, and the values of their arguments.
MOVES: Final[dict[str, tuple[Callable[[Any], bool], int, list[dict[str, Any]]]]] = {}

Move = TypeVar("Move", bound=Callable[..., None])


def move(
    condition: Callable[[Any], bool], *, weight: int = 1, **values: Sequence[Any]
) -> Callable[[Move], Move]:
    """A thing that can happen to an order where ``condition`` holds, with any of these values."""
    combinations = [dict(zip(values, one, strict=True)) for one in product(*values.values())]

    def noted(method: Move) -> Move:
        MOVES[method.__name__] = (condition, weight, combinations)
        return method

    return noted


@dataclass(frozen=True)
class TermsOfTheMoment(ShopTerms):
    """The shop's terms, which are others for each order."""

    present: list[OrderTerms] = field(default_factory=lambda: [OrderTerms()])

    def of(self, total: Money, *, flagged: bool, off_session: bool = False) -> OrderTerms:
        return self.present[0]


@dataclass
class World:
    """What all examples share: a shop with a worker, whose neighbours the conductor plays."""

    shop: Shop
    conductor: Conductor
    terms: TermsOfTheMoment
    skipper: TimeSkipper
    loop: asyncio.AbstractEventLoop

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        """Run something in the loop of the worker, from the thread of the machine."""
        try:
            return asyncio.run_coroutine_threadsafe(work, self.loop).result(120)
        except TimeoutError as error:
            # asyncio makes a new one of it on the way, without the program that led there.
            raise AssertionError("it takes too long") from error


class OrderMachine:
    """One order, and everything that can happen to it.

    Which move comes next is chosen by a number among those that fit at that moment, and not by a
    rule of ``hypothesis.stateful``: what fits depends on a real server, and Hypothesis takes data
    that are drawn by that for unreliable.
    """

    def __init__(self, world: World, placing: Placing) -> None:
        number = next(_numbers)
        self.world, self.placing = world, placing
        self.order_id, self.sku = f"machine-{number}", f"SKU-{number}"
        self.handle: Handle | None = None
        self.progress: Progress | None = None
        #: What was played so far.
        self.played: list[Play] = []
        #: Updates whose answers have not come.
        self.asked: list[asyncio.Task[Any]] = []
        self.over = False
        self.cancel_asked = False
        #: What people have done past the order, and it may or may not have heard.
        self.refunded_by_hand = 0
        self.captured_in_part = False
        #: It was told, in time, that nothing of its money is there any more.
        self.must_not_be_sent = False
        self.dispute: Dispute | None = None
        self.dispute_won: bool | None = None
        #: Steps that an operator has settled by hand.
        self.resolved: set[str] = set()

    # -- the program -------------------------------------------------------------------------------

    def live(self, choices: Iterable[int] = (), program: Iterable[Play] = ()) -> str:
        """Place the order, make the moves that are chosen, or those of a ``program``, and bring it
        to its end; how it ended. A failure tells what was played, and the order's history.
        """
        try:
            self._place()
            for choice in choices:
                self._play(self._chosen(choice))
            for one in program:
                self._play(one)
            return self.world.run(self._end())
        except BaseException as error:
            for line in self._told():
                error.add_note(line)
            raise
        finally:
            self.world.run(self._forget())

    def _place(self) -> None:
        self.world.terms.present[0] = self.placing.terms
        self.world.conductor.plays_itself = False
        self.do(self._start(self.placing.card))
        self._answer(self.placing.answered)

    def _chosen(self, choice: int) -> Play | None:
        """The move of this number, counted on from the first when there are fewer; none for 0."""
        fitting = [
            (name, combinations)
            for name, (condition, weight, combinations) in MOVES.items()
            if condition(self)
            for _ in range(weight)
        ]
        if not fitting or not choice:
            return None
        times, number = divmod(choice - 1, len(fitting))
        name, combinations = fitting[number]
        return Play(name, combinations[times % len(combinations)])

    def _play(self, one: Play | None) -> None:
        if one is not None:
            self.played.append(one)
            getattr(self, one.name)(**one.arguments)

    def _told(self) -> Iterator[str]:
        """The program that was played, and the order's history."""
        yield f"{self.placing},"
        yield from (f"{one}," for one in self.played)
        yield "# and then everything works again"
        for line in self.world.shop.database.rows[self.order_id].history:
            yield f"#   {line.event} {line.detail}"

    async def _start(self, card: str) -> None:
        shop = self.world.shop
        shop.database.add_product(self.sku, "Mug", PRICE, ON_HAND)
        options = PaymentOptions()
        basket = Basket(self.order_id, "cus_1", ADA, ((self.sku, QUANTITY),), card, options=options)
        await shop.book.place(basket, datetime.now(UTC))
        self.handle = await shop.patient_client.start_workflow(
            OrderWorkflow.run,
            OrderInput(self.order_id),
            id=workflow_id(self.order_id),
            task_queue=TASK_QUEUE,
        )
        await self._settle()

    # -- neighbours --------------------------------------------------------------------------------

    @property
    def call(self) -> WaitingCall | None:
        """The neighbour's call that waits for an answer."""
        waiting = self.world.conductor.waiting
        return waiting[0] if waiting else None

    def has_call(self) -> bool:
        return self.call is not None

    @move(has_call, weight=2, times=(1, 2, 4))
    def neighbours_answer(self, times: int) -> None:
        self._answer(times)

    def _answer(self, times: int) -> None:
        for _ in range(times):
            if self.call is not None:
                self._with_call(WaitingCall.answer)

    @move(lambda self: self.call is not None and not self.call.is_done, weight=2)
    def neighbour_does_it_and_answers_later(self) -> None:
        self._with_call(WaitingCall.do)

    @move(has_call, how=(sorted(ERRORS)))
    def neighbour_is(self, how: str) -> None:
        """With its work done or not: only the caller does not know."""
        self._with_call(lambda call: call.fail(ERRORS[how]))

    @move(lambda self: self.call is not None and self.cancel_asked)
    def caller_hangs_up(self) -> None:
        """The order, which is to stop, does not wait for the answer."""
        self.world.run(self._hang_up())

    async def _hang_up(self) -> None:
        call = self.call
        assert call is not None
        if not await self._is_being_cancelled():
            return
        call.cut()

        async def gone() -> bool:
            return call not in self.world.conductor.waiting

        await eventually(gone)
        await self._settle()

    @move(lambda self: not self.over, method=(ASIDE))
    def neighbour_goes_away(self, method: str) -> None:
        self.world.conductor.away.add(method)

    @move(lambda self: bool(self.world.conductor.away))
    def neighbour_is_back(self) -> None:
        self.world.conductor.away.clear()

    @move(
        lambda self: not self.over,
        of_ours=([(o, m) for o, methods in OF_OURS.items() for m in methods]),
        is_done=(False, True),
    )
    def database_loses_the_next(self, of_ours: tuple[str, str], *, is_done: bool) -> None:
        repository, method = of_ours
        scripted = getattr(self.world.shop, repository)
        if is_done:
            scripted.lose_answer_next(method)
        else:
            scripted.fail_next(method, NoAnswerError("the connection is gone"))

    @move(lambda self: not self.over and self.order_id not in self._warehouse.accepted)
    def warehouse_will_not_ship(self) -> None:
        self._warehouse.refuse(self.order_id, "no such shelf")

    @move(
        lambda self: (
            self.order_id in self._warehouse.parcels and self.order_id not in self._warehouse.left
        ),
        weight=3,
    )
    def parcel_leaves(self) -> None:
        self._warehouse.dispatch(self.order_id)

    @move(
        lambda self: self.order_id in self._warehouse.left and not self.over,
        status=([ParcelStatus.SHIPPED, ParcelStatus.DELIVERED]),
    )
    def warehouse_reports(self, status: ParcelStatus) -> None:
        [parcel_id] = self._warehouse.parcels[self.order_id]
        self._signal(OrderWorkflow.parcel_updated, ParcelUpdate(parcel_id, status))

    # -- customers, banks, and the provider's dashboard --------------------------------------------

    @move(lambda self: self._charge_is(ChargeState.NEEDS_CUSTOMER), succeeds=(False, True))
    def customer_confirms_at_the_bank(self, *, succeeds: bool) -> None:
        self._at_provider(
            lambda charge: self._cards.authenticate(charge.payment_id, succeeds=succeeds)
        )

    @move(lambda self: self._charge_is(ChargeState.PROCESSING), captured=(False, True))
    def bank_decides(self, *, captured: bool) -> None:
        self._at_provider(
            lambda charge: self._cards.finish_processing(charge.payment_id, captured=captured)
        )

    @move(
        lambda self: (
            self._charge_is(ChargeState.DECLINED) or self._charge_is(ChargeState.NEEDS_CUSTOMER)
        )
    )
    def customer_pays_in_the_browser(self) -> None:
        self._at_provider(lambda charge: self._cards.confirm_in_browser(charge.payment_id))

    @move(
        lambda self: (
            self._charge_is(ChargeState.CAPTURED)
            and not self.refunded_by_hand
            and self._charge.payment_id not in self._cards.charged_back
        )
    )
    def shop_refunds_in_the_dashboard(self) -> None:
        def refund(charge: CardCharge) -> None:
            if charge.kept:
                self.refunded_by_hand += charge.kept.amount
                self._cards.refund_by_hand(charge.payment_id)

        self._at_provider(refund)

    @move(lambda self: self._charge_is(ChargeState.HELD))
    def hold_lapses(self) -> None:
        self._at_provider(lambda charge: self._cards.lapse(charge.payment_id))

    @move(lambda self: self._charge_is(ChargeState.HELD))
    def shop_captures_a_part_in_the_dashboard(self) -> None:
        self.captured_in_part = True
        part = Money(TOTAL.amount // 2, TOTAL.currency)
        self._at_provider(lambda charge: self._cards.capture_by_hand(charge.payment_id, part))

    @move(lambda self: self._charge is not None and self._charge.state is not ChargeState.CAPTURED)
    def shop_cancels_the_payment_in_the_dashboard(self) -> None:
        self._at_provider(lambda charge: self._cards.cancel_by_hand(charge.payment_id))

    @move(lambda self: self._charge_is(ChargeState.CAPTURED, ChargeState.HELD))
    def payment_is_put_into_review(self) -> None:
        self._at_provider(lambda charge: self._cards.put_into_review(charge.payment_id))

    @move(lambda self: bool(self._charge and self._charge.review))
    def review_is_closed(self) -> None:
        self._at_provider(lambda charge: self._cards.close_review(charge.payment_id))

    @move(lambda self: not self.over)
    def webhook_of_the_payment_comes(self) -> None:
        in_time = self._status() in {Status.PAID} and self.order_id not in self._warehouse.left
        if self.refunded_by_hand and in_time and self.call is not None:
            self.must_not_be_sent = True
        self._signal(OrderWorkflow.payment_updated, PaymentUpdate())

    @move(lambda self: self._doing("waiting for another card"), card=CARDS)
    def customer_offers_another_card(self, card: str) -> None:
        self._ask(OrderWorkflow.submit_payment_method, NewCard(card))

    @move(
        lambda self: self._charge_is(ChargeState.CAPTURED) and self.dispute is None,
        is_inquiry=(False, True),
    )
    def cardholder_disputes(self, *, is_inquiry: bool) -> None:
        def dispute(charge: CardCharge) -> None:
            if charge.kept == TOTAL:
                risks = self.world.shop.risks
                self.dispute = risks.dispute(charge.payment_id, TOTAL, inquiry=is_inquiry)
                if not is_inquiry:
                    self._cards.charged_back.add(charge.payment_id)

        self._at_provider(dispute)

    @move(lambda self: self.dispute is not None)
    def webhook_of_the_dispute_comes(self) -> None:
        self.do(self._tell_of_dispute())

    @move(lambda self: self.dispute is not None, won=(False, True))
    def bank_decides_the_dispute(self, *, won: bool) -> None:
        self._at_provider(lambda _: self._decide_dispute(won=won))

    def _decide_dispute(self, *, won: bool) -> None:
        if self.dispute is None or self.dispute_won is not None:
            return
        self.dispute_won = won or self.dispute.is_inquiry
        risks = self.world.shop.risks
        if won:
            risks.win(self.dispute.dispute_id)
            self._cards.charged_back.discard(self.dispute.payment_id)
        else:
            risks.lose(self.dispute.dispute_id)

    async def _tell_of_dispute(self) -> None:
        """What a webhook does: the run that follows the payment is started, or woken."""
        run = await tell(self.world.shop, self.order_id)

        async def is_quiet() -> bool:
            with suppress(RPCError):
                return (await run.query(PaymentRiskWorkflow.status)).doing.startswith(
                    ("waiting", "nothing")
                )
            return True

        await eventually(is_quiet, within=30)
        await self._settle()

    # -- people ------------------------------------------------------------------------------------

    @move(
        lambda self: not self.over and not self.cancel_asked,
        weight=2,
        how=(["signal", "Update", "Temporal"]),
    )
    def cancel(self, how: str) -> None:
        self.cancel_asked = True
        match how:
            case "signal":
                self._signal(OrderWorkflow.cancel_order, CancelRequest())
            case "Update":
                self._ask(OrderWorkflow.cancel, CancelRequest())
            case _:
                self.world.run(self._cancel_run())

    @move(lambda self: self._may("approve") or self._doing("waiting for approval"))
    def operator_approves(self) -> None:
        self._ask(OrderWorkflow.approve, Approve("ops-7"))

    @move(lambda self: self._may("reject") or self._doing("waiting for approval"))
    def operator_rejects(self) -> None:
        self._ask(OrderWorkflow.reject, Reject("ops-7", "odd"))

    @move(lambda self: self._may("retry_now"))
    def operator_retries_now(self) -> None:
        self._ask(OrderWorkflow.operate, RetryNow("ops-7"))

    @move(lambda self: self._may("skip_step"))
    def operator_skips_the_step(self) -> None:
        self._ask(OrderWorkflow.operate, SkipStep("not worth it", "ops-7"))

    @move(lambda self: self._may("resolve"))
    def operator_settles_it_by_hand(self) -> None:
        self._ask(OrderWorkflow.operate, self._resolution())

    def _resolution(self) -> OperatorCommand:
        assert self.progress is not None
        assert self.progress.attention is not None
        self.resolved.add(self.progress.attention.step)
        if not self.progress.attention.asks_given_back:
            return Resolve("done by hand", "ops-7")
        kept = sum(charge.kept.amount for charge in self._cards.charges_of(self.order_id))
        return Resolve("done by hand", "ops-7", given_back=TOTAL.amount if kept else 0)

    # -- time --------------------------------------------------------------------------------------

    @move(lambda self: not self.over and self.call is None, hours=(1, 8, 48, 24 * 8))
    def time_passes(self, hours: int) -> None:
        self.world.run(self._wait(HOUR * hours))

    async def _wait(self, time: timedelta) -> None:
        assert self.handle is not None
        passing = asyncio.create_task(self.world.skipper.fast_forward(self.handle, time))

        async def held() -> bool:
            return passing.done() or bool(self.world.conductor.waiting)

        # A call that comes in stops the clock.
        await eventually(held, within=60)
        passing.cancel()
        await asyncio.gather(passing, return_exceptions=True)
        await self._settle()

    # -- what always holds -------------------------------------------------------------------------

    def do(self, work: Coroutine[Any, Any, None]) -> None:
        """Play a move; afterwards every promise holds that is no matter of time."""
        self.world.run(work)
        self._check_money()
        self._check_stock()
        self._check_mails()
        status = self._status()
        if status in CLOSED_EARLY and self.dispute is None:
            self._check_undone()
        if status in FULFILLED_OR_LATER:
            assert self.order_id in self._warehouse.parcels, f"it is {status}, without a parcel"

    def _check_money(self) -> None:
        charges = self._cards.charges_of(self.order_id)
        assert len([charge for charge in charges if charge.captured]) <= 1
        for charge in charges:
            assert charge.refunded <= charge.captured <= charge.amount

    def _check_stock(self) -> None:
        stock = self.world.shop.database.products[self.sku]
        assert stock.reserved in {0, QUANTITY}
        assert stock.on_hand in {ON_HAND, ON_HAND - QUANTITY}
        assert stock.on_hand - stock.reserved >= ON_HAND - QUANTITY

    def _check_mails(self) -> None:
        status, kinds = self._status(), self._mail_kinds()
        assert len(set(kinds)) == len(kinds)
        assert ("confirmation" in kinds) <= (status in FULFILLED_OR_LATER)
        assert ("closing" in kinds) <= (status in CLOSED_EARLY)

    # -- the end -----------------------------------------------------------------------------------

    async def _end(self) -> str:
        """Have everything work again, time pass and people decide, until the order is over; how it
        ended.
        """
        assert self.handle is not None
        self._heal()
        handle = self.handle
        result = asyncio.create_task(ended(handle))
        skipping = asyncio.create_task(self.world.skipper.fast_forward(handle))
        try:
            async with asyncio.timeout(60):
                while not result.done():
                    await self._play_people()
                    await asyncio.wait([result], timeout=0.02)
            outcome = result.result()
        except TimeoutError:
            raise AssertionError(f"the order does not end: {self.progress}") from None
        finally:
            skipping.cancel()
            result.cancel()
            await asyncio.gather(skipping, result, return_exceptions=True)
        for answer in await asyncio.gather(*self.asked, return_exceptions=True):
            if isinstance(answer, BaseException):
                assert isinstance(answer, WorkflowUpdateFailedError | RPCError), repr(answer)
        if self.dispute is not None:
            await self._end_dispute()
        await self._check(outcome)
        return f"{outcome.status}: {outcome.stop.reason if outcome.stop else 'shipped'}"

    async def _end_dispute(self) -> None:
        """Have the bank decide, and what follows from that be done; what nobody told, the audit
        finds.
        """
        self._decide_dispute(won=False)
        run = await tell(self.world.shop, self.order_id, waits=False)
        await run.result()

    async def _play_people(self) -> None:
        """Decide what waits for a person; nobody else does any more."""
        assert self.handle is not None
        with suppress(RPCError, WorkflowUpdateFailedError):
            self.progress = await self.handle.query(OrderWorkflow.status)
            if self._may("resolve"):
                await self.handle.execute_update(OrderWorkflow.operate, self._resolution())
            elif self._may("reject"):
                await self.handle.execute_update(OrderWorkflow.reject, Reject("ops-7", "odd"))
            if self._doing("waiting for the parcels to arrive"):
                for parcel_id in self._warehouse.parcels.get(self.order_id, ()):
                    news = ParcelUpdate(parcel_id, ParcelStatus.DELIVERED)
                    await self.handle.signal(OrderWorkflow.parcel_updated, news)

    async def _check(self, outcome: Outcome) -> None:
        """The order's end, and all books."""
        shop = self.world.shop
        view = await shop.book.view(self.order_id)
        assert view.order.status is outcome.status
        assert view.order.reason == (outcome.stop.reason if outcome.stop else None)
        stock = shop.database.products[self.sku]
        assert stock.reserved == 0
        kinds = self._mail_kinds()
        taken, given_back = shop.cards.taken(self.order_id), shop.cards.given_back(self.order_id)
        by_hand = self.resolved & {"refund_card", "capture_payment"}
        if outcome.status is Status.COMPLETED:
            assert (view.stock, stock.on_hand) == ("committed", ON_HAND - QUANTITY)
            assert kinds.count("confirmation") == outcome.confirmed
            assert "closing" not in kinds
            if not by_hand and not self.captured_in_part:
                assert taken == TOTAL.amount
            assert given_back == self.refunded_by_hand
            if self.must_not_be_sent:
                assert self.order_id in self._warehouse.left, "it is sent, and nobody has paid"
            return
        self._check_undone()
        assert view.stock == "released"
        assert stock.on_hand == ON_HAND
        assert kinds.count("closing") == outcome.confirmed
        assert "confirmation" not in kinds
        assert outcome.taken == outcome.given_back
        if not by_hand:
            assert outcome.taken.amount == taken
            assert (outcome.status is Status.REFUNDED) == (taken > 0)
            assert sum(payment.captured.amount for payment in view.payments) == taken
            assert sum(payment.refunded.amount for payment in view.payments) == given_back

    def _check_undone(self) -> None:
        """Nothing of it is left at any neighbour, but what a person has taken on."""
        if "cancel_fulfillment" not in self.resolved:
            assert self.order_id not in self._warehouse.parcels
        if "refund_card" not in self.resolved:
            for charge in self._cards.charges_of(self.order_id):
                lost = TOTAL.amount if self.dispute_won is False else 0
                assert charge.kept.amount == lost, f"{charge.kept} is kept"
                # An open one is one of which nobody has heard: no confirmation can come of it.
                over = {ChargeState.CANCELLED, ChargeState.CAPTURED, ChargeState.OPEN}
                assert charge.state in over, f"the charge is {charge.state}"

    def _heal(self) -> None:
        shop = self.world.shop
        self.world.conductor.play_on()
        for repository, methods in OF_OURS.items():
            for method in methods:
                getattr(shop, repository).heal(method)

    async def _forget(self) -> None:
        """Leave nothing of the order to the next one."""
        assert self.handle is not None
        self._heal()
        for task in self.asked:
            task.cancel()
        with suppress(RPCError):
            await self.handle.terminate()

    # -- parts -------------------------------------------------------------------------------------

    async def _settle(self) -> None:
        """Return once nothing moves: the order waits for a neighbour, a person or the clock."""
        assert self.handle is not None
        seen: list[Any] = []

        async def is_quiet() -> bool:
            assert self.handle is not None
            found = await self.handle.describe()
            self.over = found.status is not WorkflowExecutionStatus.RUNNING
            if self.over:
                return True
            raw = found.raw_description
            task = raw.pending_workflow_task
            assert task.attempt < 3, "the workflow task keeps failing: a bug of ours"
            running = [
                one
                for one in raw.pending_activities
                if one.state != PendingActivityState.PENDING_ACTIVITY_STATE_SCHEDULED
            ]
            due = [
                one
                for one in raw.pending_activities
                if one not in running and not one.HasField("last_failure")
            ]
            moves = (
                raw.HasField("pending_workflow_task")
                or due
                or len(running) != len(self.world.conductor.waiting)
            )
            now = (found.history_length, len(running), len(self.world.conductor.waiting))
            before, seen[:] = list(seen), [now]
            return not moves and before == [now]

        try:
            await eventually(is_quiet, within=30)
        except TimeoutError:
            found = await self.handle.describe()
            raise AssertionError(
                f"it does not come to rest: {found.raw_description.pending_activities} "
                f"{found.raw_description.pending_workflow_task} {self.world.conductor.waiting}"
            ) from None
        if not self.over:
            with suppress(RPCError):
                self.progress = await self.handle.query(OrderWorkflow.status)

    async def _is_being_cancelled(self) -> bool:
        assert self.handle is not None
        raw = (await self.handle.describe()).raw_description
        asked = PendingActivityState.PENDING_ACTIVITY_STATE_CANCEL_REQUESTED
        return any(one.state == asked for one in raw.pending_activities)

    async def _cancel_run(self) -> None:
        assert self.handle is not None
        await self.handle.cancel()
        await self._settle()

    def _with_call(self, decide: Any) -> None:
        async def decided() -> None:
            call = self.call
            if call is not None:
                decide(call)
                await asyncio.sleep(0)
            await self._settle()

        self.do(decided())

    def _at_provider(self, act: Any) -> None:
        async def acted() -> None:
            charge = self._charge
            assert charge is not None
            act(charge)

        self.do(acted())

    def _signal(self, signal: Any, argument: Any) -> None:
        async def signalled() -> None:
            assert self.handle is not None
            with suppress(RPCError):  # it has ended meanwhile
                await self.handle.signal(signal, argument)
            await self._settle()

        self.do(signalled())

    def _ask(self, update: Any, argument: Any) -> None:
        """Send an Update; its answer is looked at when the order is over."""

        async def asked() -> None:
            assert self.handle is not None
            self.asked.append(asyncio.create_task(self.handle.execute_update(update, argument)))
            await asyncio.wait(self.asked[-1:], timeout=0.05)
            await self._settle()

        self.do(asked())

    @property
    def _cards(self) -> Any:
        return self.world.shop.cards

    @property
    def _warehouse(self) -> Any:
        return self.world.shop.warehouse

    @property
    def _charge(self) -> CardCharge | None:
        charges = self._cards.charges_of(self.order_id)
        return charges[-1] if charges else None

    def _charge_is(self, *states: ChargeState) -> bool:
        return self._charge is not None and self._charge.state in states

    def _status(self) -> Status | None:
        row = self.world.shop.database.rows.get(self.order_id)
        return row.order.status if row else None

    def _doing(self, doing: str) -> bool:
        return not self.over and self.progress is not None and self.progress.doing == doing

    def _may(self, *commands: str) -> bool:
        """Whether the order asks a person for one of these."""
        attention = None if self.over or self.progress is None else self.progress.attention
        return attention is not None and bool(set(commands) & set(attention.can))

    def _mail_kinds(self) -> list[str]:
        """The kinds of the mails that tell the customer how their order ended."""
        row = self.world.shop.database.rows.get(self.order_id)
        prefix = row.order.key_prefix if row else ""
        keys = {mail_key(prefix, self.order_id, kind): kind for kind in ("confirmation", "closing")}
        return [keys[mail.key] for mail in self.world.shop.mailer.sent if mail.key in keys]
