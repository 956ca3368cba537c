"""Whose key it is, and how often somebody may ask: for the gate, and for whoever logs in."""

from __future__ import annotations

import math
from ipaddress import ip_address

from starlette.types import Scope

from edge.keyring import Keyring
from edge.problems import TOO_MANY, ProblemError
from edge.rates import Rate
from orders.keys import ApiKey, Token


class Admission:
    """A key may ask as often as ``per_key`` says; an address that shows no good one as often as
    ``failures`` says, then the book is not even asked about its tokens, except of keys that were
    seen before: a stranger behind the same address must not lock out who has a key.
    """

    def __init__(self, keyring: Keyring, *, per_key: Rate, failures: Rate) -> None:
        self._keyring = keyring
        self._per_key = per_key
        self._failures = failures

    async def key_of(self, token: Token | None, address: str) -> ApiKey | None:
        """The key in use that the token is of; None is counted against the address.

        Raises ``ProblemError`` when the address has to wait, and ``NoAnswerError``.
        """
        if token is None or not self._keyring.has_seen(token):
            self.look(address)
        key = None if token is None else await self._keyring.key_of(token)
        if key is None:
            self.failed(address)
        return key

    def count(self, key: ApiKey) -> None:
        """A request with this key. Raises ``ProblemError`` when there are too many."""
        _spaced(self._per_key.take(key.id), f"too many requests with the key {key.name}")

    def look(self, address: str) -> None:
        """Raises ``ProblemError`` when too much from there was refused already."""
        _spaced(self._failures.wait(address), "too many requests without a good key")

    def failed(self, address: str) -> None:
        """Something from there was refused. Raises ``ProblemError`` when that is too often."""
        _spaced(self._failures.take(address), "too many requests without a good key")


def address_of(scope: Scope) -> str:
    """Where the request comes from; of IPv6 the network, for anybody has as many as they like."""
    host = (scope.get("client") or ("unknown", 0))[0]
    try:
        address = ip_address(host)
    except ValueError:
        return str(host)
    return str(address) if address.version == 4 else address.exploded[:19]


def _spaced(wait: float, what: str) -> None:
    """Raise that somebody has to wait, unless they need not."""
    if wait:
        seconds = math.ceil(wait)
        raise ProblemError(
            TOO_MANY, f"{what}: ask again in {seconds} s", {"Retry-After": str(seconds)}
        )
