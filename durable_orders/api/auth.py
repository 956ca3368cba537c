"""Authorization: the API key of a request, and the scope that a route needs."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Annotated, Any, Final

from fastapi import Depends, Request
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer

from durable_orders.api.problems import FORBIDDEN, ProblemError
from durable_orders.domain.operators.api_keys import ApiKey, ApiKeyRepository, Scope, Token
from durable_orders.domain.ports import ProviderError

_BEARER = HTTPBearer(
    scheme_name="key",
    bearerFormat="do_<id>_<secret>",
    description="A key, as `keys create NAME --scope SCOPE` of the command line printed it.",
    auto_error=False,  # middleware.py has checked it
)


async def get_caller(request: Request) -> ApiKey:
    """The API key that authenticated the request."""
    key: ApiKey = request.scope["state"]["key"]
    return key


#: A route's argument: the API key of the caller.
Caller = Annotated[ApiKey, Depends(get_caller)]


def require_scope(scope: Scope) -> Any:
    """A dependency of a route: require a key of this scope, or of one that includes it."""

    async def check(
        caller: Caller, _: Annotated[HTTPAuthorizationCredentials | None, Depends(_BEARER)]
    ) -> None:
        if not caller.scope.includes(scope):
            raise ProblemError(
                FORBIDDEN,
                f"this needs a key of scope {scope}, and {caller.name} is of scope {caller.scope}",
                {
                    "WWW-Authenticate": (
                        f'Bearer realm="durable-orders", error="insufficient_scope", '
                        f'scope="{scope}"'
                    )
                },
            )

    return Depends(check)


log = logging.getLogger(__name__)

#: How long a key is trusted without a look-up: a revoked key works for so long.
CACHE_TTL: Final = timedelta(seconds=3)
_USE_INTERVAL: Final = timedelta(minutes=1)


def _has_expired(key: ApiKey) -> bool:
    return key.has_expired(datetime.now(UTC))


@dataclass(frozen=True)
class _Entry:
    key: ApiKey
    expires_at: float


class ApiKeyCache:
    """Finds API keys by token, and caches them for ``CACHE_TTL``.

    An unknown token is not cached: a new key works at once, and made-up tokens fill no memory.
    """

    def __init__(
        self, book: ApiKeyRepository, *, now: Callable[[], float] = time.monotonic
    ) -> None:
        self._book = book
        self._now = now
        self._entries: dict[str, _Entry] = {}

    def has_seen(self, token: Token) -> bool:
        """Whether a key of this id was valid at its last look-up."""
        return token.key_id in self._entries

    async def find(self, token: Token) -> ApiKey | None:
        """The valid key of this token, or None. Raises ``NoAnswerError``."""
        entry = self._entries.get(token.key_id)
        if entry is not None and self._now() < entry.expires_at and not _has_expired(entry.key):
            return entry.key if entry.key.fits(token) else None
        key = await self._book.find(token.key_id)
        if key is None or _has_expired(key):
            self._entries.pop(token.key_id, None)
            return None
        self._entries[key.id] = _Entry(key, self._now() + CACHE_TTL.total_seconds())
        if not key.fits(token):
            return None
        await self._note_use(key)
        return key

    async def is_valid(self, key: ApiKey) -> bool:
        """Whether the key has not expired and was not revoked, as of ``CACHE_TTL`` ago. Raises
        ``NoAnswerError``.
        """
        entry = self._entries.get(key.id)
        if entry is not None and self._now() < entry.expires_at and not _has_expired(entry.key):
            return True
        found = await self._book.find(key.id)
        if found is None or _has_expired(found):
            self._entries.pop(key.id, None)
            return False
        self._entries[key.id] = _Entry(found, self._now() + CACHE_TTL.total_seconds())
        return True

    async def _note_use(self, key: ApiKey) -> None:
        now = datetime.now(UTC)
        if key.last_used_at is not None and now - key.last_used_at < _USE_INTERVAL:
            return
        try:
            await self._book.note_use(key.id, now)
        except ProviderError as error:
            # Only shown to people: no reason to refuse the request.
            log.warning("the use of key %s could not be noted: %s", key.name, error)
