"""API keys of the HTTP API: tokens, scopes, names.

A token is ``do_<id>_<secret>``. The id finds the key, the secret proves that the caller has it, and
only the secret's SHA-256 is kept. A fast hash is right here: the secret is 256 random bits, which
nobody can guess at any speed. Slow hashes are for passwords that people choose.
"""

from __future__ import annotations

import hashlib
import hmac
import re
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Final, Protocol

from durable_orders.domain.texts import InvalidTextError, TextFormat

ID_BYTES: Final = 6
SECRET_BYTES: Final = 32

_TOKEN: Final = re.compile(
    rf"do_(?P<id>[0-9a-f]{{{2 * ID_BYTES}}})_(?P<secret>[0-9a-f]{{{2 * SECRET_BYTES}}})"
)


class Scope(StrEnum):
    """Scope of an API key. Each includes those before it."""

    READ = "read"  # look at orders and metrics
    SHOP = "shop"  # place, check out, cancel: what a shop does for its customers
    OPERATOR = "operator"  # decide, refund: what the shop's staff do

    def includes(self, needed: Scope) -> bool:
        """Whether a key of this scope may do what needs ``needed``."""
        scopes = list(Scope)
        return scopes.index(self) >= scopes.index(needed)


class InvalidKeyNameError(InvalidTextError):
    """The text cannot be the name of a key."""


#: An account id or a role too (``ACTOR_ID``): a decision made with the key is made in its name.
KEY_NAME: Final = TextFormat(
    "a name for a key",
    "1 to 64 letters, digits, dots, dashes or underscores, starting with a letter or digit",
    r"[A-Za-z0-9][A-Za-z0-9._-]*",
    max_length=64,
    error=InvalidKeyNameError,
)


class KeyNameTakenError(Exception):
    """A key of this name is in use."""

    def __init__(self, name: str) -> None:
        super().__init__(f"there is a key {name} already: revoke it first, or take another name")


class NoSuchKeyError(LookupError):
    """No key of this name is in use."""

    def __init__(self, name: str) -> None:
        super().__init__(f"no key {name} is in use")


@dataclass(frozen=True)
class Token:
    """Token of an API key; ``str`` gives the text to hand out."""

    key_id: str
    secret: str = field(repr=False)

    @classmethod
    def of(cls, id_: bytes, secret: bytes) -> Token:
        """Make a token of ``ID_BYTES`` and ``SECRET_BYTES`` of secure random bytes."""
        if (len(id_), len(secret)) != (ID_BYTES, SECRET_BYTES):
            raise ValueError("a token has an id and a secret of fixed lengths")
        return cls(id_.hex(), secret.hex())

    @classmethod
    def read(cls, text: str) -> Token | None:
        """Parse a token; None when the text is not one of ours."""
        match = _TOKEN.fullmatch(text)
        return cls(match["id"], match["secret"]) if match else None

    def __str__(self) -> str:
        return f"do_{self.key_id}_{self.secret}"

    @property
    def digest(self) -> bytes:
        """SHA-256 of the secret: all that is stored of it."""
        return hashlib.sha256(self.secret.encode()).digest()


@dataclass(frozen=True)
class ApiKey:
    """An API key. ``digest`` is its token's; from ``expires_at`` on it is valid no more."""

    id: str
    name: str
    scope: Scope
    created_at: datetime
    digest: bytes = field(repr=False)
    last_used_at: datetime | None = None
    revoked_at: datetime | None = None
    expires_at: datetime | None = None

    def has_expired(self, now: datetime) -> bool:
        return self.expires_at is not None and now >= self.expires_at

    def fits(self, token: Token) -> bool:
        """Whether the token is this key's, compared in constant time."""
        return hmac.compare_digest(self.digest, token.digest)


class ApiKeyRepository(Protocol):
    """Repository of the API keys in use."""

    async def find(self, key_id: str) -> ApiKey | None:
        """The key, or None when there is none or it was revoked. It may have expired."""

    async def note_use(self, key_id: str, now: datetime) -> None:
        """Note when the key was last used."""
