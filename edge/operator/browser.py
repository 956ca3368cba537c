"""What a browser tells about a request, and what it keeps for us.

The cookie with the ticket is not for scripts, is not sent with what other sites start except for
following a link, and over TLS is bound to this very host. Plain HTTP is taken from this machine
only: on the way from elsewhere anybody could read the key.
"""

from __future__ import annotations

from typing import Final, Literal
from urllib.parse import urlsplit

from starlette.requests import Request
from starlette.responses import Response

from edge.problems import FORBIDDEN, ProblemError
from orders.sessions import LIFE, Ticket

_LOOPBACK: Final = frozenset({"127.0.0.1", "::1", "localhost"})
#: Browsers take a name with this prefix only from this host itself, over TLS and for all paths.
_OVER_TLS: Final = "__Host-operator"
_ON_THIS_MACHINE: Final = "operator"
#: A link in a mail or a chat leads to the page, not to the login: only GET is sent along, and no
#: GET changes anything.
_SAME_SITE: Final[Literal["lax"]] = "lax"


def require_private(request: Request) -> None:
    """Raises ``ProblemError`` when others on the way could read what is sent."""
    url = request.url
    if url.scheme != "https" and url.hostname not in _LOOPBACK:
        raise ProblemError(
            FORBIDDEN,
            "log in over https, or from this machine itself over http://127.0.0.1: on the way here "
            "others could read the key. Behind a proxy that ends TLS, API_TRUSTED_PROXIES has to "
            "name it",
        )


def require_ours(request: Request) -> None:
    """Raises ``ProblemError`` when a form was not sent by a page of ours, as the browser tells."""
    site, origin = request.headers.get("sec-fetch-site"), request.headers.get("origin")
    host = request.headers.get("host", "")
    is_ours = site in {None, "same-origin"} and (origin is None or urlsplit(origin).netloc == host)
    if not is_ours or (site is None and origin is None):
        raise ProblemError(FORBIDDEN, "this form was sent from another page: open it here again")


def ticket_of(request: Request) -> Ticket | None:
    """The ticket that the browser shows."""
    return Ticket.read(request.cookies.get(_name(request), ""))


def keep(ticket: Ticket, request: Request, response: Response) -> None:
    """Have the browser keep the ticket for as long as it can be good."""
    response.set_cookie(
        _name(request),
        str(ticket),
        max_age=int(LIFE.total_seconds()),
        path="/",
        secure=_is_over_tls(request),
        httponly=True,
        samesite=_SAME_SITE,
    )


def forget(request: Request, response: Response) -> None:
    """Have the browser forget its ticket."""
    response.delete_cookie(
        _name(request),
        path="/",
        secure=_is_over_tls(request),
        httponly=True,
        samesite=_SAME_SITE,
    )


def _is_over_tls(request: Request) -> bool:
    return request.url.scheme == "https"


def _name(request: Request) -> str:
    return _OVER_TLS if _is_over_tls(request) else _ON_THIS_MACHINE
