"""Webhook inbox: verify and store an event, acknowledge it, then deliver it to its workflow.

    webhook → receive: verify, store, acknowledge → at_work: deliver to the workflow

A stored event is delivered at once, and retried while Temporal is unavailable. Every process with
an inbox delivers the events of all. See docs/decisions/webhooks-are-stored-then-delivered.md.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator, Mapping
from datetime import UTC, datetime, timedelta
from typing import Final

from temporalio.service import RPCError

from durable_orders.clients.errors import OrderClientError, UnreachableError
from durable_orders.clients.orders import OrderClient
from durable_orders.clients.payment_risks import PaymentRiskClient
from durable_orders.clients.refunds import RefundClient
from durable_orders.domain.installation import InstallationRepository
from durable_orders.domain.ports import NoSuchOrderError, ProviderError
from durable_orders.domain.texts import InvalidTextError
from durable_orders.domain.webhooks import (
    EVENT_RETENTION,
    MAIL_ID_RECORDED_WITHIN,
    BadSignatureError,
    DeliveryResult,
    EventReader,
    MailLog,
    MailNotDelivered,
    ParcelChanged,
    PaymentChanged,
    PaymentRiskChanged,
    PendingEvent,
    RefundChanged,
    UnreadableEventError,
    WebhookEvent,
    WebhookEventRepository,
    WebhookSource,
    is_past_deadline,
    retry_delay,
)

log = logging.getLogger(__name__)

_AT_ONCE: Final = 20
#: For the delivery of one event. After the lease another process may deliver it: the first one may
#: have crashed.
_PATIENCE: Final = timedelta(seconds=10)
_LEASE: Final = timedelta(seconds=15)
#: Between two polls for events that other processes have stored, or that are due for a retry.
_LOOK: Final = timedelta(seconds=1)
_LOOK_WHEN_AWAY: Final = timedelta(seconds=5)
_PRUNE_EVERY: Final = timedelta(hours=1)

#: No workflow can receive the event. A later workflow reads the state from the provider itself.
_NOBODY: Final = (OrderClientError, NoSuchOrderError, InvalidTextError)


class WebhookNotConfiguredError(Exception):
    """This process has no secret for the webhooks of this source."""


class Inbox:
    """Receives and delivers events. ``readers``: a verifier for each source with a secret."""

    def __init__(
        self,
        *,
        readers: Mapping[WebhookSource, EventReader],
        events: WebhookEventRepository,
        mails: MailLog,
        installations: InstallationRepository,
        orders: OrderClient,
        refunds: RefundClient,
        risks: PaymentRiskClient,
    ) -> None:
        self._installations = installations
        self._readers = readers
        self._events = events
        self._mails = mails
        self._orders = orders
        self._refunds = refunds
        self._risks = risks
        self._arrived = asyncio.Event()
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
        if event.news is None or not await self._is_ours(event):
            log.debug("%s %s is for nobody here", event.type, event.event_id)
            return
        if await self._events.keep(event, datetime.now(UTC)):
            log.info("%s %s is stored", event.type, event.event_id)
            self._arrived.set()

    async def _is_ours(self, event: WebhookEvent) -> bool:
        """Whether the event is about what carries our mark: others may use the same account.

        What can carry none names a payment, whose id is in our books before a card is asked.
        """
        if isinstance(event.news, PaymentRiskChanged):
            return await self._risks.find_order(event.news.payment_id) is not None
        if event.installation is None:
            return True
        return event.installation in (await self._installations.get()).names

    @contextlib.asynccontextmanager
    async def at_work(self) -> AsyncIterator[None]:
        """Deliver events in the background. A delivery that is cut off at the end is made again."""
        telling = asyncio.create_task(self._run(), name="inbox")
        try:
            yield
        finally:
            telling.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await telling

    async def _run(self) -> None:
        while True:
            pause = _LOOK
            try:
                while await self.tell_due():
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
        taken = await self._events.take(datetime.now(UTC), _LEASE, _AT_ONCE)
        settled = (self._settle(event) for event in taken)
        for failed in await asyncio.gather(*settled, return_exceptions=True):
            if isinstance(failed, BaseException):
                raise failed  # an event whose outcome was not stored is taken again after its lease
        return len(taken)

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
        told = ending or f"not told yet (try {event.tries})"
        log.log(level, "%s %s: %s", event.type, event.event_id, f"{told}, {why}" if why else told)

    async def _outcome(self, event: PendingEvent) -> tuple[DeliveryResult | None, str]:
        """Deliver the event; the outcome and its reason. None: try again."""
        try:
            async with asyncio.timeout(_PATIENCE.total_seconds()):
                return await self._tell(event)
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
        match event.news:
            case PaymentChanged(order_id=order_id, change=change):
                await self._orders.payment_updated(order_id, change)
            case PaymentRiskChanged(payment_id=payment_id):
                await self._risks.payment_changed(payment_id)
            case RefundChanged(order_id=order_id, refund_id=refund_id):
                await self._refunds.look_again(order_id, refund_id)
            case ParcelChanged(order_id=order_id, parcel_id=parcel_id) as news:
                await self._orders.parcel_updated(order_id, parcel_id, news.status, news.tracking)
            case MailNotDelivered(mail_id=mail_id) as news:
                now = datetime.now(UTC)
                if not await self._mails.record_delivery_failure(mail_id, news.fate, now, news.why):
                    is_late = now - event.received_at >= MAIL_ID_RECORDED_WITHIN
                    return (
                        DeliveryResult.NOBODY if is_late else None,
                        f"no order knows the mail {mail_id}",
                    )
            case None:
                return None, "this version of the program cannot read it"
        return DeliveryResult.TOLD, ""

    async def _prune(self) -> None:
        now = datetime.now(UTC)
        if now - self._pruned_at >= _PRUNE_EVERY:
            while await self._events.prune(now - EVENT_RETENTION):
                pass
            self._pruned_at = now
