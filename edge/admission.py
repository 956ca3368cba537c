"""Access policy: authentication and rate limits, for API keys and for logins."""

from __future__ import annotations

import math
from ipaddress import ip_address

from starlette.types import Scope

from edge.keyring import ApiKeyCache
from edge.problems import TOO_MANY, ProblemError
from edge.rates import RateLimiter
from orders.keys import ApiKey, Token


class AccessPolicy:
    """Authenticates API keys and limits requests: per key, and per address without a valid key.

    ``failures`` limits an address; beyond it no token from there is looked up, except for keys that
    the cache knows: a stranger behind the same address must not lock out the owner of a key.
    """

    def __init__(
        self, api_keys: ApiKeyCache, *, per_key: RateLimiter, failures: RateLimiter
    ) -> None:
        self._api_keys = api_keys
        self._per_key = per_key
        self._failures = failures

    async def authenticate(self, token: Token | None, address: str) -> ApiKey | None:
        """Return the valid API key of the token. None counts as a failure of the address.

        Raises ``ProblemError`` when the address has to wait, and ``NoAnswerError``.
        """
        if token is None or not self._api_keys.has_seen(token):
            self.check_address(address)
        key = None if token is None else await self._api_keys.find(token)
        if key is None:
            self.count_failure(address)
        return key

    def count_request(self, key: ApiKey) -> None:
        """Count a request with this key. Raises ``ProblemError`` above the limit."""
        _require_no_wait(
            self._per_key.acquire(key.id), f"too many requests with the key {key.name}"
        )

    def check_address(self, address: str) -> None:
        """Raises ``ProblemError`` when the address has too many failures."""
        _require_no_wait(self._failures.wait_time(address), "too many requests without a good key")

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
    return str(address) if address.version == 4 else address.exploded[:19]


def _require_no_wait(wait: float, reason: str) -> None:
    """Raises ``ProblemError`` with ``Retry-After`` when there are seconds to wait."""
    if wait:
        seconds = math.ceil(wait)
        raise ProblemError(
            TOO_MANY, f"{reason}: ask again in {seconds} s", {"Retry-After": str(seconds)}
        )
