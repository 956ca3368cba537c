"""What the key of a request may do."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import Depends, Request
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer

from edge.problems import FORBIDDEN, ProblemError
from orders.keys import ApiKey, Scope

_BEARER = HTTPBearer(
    scheme_name="key",
    bearerFormat="do_<id>_<secret>",
    description="A key that `python client.py keys create NAME --scope SCOPE` printed.",
    auto_error=False,  # edge.gate has looked at it already
)


def caller_of(request: Request) -> ApiKey:
    """The key that let this request in."""
    key: ApiKey = request.scope["state"]["key"]
    return key


#: A route's argument: who asks.
Caller = Annotated[ApiKey, Depends(caller_of)]


def needs(scope: Scope) -> Any:
    """For the ``dependencies`` of a route: only for keys of this scope, or one that includes it."""

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
