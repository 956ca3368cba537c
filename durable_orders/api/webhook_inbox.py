"""Webhook inbox: verify and store an event, acknowledge it, then deliver it to its workflow.

    webhook → receive: verify, store, acknowledge → at_work: deliver to the workflow

A stored event is delivered at once by the process that has stored it, and retried while Temporal is
unavailable. Every process with an inbox delivers the events of all. What the books hold already is
not delivered. See docs/decisions/webhooks-are-stored-then-delivered.md.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator, Mapping
from datetime import UTC, datetime, timedelta
from typing import Final

from temporalio.service import RPCError

from durable_orders.api.metrics import Metrics
from durable_orders.clients.audits import AuditClient
from durable_orders.clients.errors import (
    OrderClientError,
    OrderEndedError,
    RefundBeingMadeError,
    StrandedError,
    UnknownRefundError,
    UnreachableError,
)
from durable_orders.clients.orders import OrderClient
from durable_orders.clients.payment_risks import PaymentRiskClient
from durable_orders.clients.refunds import RefundClient
from durable_orders.domain.ports import NoSuchOrderError, ProviderError
from durable_orders.domain.texts import InvalidTextError
from durable_orders.domain.webhooks import (
    EVENT_RETENTION,
    MAIL_ID_RECORDED_WITHIN,
    RECORDED_WITHIN,
    BadSignatureError,
    BookedPayment,
    DeliveryResult,
    EventReader,
    MailLog,
    MailNotDelivered,
    Novelty,
    ParcelChanged,
    PaymentChanged,
    PaymentOrders,
    PaymentRiskChanged,
    PendingEvent,
    RefundChanged,
    UnmarkedRefundChanged,
    UnreadableEventError,
    WebhookEventRepository,
    WebhookSource,
    is_known_by_end,
    is_past_deadline,
    novelty_of,
    retry_delay,
)

log = logging.getLogger(__name__)

#: Taken in one statement.
_AT_ONCE: Final = 20
#: Deliveries under way in a process; most of them wait. Others are taken when there is room.
_MOST: Final = 50
#: For the delivery of one event. After the lease another process may deliver it: the first one may
#: have crashed.
_PATIENCE: Final = timedelta(seconds=10)
_LEASE: Final = timedelta(seconds=15)
#: Between two polls for events that other processes have stored, or that are due for a retry.
_LOOK: Final = timedelta(seconds=1)
_LOOK_WHEN_AWAY: Final = timedelta(seconds=5)
_PRUNE_EVERY: Final = timedelta(hours=1)
#: How long a process that stops goes on with the deliveries under way.
_LAST_DELIVERIES: Final = timedelta(seconds=2)

#: No workflow can receive the event. A later workflow reads the state from the provider itself.
_NOBODY: Final = (OrderClientError, NoSuchOrderError, InvalidTextError)


class WebhookNotConfiguredError(Exception):
    """This process has no secret for the webhooks of this source."""


class Inbox:
    """Receives and delivers events. ``readers``: a verifier for each source with a secret.
    ``metrics`` count how deliveries ended.
    """

    def __init__(
        self,
        *,
        readers: Mapping[WebhookSource, EventReader],
        events: WebhookEventRepository,
        mails: MailLog,
        payments: PaymentOrders,
        orders: OrderClient,
        refunds: RefundClient,
        audits: AuditClient,
        risks: PaymentRiskClient,
        metrics: Metrics | None = None,
    ) -> None:
        self._readers = readers
        self._events = events
        self._mails = mails
        self._payments = payments
        self._orders = orders
        self._refunds = refunds
        self._audits = audits
        self._risks = risks
        self._metrics = metrics or Metrics()
        self._arrived = asyncio.Event()
        self._is_at_work = False
        self._stopping = asyncio.Event()
        self._under_way: set[asyncio.Task[None]] = set()
        self._pruned_at = datetime.min.replace(tzinfo=UTC)

    async def receive(self, source: WebhookSource, headers: Mapping[str, str], body: bytes) -> None:
        """Verify an event and store it. Once this returns, it will be delivered despite crashes.

        Raises ``WebhookNotConfiguredError``, ``BadSignatureError`` or ``UnreadableEventError``; and
        ``NoAnswerError`` when it cannot be stored: the sender has to send it again.
        """
        reader = self._readers.get(source)
        if reader is None:
            raise WebhookNotConfiguredError(source)
        try:
            event = reader.read(headers, body)
        except (BadSignatureError, UnreadableEventError) as error:
            log.warning("a webhook in the name of %s is refused: %s", source, error)
            raise
        if event.news is None:
            log.debug("%s %s is for nobody here", event.type, event.event_id)
            return
        # Claimed as it is stored: this process delivers it, and need not take it first.
        lease = _LEASE if self._is_at_work and self._room else None
        kept = await self._events.keep(event, datetime.now(UTC), lease)
        if kept is None:
            log.debug("%s %s is known, or for nobody here", event.type, event.event_id)
            return
        log.info("%s %s is stored", event.type, event.event_id)
        if lease is None:
            self._arrived.set()
        else:
            self._deliver(kept)

    @contextlib.asynccontextmanager
    async def at_work(self) -> AsyncIterator[None]:
        """Deliver events in the background. A delivery that is cut off at the end is made again."""
        self._stopping.clear()
        self._is_at_work = True
        telling = asyncio.create_task(self._run(), name="inbox")
        try:
            yield
        finally:
            self._is_at_work = False
            self._stopping.set()
            telling.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await telling
            await self._finish_deliveries()

    async def _finish_deliveries(self) -> None:
        """Let the deliveries under way come to their end, for a moment."""
        if not self._under_way:
            return
        _, left = await asyncio.wait(self._under_way, timeout=_LAST_DELIVERIES.total_seconds())
        for delivery in left:
            delivery.cancel()
        await asyncio.gather(*left, return_exceptions=True)

    async def _run(self) -> None:
        while True:
            pause = _LOOK
            try:
                while await self._take_due():
                    pass
                await self._prune()
            except ProviderError as error:
                log.warning("no event can be told: %s", error)
                pause = _LOOK_WHEN_AWAY
            except Exception:
                log.exception("a fault of ours")  # nothing would restart this task
                pause = _LOOK_WHEN_AWAY
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(pause.total_seconds()):
                    await self._arrived.wait()
            self._arrived.clear()

    async def tell_due(self) -> int:
        """Deliver the due events, several concurrently; return their number."""
        taken = await self._take_due()
        await asyncio.gather(*taken)
        return len(taken)

    async def _take_due(self) -> list[asyncio.Task[None]]:
        """Take due events, and begin to deliver them."""
        if not (room := min(self._room, _AT_ONCE)):
            return []
        taken = await self._events.take(datetime.now(UTC), _LEASE, room)
        return [self._deliver(event) for event in taken]

    @property
    def _room(self) -> int:
        """How many more deliveries may be under way; about, because many may be stored at once."""
        return max(_MOST - len(self._under_way), 0)

    def _deliver(self, event: PendingEvent) -> asyncio.Task[None]:
        def end(delivery: asyncio.Task[None]) -> None:
            if not self._room:
                self._arrived.set()  # others may be due
            self._under_way.discard(delivery)

        delivery = asyncio.create_task(self._settle_or_leave(event), name=f"event {event.event_id}")
        self._under_way.add(delivery)
        delivery.add_done_callback(end)
        return delivery

    async def _settle_or_leave(self, event: PendingEvent) -> None:
        """Settle an event. One whose outcome cannot be stored is taken again after its lease."""
        try:
            await self._settle(event)
        except ProviderError as error:
            log.warning("%s %s: its outcome is not stored: %s", event.type, event.event_id, error)
        except Exception:
            log.exception("a fault of ours")

    async def _settle(self, event: PendingEvent) -> None:
        """Deliver one event and store the outcome. Raises what the event store raises."""
        ending, why = await self._outcome(event)
        now = datetime.now(UTC)
        if ending is None and is_past_deadline(event.received_at, now):
            ending = DeliveryResult.GIVEN_UP
        if ending is None:
            level = logging.WARNING
            await self._events.postpone(event.number, now + retry_delay(event.tries), why)
        else:
            level = logging.ERROR if ending is DeliveryResult.GIVEN_UP else logging.INFO
            await self._events.end(event.number, ending, now, why)
            self._metrics.count_event(event.type, ending)
        told = ending or f"not told yet (try {event.tries})"
        log.log(level, "%s %s: %s", event.type, event.event_id, f"{told}, {why}" if why else told)

    async def _outcome(self, event: PendingEvent) -> tuple[DeliveryResult | None, str]:
        """Deliver the event; the outcome and its reason. None: try again."""
        try:
            async with asyncio.timeout(_PATIENCE.total_seconds()):
                return await self._tell(event)
        except RefundBeingMadeError as error:
            return None, str(error)
        except _NOBODY as error:
            return DeliveryResult.NOBODY, str(error)
        except TimeoutError:
            return None, "no answer in time"
        except (UnreachableError, ProviderError, RPCError) as error:
            return None, str(error)
        except Exception as error:
            log.exception("a fault of ours")
            return None, repr(error)

    async def _tell(self, event: PendingEvent) -> tuple[DeliveryResult | None, str]:
        told: tuple[DeliveryResult | None, str] = (DeliveryResult.TOLD, "")
        match event.news:
            case PaymentChanged() as news:
                if known := await self._known_standing(news, event.booked):
                    told = DeliveryResult.ALREADY_KNOWN, known
                else:
                    told = await self._tell_of_payment(news)
            case UnmarkedRefundChanged(payment_id=payment_id):
                if (order_id := await self._payments.find_order(payment_id)) is None:
                    raise NoSuchOrderError("", f"no order is paid with {payment_id}")
                told = await self._tell_of_payment(PaymentChanged(order_id))
            case PaymentRiskChanged(payment_id=payment_id):
                await self._risks.payment_changed(payment_id)
            case RefundChanged(order_id=order_id, refund_id=refund_id):
                told = await self._tell_of_refund(order_id, refund_id)
            case ParcelChanged(order_id=order_id, parcel_id=parcel_id) as news:
                await self._orders.parcel_updated(order_id, parcel_id, news.status, news.tracking)
            case MailNotDelivered() as news:
                told = await self._tell_of_mail(news, event.received_at)
            case None:
                told = None, "this version of the program cannot read it"
        return told

    async def _known_standing(self, news: PaymentChanged, booked: BookedPayment | None) -> str:
        """How the order stands when our books hold the news already; empty when it has to be told.

        What a worker is about to record is waited for, a moment.
        """
        for pause in RECORDED_WITHIN:
            if novelty_of(news.change, booked) is not Novelty.BEING_RECORDED:
                break
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(pause.total_seconds()):
                    await self._stopping.wait()
            if self._stopping.is_set():
                return ""
            try:
                booked = await self._events.look(news.order_id, news.payment_id)
            except ProviderError:
                return ""
        if booked is None or novelty_of(news.change, booked) is not Novelty.KNOWN:
            return ""
        return f"order {news.order_id} is {booked.order_status}, its payment {booked.state}"

    async def _tell_of_mail(
        self, news: MailNotDelivered, received_at: datetime
    ) -> tuple[DeliveryResult | None, str]:
        """Add what became of an email to its order's history; its id may not be there yet."""
        now = datetime.now(UTC)
        if await self._mails.record_delivery_failure(news.mail_id, news.fate, now, news.why):
            return DeliveryResult.TOLD, ""
        is_late = now - received_at >= MAIL_ID_RECORDED_WITHIN
        result = DeliveryResult.NOBODY if is_late else None
        return result, f"no order knows the mail {news.mail_id}"

    async def _tell_of_payment(self, news: PaymentChanged) -> tuple[DeliveryResult, str]:
        """Tell the order's run; when that is gone, have the order examined."""
        order_id = news.order_id
        try:
            await self._orders.payment_updated(order_id, news.change)
        except OrderEndedError as ended:
            if is_known_by_end(news.change, ended.status):
                return DeliveryResult.NOBODY, f"order {order_id} knew of it, and has ended"
            await self._audits.examine(order_id)
            return DeliveryResult.TOLD, f"{ended}: it is examined"
        except StrandedError as stranded:
            await self._audits.examine(order_id)
            return DeliveryResult.TOLD, f"{stranded.explanation}: it is examined"
        return DeliveryResult.TOLD, ""

    async def _tell_of_refund(self, order_id: str, refund_id: str) -> tuple[DeliveryResult, str]:
        """Have the refund's run read it; when there is nothing to be read, examine the order."""
        try:
            if await self._refunds.look_again(order_id, refund_id):
                return DeliveryResult.TOLD, ""
            why = f"refund {refund_id} of order {order_id} needs no look any more"
        except UnknownRefundError as unknown:
            why = str(unknown)
        await self._audits.examine(order_id)
        return DeliveryResult.TOLD, f"{why}: the order is examined"

    async def _prune(self) -> None:
        now = datetime.now(UTC)
        if now - self._pruned_at >= _PRUNE_EVERY:
            while await self._events.prune(now - EVENT_RETENTION):
                pass
            self._pruned_at = now
