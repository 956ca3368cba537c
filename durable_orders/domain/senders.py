"""Who sent a request: as authenticated, and as they say.

See ``workflow_messages``.
"""

from __future__ import annotations

from typing import Protocol, TypeVar

from durable_orders.domain.texts import InvalidTextError, check_texts

UNKNOWN = "unknown"


class Sent(Protocol):
    """A request that names who sent it."""

    @property
    def by(self) -> str: ...

    @property
    def actor(self) -> str: ...


Request = TypeVar("Request", bound=Sent)


def sender(request: Sent) -> str:
    """Who sent it, for sentences: the actor, and beside it whom they name."""
    if not request.actor or request.actor == request.by:
        return request.by
    return f"{request.actor} (for {request.by})"


def sender_detail(request: Sent) -> dict[str, str]:
    """Who sent it, for a line of the history."""
    return {"by": request.by, "actor": request.actor} if request.actor else {"by": request.by}


def sent(request: Request) -> Request:
    """Return the request. Raises ``InvalidTextError`` unless its names, ids and remarks are of
    their formats.
    """
    check_texts(request)
    return request


def is_well_sent(request: object) -> bool:
    """Whether its texts are of their formats, for a signal, which cannot be refused."""
    try:
        check_texts(request)
    except InvalidTextError:
        return False
    return True
