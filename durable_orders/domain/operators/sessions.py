"""Sessions of operators on the admin pages.

The browser keeps a secret of 256 random bits, the database only its SHA-256: reading the database
is not enough to take over a session. A fast hash is right, as for API keys.
"""

from __future__ import annotations

import hashlib
import hmac
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Final, Protocol

from durable_orders.domain.operators.api_keys import ApiKey

SECRET_BYTES: Final = 32
#: A session expires so long after it was opened, however busy it is ...
MAX_AGE: Final = timedelta(hours=8)
#: ... and so long after it was last used.
IDLE_TIMEOUT: Final = timedelta(minutes=30)


@dataclass(frozen=True)
class SessionToken:
    """Token of a session, in its cookie. ``secret`` is ``SECRET_BYTES`` of secure random bytes."""

    secret: bytes = field(repr=False)

    def __post_init__(self) -> None:
        if len(self.secret) != SECRET_BYTES:
            raise ValueError("a ticket has a secret of a fixed length")

    @classmethod
    def read(cls, text: str) -> SessionToken | None:
        """Parse a token; None when the text is not one of ours."""
        try:
            return cls(bytes.fromhex(text)) if len(text) == 2 * SECRET_BYTES else None
        except ValueError:
            return None

    def __str__(self) -> str:
        return self.secret.hex()

    @property
    def digest(self) -> bytes:
        """SHA-256 of the secret: all that is stored of it."""
        return hashlib.sha256(self.secret).digest()

    @property
    def form_token(self) -> str:
        """CSRF token of this session's forms, which no page of another site can know."""
        return hmac.new(self.secret, b"form", hashlib.sha256).hexdigest()

    def fits(self, form_token: str) -> bool:
        """Whether a form's token is of this session, compared in constant time."""
        return hmac.compare_digest(self.form_token.encode(), form_token.encode())


@dataclass(frozen=True)
class FlashMessage:
    """Flash message: the result of a request, shown once on the next page. ``done``: as asked."""

    sentence: str
    done: bool


@dataclass(frozen=True)
class Session:
    """Session of an operator who logged in with ``key``. ``digest`` is its token's."""

    digest: bytes = field(repr=False)
    key: ApiKey
    opened_at: datetime
    seen_at: datetime
    flash: FlashMessage | None = None

    def is_over(self, now: datetime) -> bool:
        """Whether the session has expired, by its age, unused, or with its key."""
        is_old = now - self.opened_at >= MAX_AGE or now - self.seen_at >= IDLE_TIMEOUT
        return is_old or self.key.has_expired(now)


class SessionRepository(Protocol):
    """Repository of open sessions."""

    async def open(self, session: Session) -> None:
        """Store a new session, and delete the expired ones."""

    async def find(self, digest: bytes) -> Session | None:
        """The session, None when there is none or its key was revoked. It may have expired."""

    async def note_use(self, digest: bytes, now: datetime) -> None:
        """Note when it was last used."""

    async def set_flash(self, digest: bytes, flash: FlashMessage | None) -> None:
        """Set the flash message of the next page; None clears it."""

    async def end(self, digest: bytes) -> None:
        """Delete the session; a no-op when there is none."""
