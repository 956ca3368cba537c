"""Ports of the webhook inbox."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Protocol

from orders.webhooks import EventPayload, MailDeliveryFailure, WebhookEvent


class EventReader(Protocol):
    """Reader of one source's webhook events: it verifies and parses them."""

    def read(self, headers: Mapping[str, str], body: bytes) -> WebhookEvent:
        """Verify and parse an event; ``headers`` by their names in lower case.

        Raises ``BadSignatureError`` or ``UnreadableEventError``, as sentences that repeat nothing
        of the request.
        """


class DeliveryResult(StrEnum):
    """How the delivery of an event ended."""

    TOLD = "told"
    NOBODY = "nobody"  # nothing takes it, any more or at all
    GIVEN_UP = "given_up"  # it could not be delivered for too long


@dataclass(frozen=True)
class PendingEvent:
    """A stored event to deliver; ``tries`` counts this one. ``news`` is None when this version of
    the code cannot read it.
    """

    number: int
    event_id: str
    type: str
    news: EventPayload | None
    received_at: datetime
    tries: int


class WebhookEventRepository(Protocol):
    """Repository of received events, until they are delivered and a while longer."""

    async def keep(self, event: WebhookEvent, now: datetime) -> bool:
        """Store the event; False when it is stored already. It must have news."""

    async def take(self, now: datetime, lease: timedelta, limit: int) -> tuple[PendingEvent, ...]:
        """Claim events that are due, oldest first: no other process gets them during ``lease``."""

    async def end(self, number: int, ending: DeliveryResult, now: datetime, why: str = "") -> None:
        """Finish an event: it is not delivered any more."""

    async def postpone(self, number: int, until: datetime, problem: str) -> None:
        """It could not be delivered: the event is due again at ``until``."""

    async def prune(self, before: datetime) -> int:
        """Delete events that ended before then; returns how many."""


class MailLog(Protocol):
    """Log of the emails sent, to find an email's order."""

    async def record_delivery_failure(
        self, mail_id: str, fate: MailDeliveryFailure, now: datetime, why: str
    ) -> bool:
        """Add what became of an email to the history of its order, once.

        False when no order has that email.
        """
