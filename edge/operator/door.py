"""Logging in and out, and who is behind a request."""

from __future__ import annotations

import logging
import secrets
from collections import OrderedDict
from datetime import timedelta
from typing import Final

from edge.admission import Admission
from edge.operator.office import Office
from orders.keys import Scope, Token
from orders.sessions import SECRET_BYTES, Session, Ticket

log = logging.getLogger(__name__)

#: A session's use is noted this often: not every look at a page is a write.
_USE_NOTED: Final = timedelta(minutes=1)
#: How many sessions are remembered to have been good.
_SEEN: Final = 1_000


class NotLetInError(Exception):
    """Whoever wants to log in cannot, or not with this key; the message says why."""


class LoggedOutError(Exception):
    """Nobody is logged in, or not any more."""


class Door:
    """Sessions at the operator's pages, opened with a key of scope ``operator``."""

    def __init__(self, office: Office, admission: Admission) -> None:
        self._office = office
        self._sessions = office.sessions
        self._admission = admission
        # As with keys: made-up tickets from the same address must not lock these out.
        self._seen: OrderedDict[bytes, None] = OrderedDict()

    async def log_in(self, presented: str, address: str) -> Ticket:
        """A new session for whoever has this key.

        Raises ``NotLetInError``, ``ProblemError`` when that was tried too often, ``NoAnswerError``.
        """
        key = await self._admission.key_of(Token.read(presented.strip()), address)
        if key is None:
            log.warning("a login with no key of ours was refused")
            raise NotLetInError("This is no key of ours, or it was revoked.")
        if not key.scope.includes(Scope.OPERATOR):
            self._admission.failed(address)
            log.warning("a login with the key %s of scope %s was refused", key.name, key.scope)
            raise NotLetInError(
                f"The key {key.name} is of scope {key.scope}. This page needs one of scope "
                f"{Scope.OPERATOR}."
            )
        self._admission.count(key)
        ticket, now = Ticket(secrets.token_bytes(SECRET_BYTES)), self._office.now()
        await self._sessions.open(Session(ticket.digest, key, now, now))
        log.info("%s has logged in", key.name)
        return ticket

    async def session_of(self, ticket: Ticket | None, address: str) -> Session | None:
        """The session that the ticket is of, if it may go on.

        Raises ``ProblemError`` when there are too many requests, or ``NoAnswerError``.
        """
        if ticket is None:
            return None
        digest = ticket.digest
        if digest not in self._seen:
            self._admission.look(address)
        session = await self._sessions.find(digest)
        now = self._office.now()
        if session is None or session.is_over(now):
            self._seen.pop(digest, None)
            await self._sessions.end(digest)
            self._admission.failed(address)
            return None
        self._admission.count(session.key)
        self._remember(digest)
        if now - session.seen_at >= _USE_NOTED:
            await self._sessions.note_use(digest, now)
        return session

    async def log_out(self, ticket: Ticket) -> None:
        """The ticket is good for nothing any more. Raises ``NoAnswerError``."""
        self._seen.pop(ticket.digest, None)
        await self._sessions.end(ticket.digest)

    def _remember(self, digest: bytes) -> None:
        self._seen[digest] = None
        self._seen.move_to_end(digest)
        if len(self._seen) > _SEEN:
            self._seen.popitem(last=False)
