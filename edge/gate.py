"""Who may come in: every request needs a key, except to the routes that are open to all."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Final

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Receive, Scope, Send

from edge.admission import Admission, address_of
from edge.problems import NO_KEY, UNAVAILABLE, ProblemError, answer
from orders.keys import ApiKey, Token
from orders.ports import ProviderError

log = logging.getLogger(__name__)

_REALM: Final = 'Bearer realm="durable-orders"'


class Gate:
    """Lets requests with a good key through, before anything of their body is read.

    ``is_open`` tells for a request whether it needs no key; ``admission`` who may ask how often.
    """

    def __init__(
        self, app: ASGIApp, *, admission: Admission, is_open: Callable[[Scope], bool]
    ) -> None:
        self._app = app
        self._admission = admission
        self._is_open = is_open

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
        key = await self._admission.key_of(_token(presented), address_of(scope))
        if key is None:
            if not presented:
                raise ProblemError(NO_KEY, headers={"WWW-Authenticate": _REALM})
            raise ProblemError(
                NO_KEY,
                "this key is not one of ours, or was revoked: send Authorization: Bearer do_…, "
                "as `client.py keys create` printed it",
                {"WWW-Authenticate": f'{_REALM}, error="invalid_token"'},
            )
        self._admission.count(key)
        return key


def _token(presented: str) -> Token | None:
    scheme, _, token = presented.partition(" ")
    return Token.read(token.strip()) if scheme.lower() == "bearer" else None
