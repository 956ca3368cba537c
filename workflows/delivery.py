"""Following the parcels until they are delivered, or a person has decided what becomes of them."""

from __future__ import annotations

import asyncio

from temporalio import workflow
from temporalio.exceptions import ApplicationError

with workflow.unsafe.imports_passed_through():
    from activities.notifications import NotificationActivities
    from activities.order_book import OrderBookActivities
    from orders import messages as m
    from orders.lifecycle import Status
    from orders.parcels import Parcel, ParcelStatus
    from orders.requests import ParcelUpdate, SettleParcel
    from workflows import policies
    from workflows.failures import NOT_WAITING
    from workflows.life import Life


class Delivery:
    """The order's parcels. News may come before the warehouse has even named them."""

    def __init__(self, life: Life) -> None:
        self._life = life
        self._parcels: dict[str, Parcel] = {}
        self._recorded: dict[str, ParcelStatus] = {}
        self._settled: set[str] = set()
        self._mails: list[asyncio.Task[bool]] = []
        self._news = False

    async def follow(self) -> None:
        """Return once every parcel is delivered or settled; without a deadline, at once."""
        life = self._life
        if not life.terms.delivery_deadline:
            return
        # One timer for the whole wait, however many news come meanwhile.
        deadline = asyncio.create_task(asyncio.sleep(life.terms.delivery_deadline.total_seconds()))
        for parcel_id in life.parcel_ids:
            self._parcels.setdefault(parcel_id, Parcel(parcel_id))
        while True:
            await self._record_news()
            if life.status is Status.FULFILLED and all(p.has_left for p in self._own()):
                await life.move_to(Status.SHIPPED)
            if not self._awaited():
                break
            self._flag_missing(late=deadline.done())
            await self._something_new(deadline)
        deadline.cancel()
        life.steps.unflag()
        for mail in self._mails:
            await mail

    async def _something_new(self, deadline: asyncio.Task[None]) -> None:
        late = deadline.done()

        def something_new() -> bool:
            return self._news or deadline.done() is not late

        await self._life.watch("waiting for the parcels to arrive", something_new, None)

    def told(self, news: ParcelUpdate) -> None:
        told = Parcel(news.parcel_id, news.status, news.tracking)
        known = self._parcels.get(news.parcel_id, Parcel(news.parcel_id))
        self._parcels[news.parcel_id] = known.told(told)
        self._news = True

    async def settle(self, decision: SettleParcel) -> None:
        """Wait no more for this parcel."""
        self._settled.add(decision.parcel_id)
        self._news = True
        await self._life.note(
            "parcel_settled",
            parcel_id=decision.parcel_id,
            by=decision.by,
            outcome=decision.outcome,
        )

    def check_settle(self, decision: SettleParcel) -> None:
        """Refuse to settle what is not waited for."""
        if decision.parcel_id in {parcel.parcel_id for parcel in self._awaited()}:
            return
        order_id = self._life.order_id
        message = f"order {order_id} does not wait for a parcel {decision.parcel_id}"
        raise ApplicationError(message, type=NOT_WAITING)

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

    async def _record_news(self) -> None:
        """Write down what is new, and tell the customer of parcels that have left."""
        self._news = False
        for parcel in self._own():
            before = self._recorded.get(parcel.parcel_id, ParcelStatus.ACCEPTED)
            if parcel.status is before:
                continue
            news = m.ParcelNews(self._life.order_id, parcel)
            step = OrderBookActivities.record_parcel
            doing = f"recording: {parcel.parcel_id} {parcel.status}"
            await self._life.steps.finish(doing, step, news, policies.RECORD)
            self._recorded[parcel.parcel_id] = parcel.status
            # A parcel that is delivered before it was known to have left needs no mail.
            if parcel.status is ParcelStatus.SHIPPED:
                mail = self._life.mail(
                    f"telling the customer of {parcel.parcel_id}",
                    NotificationActivities.send_shipped_email,
                    news,
                )
                self._mails.append(asyncio.create_task(mail))
