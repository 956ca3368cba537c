"""What every stage of an order shares: where it stands, and how that is recorded and shown."""

from __future__ import annotations

from temporalio import workflow

with workflow.unsafe.imports_passed_through():
    from activities.orders import OrderBookActivities
    from durable_orders.contracts import search_attributes
    from durable_orders.domain import activity_messages as m
    from durable_orders.domain.lifecycle import (
        FOLLOWS,
        ON_CANCEL,
        CancelEffect,
        Facts,
        Status,
        Stop,
        final_status,
    )
    from durable_orders.domain.money import Money
    from durable_orders.domain.parcels import Parcel
    from durable_orders.domain.terms import OrderTerms
    from workflows import retry_policies, side_steps, visibility
    from workflows.step_runner import In, Step, StepRunner


class OrderState:
    """One order under way. Stages change it; ``OrderWorkflow`` shows it."""

    def __init__(self, ref: m.OrderRef) -> None:
        self.ref = ref
        self.status = Status.PLACED
        self.stop: Stop | None = None
        self.ended = False
        self.settled_by_hand = False
        self.is_recalled_on_undo = False
        #: The books have it beyond the approval: Temporal was put back to an earlier state.
        self.is_approved = False
        self.terms = OrderTerms()
        #: Who has asked for the order, and may not approve it: empty for nobody.
        self.asked_by = ""
        self.total = self.taken = self.given_back = Money(0, "XXX")  # until the order is read
        #: What of ``given_back`` has not arrived; None when all of it has.
        self.on_its_way: Money | None = None
        self.parcel_ids: tuple[str, ...] = ()
        self.short: tuple[tuple[str, int], ...] = ()
        self.contents: dict[str, tuple[tuple[str, int], ...]] = {}
        #: Whether the run has the warehouse's answer that names the three.
        self.has_fulfillment = False
        self.search_attributes = visibility.SearchAttributes()
        self.steps = StepRunner(self.show, self.search_attributes.publish)
        self._headline = ""

    def restore(self, so_far: m.OrderSnapshot) -> None:
        """Go on where another run has stopped. What it has published is this run's too, but for
        the summary that its client gave it.
        """
        self._headline = f"Order {self.order_id}, {so_far.total}: goes on from an earlier run"
        self.terms, self.status, self.total = so_far.terms, so_far.status, so_far.total
        self.taken = so_far.taken
        self.given_back = so_far.given_back or Money(0, so_far.total.currency)
        self.parcel_ids, self.contents = so_far.parcel_ids, so_far.contents
        self.short, self.settled_by_hand = so_far.short, so_far.settled_by_hand
        self.steps.cancel_request, self.steps.operator.attention = so_far.cancel, so_far.attention
        self.search_attributes.restore(self.status)

    @property
    def order_id(self) -> str:
        return self.ref.order_id

    @property
    def too_late_to_cancel(self) -> bool:
        return ON_CANCEL[self.status] in {CancelEffect.TOO_LATE, CancelEffect.ENDED}

    @property
    def history_is_long(self) -> bool:
        """Whether this run has a history that is better not added to."""
        return workflow.info().get_current_history_length() > retry_policies.LONG_HISTORY

    def set_fulfillment(self, answer: m.Fulfilled) -> None:
        """Take note of what the warehouse has accepted."""
        self.add_parcels(answer.parcel_ids)
        self.short, self.contents = answer.short, answer.contents
        self.has_fulfillment = True

    def add_parcels(self, parcel_ids: tuple[str, ...]) -> None:
        """Take note of parcels that the warehouse names, known ones or not."""
        self.parcel_ids += tuple(id_ for id_ in parcel_ids if id_ not in self.parcel_ids)

    async def record_status(self, status: Status, news: tuple[Parcel, ...] = ()) -> None:
        """Write the status into the database, with the ``news`` that brought it about, then show
        it: what is shown is true.
        """
        self._check_follows(status)
        change = m.StatusChange(self.order_id, status, self.stop, news)
        doing = ", ".join([f"recording: {status}", *(f"{p.parcel_id} {p.status}" for p in news)])
        step = OrderBookActivities.record_status
        await self.steps.run_until_done(doing, step, change, retry_policies.RECORD)
        self.show_status(status)

    def show_status(self, status: Status) -> None:
        """Show the status that a step has written into the database."""
        if status is self.status:
            return
        self._check_follows(status)
        self.status = status
        self.search_attributes.set(search_attributes.ORDER_STATUS.value_set(status))
        self.show()

    def _check_follows(self, status: Status) -> None:
        if status not in FOLLOWS[self.status]:
            raise RuntimeError(f"{self.status} cannot become {status}")

    async def record_end(self, *, shipped: bool, news: tuple[Parcel, ...] = ()) -> None:
        """Derive how the order ended from what really happened, and record it, with the ``news``
        that it ended with.
        """
        await self.record_status(self._final_status(shipped=shipped), news)
        self.ended = True

    def end_when_fulfilled(self) -> Status | None:
        """How the order ends once its stock is taken; None when something is to follow."""
        kept = self.taken - self.given_back
        if self.terms.delivery_deadline or self.short or not self.has_fulfillment or not kept:
            return None
        return self._final_status(shipped=True)

    def show_end(self, status: Status) -> None:
        """Show how the order has ended, which the step that took its stock has recorded."""
        self.show_status(status)
        self.ended = True

    def _final_status(self, *, shipped: bool) -> Status:
        facts = Facts(
            self.taken,
            self.given_back,
            shipped=shipped,
            stop=self.stop,
            settled_by_hand=self.settled_by_hand,
        )
        return final_status(facts)

    def adopt_end(self, ended: m.EndedBefore) -> None:
        """Take over how the order ended, from a course of this run that Temporal has forgotten."""
        self.taken, self.given_back = ended.taken, ended.given_back
        self.stop, self.status, self.ended = ended.stop, ended.status, True
        self.search_attributes.set(search_attributes.ORDER_STATUS.value_set(ended.status))
        self.show()

    async def add_note(self, event: str, **detail: str) -> None:
        """Add a line to the order's history."""
        await side_steps.add_note(self.steps, self.order_id, event, detail)

    async def send_email(self, doing: str, step: Step[In, m.MailAnswer], argument: In) -> bool:
        """Send an email; False when it is not known to have been sent, which changes nothing for
        the order.
        """
        return await side_steps.send_email(self.steps, doing, step, argument)

    def progress(self) -> m.Progress:
        return m.Progress(
            order_id=self.order_id,
            status=self.status,
            doing=self.steps.doing,
            stop=self.stop,
            cancel_requested=self.steps.cancel_request is not None,
            attention=self.steps.operator.attention,
        )

    def describe(self) -> str:
        """What the order is, in a few words, for whom a decision about it is refused."""
        if self.steps.cancel_request is not None and not self.too_late_to_cancel:
            return "being cancelled"
        return f"{self.status}: {self.stop.message}" if self.stop else str(self.status)

    def show(self) -> None:
        """Bring what the Web UI shows of the run up to date."""
        workflow.set_current_details(visibility.details(self.progress(), self._headline))
        self.search_attributes.set_needs_attention(needed=self.steps.operator.attention is not None)
