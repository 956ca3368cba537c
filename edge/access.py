"""Authorization: the API key of a request, and the scope that a route needs."""

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
    auto_error=False,  # edge.gate has checked it
)


def get_caller(request: Request) -> ApiKey:
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
