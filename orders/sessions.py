"""Sessions of operators at the pages of the HTTP edge.

The browser keeps a secret of 256 random bits, and only its SHA-256 is kept here: whoever reads the
database can take over no session. A fast hash is right, as for keys (``orders.keys``).
"""

from __future__ import annotations

import hashlib
import hmac
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Final, Protocol

from orders.keys import ApiKey

SECRET_BYTES: Final = 32
#: A session ends so long after it was opened, however busy it is ...
LIFE: Final = timedelta(hours=8)
#: ... and so long after it was last used.
IDLE: Final = timedelta(minutes=30)


@dataclass(frozen=True)
class Ticket:
    """What a browser shows to be let in. ``secret`` is ``SECRET_BYTES`` that nobody can guess."""

    secret: bytes = field(repr=False)

    def __post_init__(self) -> None:
        if len(self.secret) != SECRET_BYTES:
            raise ValueError("a ticket has a secret of a fixed length")

    @classmethod
    def read(cls, text: str) -> Ticket | None:
        """What the text shows, None when it is no ticket of ours."""
        try:
            return cls(bytes.fromhex(text)) if len(text) == 2 * SECRET_BYTES else None
        except ValueError:
            return None

    def __str__(self) -> str:
        return self.secret.hex()

    @property
    def digest(self) -> bytes:
        """What is kept of the secret."""
        return hashlib.sha256(self.secret).digest()

    @property
    def form_token(self) -> str:
        """What every form of this session holds, and no page of somebody else can know."""
        return hmac.new(self.secret, b"form", hashlib.sha256).hexdigest()

    def fits(self, form_token: str) -> bool:
        """Whether a form is of this session; takes as long whatever is wrong with it."""
        return hmac.compare_digest(self.form_token.encode(), form_token.encode())


@dataclass(frozen=True)
class Word:
    """What became of an operator's request: shown once, on the next page. ``done``: as asked."""

    sentence: str
    done: bool


@dataclass(frozen=True)
class Session:
    """An operator who has logged in with ``key``. ``digest`` is that of the ticket."""

    digest: bytes = field(repr=False)
    key: ApiKey
    opened_at: datetime
    seen_at: datetime
    word: Word | None = None

    def is_over(self, now: datetime) -> bool:
        """Whether it has lasted, or was left alone, for too long."""
        return now - self.opened_at >= LIFE or now - self.seen_at >= IDLE


class SessionBook(Protocol):
    """The sessions that are open."""

    async def open(self, session: Session) -> None:
        """Keep a new one. Those that are over by then are forgotten."""

    async def find(self, digest: bytes) -> Session | None:
        """The session, None when there is none or its key was revoked. It may be over."""

    async def note_use(self, digest: bytes, now: datetime) -> None:
        """Note when it was last used."""

    async def say(self, digest: bytes, word: Word | None) -> None:
        """Keep what the next page says; None: it has been said."""

    async def end(self, digest: bytes) -> None:
        """Forget it; harmless when there is none."""
