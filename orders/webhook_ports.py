"""What the webhooks need of the world outside, in the domain's words."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Protocol

from orders.webhooks import Event, MailFate, News


class EventReader(Protocol):
    """Knows how one neighbour signs and writes its events."""

    def read(self, headers: Mapping[str, str], body: bytes) -> Event:
        """The event, if it is genuine; ``headers`` by their names in lower case.

        Raises ``BadSignatureError`` or ``UnreadableEventError``, as sentences that repeat nothing
        of what was sent.
        """


class Ending(StrEnum):
    """How the telling of an event ended."""

    TOLD = "told"
    NOBODY = "nobody"  # there is nobody to tell it to, any more or at all
    GIVEN_UP = "given_up"  # nobody could be told for too long


@dataclass(frozen=True)
class UntoldEvent:
    """A stored event that is to be told; ``tries`` counts this one. ``news`` is None when this
    version of the code cannot read it.
    """

    number: int
    event_id: str
    type: str
    news: News | None
    received_at: datetime
    tries: int


class EventBook(Protocol):
    """Events as they came in, until somebody was told and a while longer."""

    async def keep(self, event: Event, now: datetime) -> bool:
        """Store the event; False when it is stored already. It must have news."""

    async def take(self, now: datetime, lease: timedelta, limit: int) -> tuple[UntoldEvent, ...]:
        """Events that are due, oldest first: nobody else gets them for the time of ``lease``."""

    async def end(self, number: int, ending: Ending, now: datetime, why: str = "") -> None:
        """The event is not to be told any more."""

    async def postpone(self, number: int, until: datetime, problem: str) -> None:
        """Nobody could be told: the event is due again at ``until``."""

    async def prune(self, before: datetime) -> int:
        """Forget what ended before then; how many that were."""


class MailLog(Protocol):
    """Which order a mail was about."""

    async def note_fate(self, mail_id: str, fate: MailFate, now: datetime, why: str) -> bool:
        """Write it into the history of the order that the mail was about, once.

        False when no order knows the mail.
        """
