"""Access policy: authentication and rate limits, for API keys and for logins."""

from __future__ import annotations

import asyncio
import contextlib
import math
import time
from collections import OrderedDict
from collections.abc import AsyncIterator, Callable
from ipaddress import ip_address
from typing import Final

from starlette.types import Scope

from durable_orders.api.auth import ApiKeyCache
from durable_orders.api.problems import TOO_MANY, ProblemError
from durable_orders.domain.operators.api_keys import ApiKey, Token

#: Concurrent look-ups of tokens from addresses that have sent too many wrong ones.
_LOOKUPS_OF_SUSPECTS: Final = 2


class AccessPolicy:
    """Authenticates API keys and limits requests: per key, and per address without a valid key.

    ``failures`` limits an address. Beyond it a token from there is looked up all the same, so that
    a stranger behind the same address cannot lock out the owner of a key; but few at a time.
    """

    def __init__(
        self, api_keys: ApiKeyCache, *, per_key: RateLimiter, failures: RateLimiter
    ) -> None:
        self._api_keys = api_keys
        self._per_key = per_key
        self._failures = failures
        self._suspects = asyncio.Semaphore(_LOOKUPS_OF_SUSPECTS)

    async def authenticate(self, token: Token | None, address: str) -> ApiKey | None:
        """Return the valid API key of the token. None counts as a failure of the address.

        Raises ``ProblemError`` when the address has to wait, and ``NoAnswerError``.
        """
        if token is None:
            self.count_failure(address)
            return None
        async with self.lookup(address, is_known=self._api_keys.has_seen(token)):
            key = await self._api_keys.find(token)
        if key is None:
            self.count_failure(address)
        return key

    def count_request(self, key: ApiKey) -> None:
        """Count a request with this key. Raises ``ProblemError`` above the limit."""
        _require_no_wait(
            self._per_key.acquire(key.id), f"too many requests with the key {key.name}"
        )

    @contextlib.asynccontextmanager
    async def lookup(self, address: str, *, is_known: bool) -> AsyncIterator[None]:
        """Look up a token in the block: one of few at a time, if it ``is_known`` to nobody and the
        address has too many failures.
        """
        if is_known or not self._failures.wait_time(address):
            yield
            return
        async with self._suspects:
            yield

    def count_failure(self, address: str) -> None:
        """Count a failure of the address. Raises ``ProblemError`` above the limit."""
        _require_no_wait(self._failures.acquire(address), "too many requests without a good key")


def client_address(scope: Scope) -> str:
    """The client's IP address. IPv6: its /64 network, since one client has all addresses of it."""
    host = (scope.get("client") or ("unknown", 0))[0]
    try:
        address = ip_address(host)
    except ValueError:
        return str(host)
    if address.version == 6 and address.ipv4_mapped is not None:
        address = address.ipv4_mapped
    return str(address) if address.version == 4 else address.exploded[:19]


def _require_no_wait(wait: float, reason: str) -> None:
    """Raises ``ProblemError`` with ``Retry-After`` when there are seconds to wait."""
    if wait:
        seconds = math.ceil(wait)
        raise ProblemError(
            TOO_MANY, f"{reason}: ask again in {seconds} s", {"Retry-After": str(seconds)}
        )


_MINUTE: Final = 60.0


class RateLimiter:
    """Token bucket per name: ``per_minute`` tokens, refilled evenly.

    Keeps at most ``max_names`` buckets and drops the least recently used.
    """

    def __init__(
        self, per_minute: int, *, max_names: int = 10_000, now: Callable[[], float] = time.monotonic
    ) -> None:
        self._interval = _MINUTE / per_minute
        self._max_names = max_names
        self._now = now
        # The time at which each bucket is full again, which tells how much is in it (GCRA).
        self._full_at: OrderedDict[str, float] = OrderedDict()

    def wait_time(self, name: str) -> float:
        """Seconds until ``name`` may send a request, 0: now. Takes no token."""
        full_at = max(self._full_at.get(name, 0), self._now())
        return max(full_at + self._interval - self._now() - _MINUTE, 0)

    def acquire(self, name: str) -> float:
        """Take a token and return 0, or return the seconds to wait."""
        now = self._now()
        if wait := self.wait_time(name):
            return wait
        self._full_at[name] = max(self._full_at.get(name, 0), now) + self._interval
        self._full_at.move_to_end(name)
        if len(self._full_at) > self._max_names:
            self._full_at.popitem(last=False)
        return 0
