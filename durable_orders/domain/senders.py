"""Who sent a request: as authenticated, and as they say.

See ``workflow_messages``.
"""

from __future__ import annotations

from typing import Protocol, TypeVar

from durable_orders.domain.ids import ACTOR_ID
from durable_orders.domain.texts import REMARK, InvalidTextError

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


def check_sender(request: Sent, *remarks: str) -> None:
    """Raise ``InvalidTextError`` unless both names, and the ``remarks``, are of their formats."""
    ACTOR_ID.check(request.by)
    if request.actor:
        ACTOR_ID.check(request.actor)
    for remark in remarks:
        REMARK.check(remark)


def sent(request: Request, *remarks: str) -> Request:
    """Return the request. Raises ``InvalidTextError`` as ``check_sender`` does."""
    check_sender(request, *remarks)
    return request


def is_well_sent(request: Sent) -> bool:
    """Whether both names are of their format, for a signal, which cannot be refused."""
    try:
        check_sender(request)
    except InvalidTextError:
        return False
    return True
