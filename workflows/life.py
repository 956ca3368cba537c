"""What every stage of an order shares: where it stands, how it moves on, how it waits."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import Any

from temporalio import workflow
from temporalio.common import SearchAttributeUpdate
from temporalio.exceptions import FailureError

with workflow.unsafe.imports_passed_through():
    from activities.order_book import OrderBookActivities
    from durable_orders.contracts import search_attributes
    from orders import messages as m
    from orders.lifecycle import (
        FOLLOWS,
        ON_CANCEL,
        CancelEffect,
        Facts,
        Status,
        Stop,
        final_status,
    )
    from orders.money import Money
    from orders.parcels import Parcel
    from orders.terms import Terms
    from workflows import policies, visibility
    from workflows.attention import problem_of
    from workflows.steps import In, Step, Steps


class Life:
    """One order under way. Stages change it; ``OrderWorkflow`` shows it."""

    def __init__(self, ref: m.OrderRef) -> None:
        self.ref = ref
        self.status = Status.PLACED
        self.stop: Stop | None = None
        self.settled = False
        self.settled_by_hand = False
        self.terms = Terms()
        self.total = self.taken = self.given_back = Money(0, "XXX")  # until the order is read
        self.parcel_ids: tuple[str, ...] = ()
        self.short: tuple[tuple[str, int], ...] = ()
        self.contents: dict[str, tuple[tuple[str, int], ...]] = {}
        self.steps = Steps(self.show, self.publish)
        self._flagged = False
        self._headline = ""
        self._unpublished: dict[str, SearchAttributeUpdate[Any]] = {}

    def take_over(self, so_far: m.HandedOn) -> None:
        """Go on where another run has stopped. What it has published is this run's too, but for
        the summary that its client gave it.
        """
        self._headline = f"Order {self.order_id}, {so_far.total}: goes on from an earlier run"
        self.terms, self.status, self.total = so_far.terms, so_far.status, so_far.total
        self.taken, self.given_back = so_far.taken, Money(0, so_far.total.currency)
        self.parcel_ids, self.contents = so_far.parcel_ids, so_far.contents
        self.short, self.settled_by_hand = so_far.short, so_far.settled_by_hand
        self.steps.cancel, self.steps.attention = so_far.cancel, so_far.attention
        published = workflow.info().typed_search_attributes
        self._flagged = bool(published.get(search_attributes.NEEDS_ATTENTION))
        if published.get(search_attributes.ORDER_STATUS) != self.status:
            self.announce(search_attributes.ORDER_STATUS.value_set(self.status))

    @property
    def order_id(self) -> str:
        return self.ref.order_id

    @property
    def past_return(self) -> bool:
        """Whether nothing can be cancelled any more."""
        return ON_CANCEL[self.status] in {CancelEffect.TOO_LATE, CancelEffect.ENDED}

    @property
    def is_long(self) -> bool:
        """Whether this run has a history that is better not added to."""
        return workflow.info().get_current_history_length() > policies.LONG_HISTORY

    async def wait(self, doing: str, until: Callable[[], bool], limit: timedelta) -> bool:
        """Wait durably until ``until()`` or for ``limit``; False when the time is up.

        Raises ``StoppedError`` when the order is cancelled meanwhile.
        """
        came = await self.watch(doing, lambda: until() or self.steps.cancel is not None, limit)
        self.steps.stop_if_cancelled()
        return came

    async def watch(self, doing: str, until: Callable[[], bool], limit: timedelta | None) -> bool:
        """Wait as ``wait`` does, past the point where anybody could cancel; None: for ever."""
        self.steps.now(doing)
        self.publish()
        try:
            await workflow.wait_condition(until, timeout=limit)
        except TimeoutError:
            return False
        return True

    async def move_to(self, status: Status, news: tuple[Parcel, ...] = ()) -> None:
        """Write the status into the database, with the ``news`` that brought it about, then show
        it: what is shown is true.
        """
        self._check_follows(status)
        change = m.StatusChange(self.order_id, status, self.stop, news)
        doing = ", ".join([f"recording: {status}", *(f"{p.parcel_id} {p.status}" for p in news)])
        step = OrderBookActivities.record_status
        await self.steps.finish(doing, step, change, policies.RECORD)
        self.moved_to(status)

    def moved_to(self, status: Status) -> None:
        """Show the status that a step has written into the database."""
        if status is self.status:
            return
        self._check_follows(status)
        self.status = status
        self.announce(search_attributes.ORDER_STATUS.value_set(status))
        self.show()

    def _check_follows(self, status: Status) -> None:
        if status not in FOLLOWS[self.status]:
            raise RuntimeError(f"{self.status} cannot become {status}")

    async def end(self, *, shipped: bool, news: tuple[Parcel, ...] = ()) -> None:
        """Derive how the order ended from what really happened, and write it down, with the
        ``news`` that it ended with.
        """
        facts = Facts(
            self.taken,
            self.given_back,
            shipped=shipped,
            stop=self.stop,
            settled_by_hand=self.settled_by_hand,
        )
        await self.move_to(final_status(facts), news)
        self.settled = True

    async def note(self, event: str, **detail: str) -> None:
        """Add a line to the order's history."""
        note = m.Note(self.order_id, event, detail)
        step = OrderBookActivities.record_note
        await self.steps.aside("writing it down", step, note, policies.RECORD)

    async def mail(self, doing: str, step: Step[In, m.MailAnswer], about: In) -> bool:
        """Send a mail; False when it could not be sent, which changes nothing for the order."""
        try:
            answer = await self.steps.aside(doing, step, about, policies.MAIL)
        except FailureError as error:
            workflow.logger.warning("no mail was sent: %s", problem_of(error))
            return False
        return isinstance(answer, m.MailSent)

    def progress(self) -> m.Progress:
        return m.Progress(
            order_id=self.order_id,
            status=self.status,
            doing=self.steps.doing,
            stop=self.stop,
            cancel_requested=self.steps.cancel is not None,
            attention=self.steps.attention,
        )

    def show(self) -> None:
        """Bring what the Web UI shows of the run up to date."""
        workflow.set_current_details(visibility.details(self.progress(), self._headline))
        needs_attention = self.steps.attention is not None
        if needs_attention != self._flagged:
            self._flagged = needs_attention
            self.announce(search_attributes.NEEDS_ATTENTION.value_set(needs_attention))

    def announce(self, *updates: SearchAttributeUpdate[Any]) -> None:
        """Have these search attributes published before the run waits again."""
        self._unpublished |= {update.key.name: update for update in updates}

    def leave_unpublished(self) -> None:
        """Have nothing published any more: the next run sees what is missing."""
        self._unpublished = {}

    def publish(self) -> None:
        """Bring the run's search attributes up to date: one event, whatever was passed through."""
        if self._unpublished:
            workflow.upsert_search_attributes(list(self._unpublished.values()))
            self._unpublished = {}
