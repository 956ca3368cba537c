"""Following the parcels until they are delivered, or a person has decided what becomes of them."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from datetime import timedelta

from temporalio import workflow
from temporalio.exceptions import ApplicationError, FailureError

with workflow.unsafe.imports_passed_through():
    from activities.fulfillment import FulfillmentActivities
    from activities.notifications import NotificationActivities
    from activities.order_book import OrderBookActivities
    from durable_orders.contracts.error_types import NOT_WAITING
    from orders import messages as m
    from orders.ids import parcel_refund_id
    from orders.lifecycle import Status
    from orders.parcels import Parcel, ParcelStatus
    from orders.requests import ParcelUpdate, RefundParcel, ResendParcel, SettleParcel
    from workflows import policies
    from workflows.attention import problem_of
    from workflows.handover import refund_missing
    from workflows.life import Life
    from workflows.steps import Step


class Delivery:
    """The order's parcels. News may come before the warehouse has even named them."""

    def __init__(self, life: Life) -> None:
        self._life = life
        self._parcels: dict[str, Parcel] = {}
        self._recorded: dict[str, ParcelStatus] = {}
        self._settled: set[str] = set()
        self._deciding: set[str] = set()
        self._mails: list[asyncio.Task[bool]] = []
        self._news = False
        self._deadline = workflow.now()  # until the parcels are named

    def begin(self) -> None:
        """The warehouse has named the parcels: from now on they are waited for."""
        life = self._life
        self._deadline = workflow.now() + life.terms.delivery_deadline
        for parcel_id in life.parcel_ids:
            self._parcels.setdefault(parcel_id, Parcel(parcel_id))

    async def follow(self, quiet: Callable[[], bool]) -> tuple[Parcel, ...] | None:
        """Return once every parcel is delivered or settled; without a deadline, at once.

        The news that this ended with are returned: they are still to be written down. None when
        the rest is for another run: this one has had enough, and nothing is under way in it,
        beside the parcels neither (``quiet``).
        """
        life = self._life
        if not life.terms.delivery_deadline:
            return ()
        # One timer for the whole wait, however many news come meanwhile.
        left = max(self._deadline - workflow.now(), timedelta(0))
        deadline = asyncio.create_task(asyncio.sleep(left.total_seconds()))
        while self._awaited():
            await self._record_news()
            self._flag_missing(late=deadline.done())
            if not await self._something_new(deadline, quiet):
                return None
        deadline.cancel()
        life.steps.unflag()
        last = self._unrecorded()
        self._mail_departures(last)
        return last

    async def mailed(self) -> None:
        """Return once no mail of a departure is on its way any more."""
        for mail in self._mails:
            await mail

    def take_over(self, so_far: m.HandedOn) -> None:
        """Go on where another run has stopped."""
        self._deadline = so_far.deadline
        self._parcels = {parcel.parcel_id: parcel for parcel in so_far.parcels}
        self._recorded = {parcel.parcel_id: parcel.status for parcel in self._own()}
        self._settled = set(so_far.settled)

    def hand_on(self, *, confirmed: bool | None) -> m.HandedOn:
        """What another run has to know in order to go on here."""
        life = self._life
        return m.HandedOn(
            terms=life.terms,
            status=life.status,
            total=life.total,
            taken=life.taken,
            parcel_ids=life.parcel_ids,
            short=life.short,
            contents=life.contents,
            parcels=tuple(self._parcels.values()),
            settled=tuple(sorted(self._settled)),
            deadline=self._deadline,
            confirmed=confirmed,
            settled_by_hand=life.settled_by_hand,
            cancel=life.steps.cancel,
            attention=life.steps.attention,
        )

    async def can_hand_on(self) -> bool:
        """Whether the rest is better told in another history, and nothing comes for a moment.

        Only a timer may have the last word. Temporal refuses to continue as new when news came
        meanwhile, and has the run decide again; then the news come with the firing of the timer,
        and are heard first. They would not be with the end of a local activity: the run is given
        that from its own records, before the news, and would go on without them.
        """
        if not self._is_quiet():
            return False
        self._life.steps.now("going on in another run")
        try:
            pause = policies.HAND_ON_PAUSE
            await workflow.wait_condition(lambda: not self._is_quiet(), timeout=pause)
        except TimeoutError:
            return self._is_quiet()
        return False

    def _is_quiet(self) -> bool:
        """Whether this run has had enough, and nothing is under way here."""
        return (
            self._life.is_long
            and bool(self._awaited())
            and not self._news
            and not self._unrecorded()
            and all(mail.done() for mail in self._mails)
            and workflow.all_handlers_finished()
        )

    async def _something_new(self, deadline: asyncio.Task[None], quiet: Callable[[], bool]) -> bool:
        """Wait for news or the deadline; False when the rest is for another run."""
        late = deadline.done()

        def something_new() -> bool:
            return self._news or deadline.done() is not late

        def enough() -> bool:
            return quiet() and self._is_quiet()

        doing = "waiting for the parcels to arrive"
        while True:
            await self._life.watch(doing, lambda: something_new() or enough(), None)
            if something_new():
                return True
            if await self.can_hand_on() and not something_new():
                return False

    def told(self, news: ParcelUpdate) -> None:
        told = Parcel(news.parcel_id, news.status, news.tracking)
        known = self._parcels.get(news.parcel_id, Parcel(news.parcel_id))
        self._parcels[news.parcel_id] = known.told(told)
        self._news = True

    # -- what an operator decides about a parcel that is lost or late ---------------------------

    async def settle(self, decision: SettleParcel) -> None:
        """Wait no more for this parcel: something was agreed with the customer."""
        await self._let_go(decision.parcel_id, decision.by, decision.outcome)

    async def resend(self, decision: ResendParcel) -> m.Resent:
        """Have its contents sent again, and wait for the new parcel instead.

        Raises ``ApplicationError`` of type ``NOT_WAITING`` when the warehouse refuses.
        """
        life, old = self._life, decision.parcel_id
        self._deciding.add(old)
        step: Step[m.ParcelRef, m.ResendAnswer] = FulfillmentActivities.resend_parcel
        lost = m.ParcelRef(life.order_id, old)
        try:
            answer = await life.steps.aside("having a parcel resent", step, lost, policies.FULFILL)
        except FailureError as error:
            answer = m.CannotFulfill(problem_of(error))
        if isinstance(answer, m.CannotFulfill):
            self._deciding.discard(old)
            message = f"the warehouse does not resend {old}: {answer.message}"
            raise ApplicationError(message, type=NOT_WAITING)
        new = answer.parcel_id
        if new not in life.parcel_ids:
            life.parcel_ids += (new,)
            self._parcels.setdefault(new, Parcel(new))
            life.contents = {**life.contents, new: life.contents.get(old, ())}
        await self._let_go(old, decision.by, f"resent as {new}")
        return answer

    async def refund(self, decision: RefundParcel) -> None:
        """Have its contents refunded, and wait no more."""
        life, parcel_id = self._life, decision.parcel_id
        self._deciding.add(parcel_id)
        refund_id = parcel_refund_id(parcel_id)
        why = f"parcel {parcel_id} did not arrive"
        await refund_missing(life, refund_id, life.contents[parcel_id], why)
        await self._let_go(parcel_id, decision.by, f"refunded as {refund_id}")

    def check_awaited(self, parcel_id: str, *, contents: bool = False) -> None:
        """Refuse a decision about a parcel that is not waited for, or whose contents are needed
        but were never told by the warehouse.
        """
        order_id = self._life.order_id
        if parcel_id in self._deciding:
            message = f"parcel {parcel_id} is being resent or refunded already"
        elif parcel_id not in {parcel.parcel_id for parcel in self._awaited()}:
            message = f"order {order_id} does not wait for a parcel {parcel_id}"
        elif contents and not self._life.contents.get(parcel_id):
            message = f"what parcel {parcel_id} holds is not known: refund by line, then settle it"
        else:
            return
        raise ApplicationError(message, type=NOT_WAITING)

    async def _let_go(self, parcel_id: str, by: str, outcome: str) -> None:
        self._settled.add(parcel_id)
        self._deciding.discard(parcel_id)
        self._news = True
        await self._life.note("parcel_settled", parcel_id=parcel_id, by=by, outcome=outcome)

    def _own(self) -> list[Parcel]:
        """The order's parcels; news of others (a mistake of the warehouse) changes nothing."""
        return [self._parcels[id_] for id_ in self._life.parcel_ids if id_ in self._parcels]

    def _awaited(self) -> list[Parcel]:
        if not self._life.terms.delivery_deadline or self._life.status.is_end:
            return []
        return [
            parcel
            for parcel in self._own()
            if parcel.status is not ParcelStatus.DELIVERED and parcel.parcel_id not in self._settled
        ]

    def _flag_missing(self, *, late: bool) -> None:
        missing = [p for p in self._awaited() if late or p.status is ParcelStatus.LOST]
        if not missing:
            return self._life.steps.unflag()
        parcel = missing[0]
        word = "lost" if parcel.status is ParcelStatus.LOST else "late"
        others = f", and {len(missing) - 1} more" if len(missing) > 1 else ""
        problem = (
            f"parcel {parcel.parcel_id} is {word}{others}: resend or refund it, then settle it"
        )
        return self._life.steps.flag("delivery", problem)

    def _unrecorded(self) -> tuple[Parcel, ...]:
        """The parcels of which more is known than was written down."""
        before = ParcelStatus.ACCEPTED
        return tuple(
            parcel
            for parcel in self._own()
            if parcel.status is not self._recorded.get(parcel.parcel_id, before)
        )

    async def _record_news(self) -> None:
        """Write down what is new, and tell the customer of parcels that have left."""
        self._news = False
        life, news = self._life, self._unrecorded()
        if life.status is Status.FULFILLED and all(p.has_left for p in self._own()):
            await life.move_to(Status.SHIPPED, news)
        else:
            for parcel in news:
                step = OrderBookActivities.record_parcel
                doing = f"recording: {parcel.parcel_id} {parcel.status}"
                told = m.ParcelNews(life.order_id, parcel)
                await life.steps.finish(doing, step, told, policies.RECORD)
        self._recorded |= {parcel.parcel_id: parcel.status for parcel in news}
        self._mail_departures(news)

    def _mail_departures(self, news: tuple[Parcel, ...]) -> None:
        for parcel in news:
            # A parcel that is delivered before it was known to have left needs no mail.
            if parcel.status is ParcelStatus.SHIPPED:
                about = m.ParcelNews(self._life.order_id, parcel)
                step = NotificationActivities.send_shipped_email
                doing = f"telling the customer of {parcel.parcel_id}"
                self._mails.append(asyncio.create_task(self._life.mail(doing, step, about)))
