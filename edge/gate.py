"""Who may come in: every request needs a key, except to the routes that are open to all."""

from __future__ import annotations

import logging
import math
from collections.abc import Callable
from ipaddress import ip_address
from typing import Final

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Receive, Scope, Send

from edge.keyring import Keyring
from edge.problems import NO_KEY, TOO_MANY, UNAVAILABLE, ProblemError, answer
from edge.rates import Rate
from orders.keys import ApiKey, Token
from orders.ports import ProviderError

log = logging.getLogger(__name__)

_REALM: Final = 'Bearer realm="durable-orders"'


class Gate:
    """Lets requests with a good key through, before anything of their body is read.

    ``is_open`` tells for a request whether it needs no key. A key may ask as often as ``per_key``
    says; an address that shows no good key as often as ``failures`` says, then the book is not even
    asked about its tokens, except of keys that were seen before: a stranger behind the same
    address must not lock out who has a key.
    """

    def __init__(
        self,
        app: ASGIApp,
        *,
        keyring: Keyring,
        is_open: Callable[[Scope], bool],
        per_key: Rate,
        failures: Rate,
    ) -> None:
        self._app = app
        self._keyring = keyring
        self._is_open = is_open
        self._per_key = per_key
        self._failures = failures

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or self._is_open(scope):
            await self._app(scope, receive, send)
            return
        try:
            scope["state"]["key"] = await self._admitted(scope)
        except ProblemError as problem:
            refused = answer(problem.kind, scope, str(problem), problem.headers)
            await refused(scope, receive, send)
            return
        except ProviderError as error:
            log.error("no key can be looked up: %s", error)  # noqa: TRY400 - it says all
            await answer(UNAVAILABLE, scope)(scope, receive, send)
            return
        await self._app(scope, receive, send)

    async def _admitted(self, scope: Scope) -> ApiKey:
        presented = Headers(scope=scope).get("authorization", "")
        token = _token(presented)
        address = _address(scope)
        if token is None or not self._keyring.has_seen(token):
            _spaced(self._failures.wait(address), "too many requests without a good key")
        key = None if token is None else await self._keyring.key_of(token)
        if key is None:
            _spaced(self._failures.take(address), "too many requests without a good key")
            if not presented:
                raise ProblemError(NO_KEY, headers={"WWW-Authenticate": _REALM})
            raise ProblemError(
                NO_KEY,
                "this key is not one of ours, or was revoked: send Authorization: Bearer do_…, "
                "as `client.py keys create` printed it",
                {"WWW-Authenticate": f'{_REALM}, error="invalid_token"'},
            )
        _spaced(self._per_key.take(key.id), f"too many requests with the key {key.name}")
        return key


def _token(presented: str) -> Token | None:
    scheme, _, token = presented.partition(" ")
    return Token.read(token.strip()) if scheme.lower() == "bearer" else None


def _address(scope: Scope) -> str:
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
