"""The session cookie, and checks of a request's connection and origin.

The cookie is HttpOnly, SameSite=Lax, and over TLS bound to this host. Logging in over plain HTTP is
possible on this machine only: on a network others could read the key.
"""

from __future__ import annotations

from ipaddress import ip_address
from typing import Final, Literal

from starlette.requests import Request
from starlette.responses import Response

from durable_orders.api.problems import FORBIDDEN, ProblemError
from durable_orders.domain.operators.sessions import MAX_AGE, SessionToken

_LOOPBACK: Final = frozenset({"127.0.0.1", "::1", "localhost"})
#: Browsers accept this prefix only from this host itself, over TLS and for all paths.
_TLS_COOKIE: Final = "__Host-operator"
_LOCAL_COOKIE: Final = "operator"
#: A link in a mail opens the page without a new login. From other sites browsers send the cookie
#: only with a followed link, a GET, and no GET changes anything.
_SAME_SITE: Final[Literal["lax"]] = "lax"


def require_secure_connection(request: Request) -> None:
    """Raises ``ProblemError`` unless the request came over TLS or from this machine."""
    url = request.url
    # The host is what the client claims, so its address has to be of this machine, too.
    client = request.client.host if request.client else ""
    is_here = url.hostname in _LOOPBACK and _is_loopback(client)
    if url.scheme != "https" and not is_here:
        raise ProblemError(
            FORBIDDEN,
            "log in over https, or from this machine itself over http://127.0.0.1: on the way here "
            "others could read the key. Behind a proxy that ends TLS, API_TRUSTED_PROXIES has to "
            "name it",
        )


def _is_loopback(address: str) -> bool:
    try:
        return ip_address(address).is_loopback
    except ValueError:
        return not address  # a Unix socket


def require_same_origin(request: Request) -> None:
    """Raises ``ProblemError`` when a form was sent by a page of another origin."""
    site, origin = request.headers.get("sec-fetch-site"), request.headers.get("origin")
    host = request.headers.get("host", "")
    is_same_origin = site in {None, "same-origin"} and (
        # Compared as text: a client may send anything here, and a parser refuses some of it.
        origin is None or origin.partition("://")[2] == host
    )
    if not is_same_origin or (site is None and origin is None):
        raise ProblemError(FORBIDDEN, "this form was sent from another page: open it here again")


def read_session_token(request: Request) -> SessionToken | None:
    """The session token in the cookie."""
    return SessionToken.read(request.cookies.get(_cookie_name(request), ""))


def set_session_cookie(session_token: SessionToken, request: Request, response: Response) -> None:
    """Set the cookie, for as long as a session can last."""
    response.set_cookie(
        _cookie_name(request),
        str(session_token),
        max_age=int(MAX_AGE.total_seconds()),
        path="/",
        secure=_is_over_tls(request),
        httponly=True,
        samesite=_SAME_SITE,
    )


def delete_session_cookie(request: Request, response: Response) -> None:
    """Delete the cookie."""
    response.delete_cookie(
        _cookie_name(request),
        path="/",
        secure=_is_over_tls(request),
        httponly=True,
        samesite=_SAME_SITE,
    )


def _is_over_tls(request: Request) -> bool:
    return request.url.scheme == "https"


def _cookie_name(request: Request) -> str:
    return _TLS_COOKIE if _is_over_tls(request) else _LOCAL_COOKIE
