"""Whose token it is."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Final

from orders.keys import ApiKey, KeyBook, Token
from orders.ports import ProviderError

log = logging.getLogger(__name__)

#: How long a key is taken for good without a look into the book: so long a revoked one still works.
REMEMBERED: Final = timedelta(seconds=3)
_USE_NOTED: Final = timedelta(minutes=1)


@dataclass(frozen=True)
class _Seen:
    key: ApiKey
    until: float


class Keyring:
    """The keys of the book, remembered for ``REMEMBERED``.

    A token that fits none is not remembered: a key made this moment works at once, and nobody can
    fill our memory with made-up ones.
    """

    def __init__(self, book: KeyBook, *, now: Callable[[], float] = time.monotonic) -> None:
        self._book = book
        self._now = now
        self._seen: dict[str, _Seen] = {}

    def has_seen(self, token: Token) -> bool:
        """Whether a key of this id was in use when it was last looked for."""
        return token.key_id in self._seen

    async def key_of(self, token: Token) -> ApiKey | None:
        """The key in use that this token is of, or None. Raises ``NoAnswerError``."""
        seen = self._seen.get(token.key_id)
        if seen is not None and self._now() < seen.until:
            return seen.key if seen.key.fits(token) else None
        key = await self._book.find(token.key_id)
        if key is None:
            self._seen.pop(token.key_id, None)
            return None
        self._seen[key.id] = _Seen(key, self._now() + REMEMBERED.total_seconds())
        if not key.fits(token):
            return None
        await self._note_use(key)
        return key

    async def _note_use(self, key: ApiKey) -> None:
        now = datetime.now(UTC)
        if key.last_used_at is not None and now - key.last_used_at < _USE_NOTED:
            return
        try:
            await self._book.note_use(key.id, now)
        except ProviderError as error:
            # It is only for people to read: no reason to turn a caller away.
            log.warning("the use of key %s could not be noted: %s", key.name, error)
