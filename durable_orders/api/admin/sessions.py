"""Session authentication: log in with an API key, authenticate a request, log out."""

from __future__ import annotations

import logging
import secrets
from collections import OrderedDict
from datetime import timedelta
from typing import Final

from durable_orders.api.dependencies import AdminDependencies
from durable_orders.api.rate_limits import AccessPolicy
from durable_orders.domain.operators.api_keys import Scope, Token
from durable_orders.domain.operators.sessions import SECRET_BYTES, Session, SessionToken

log = logging.getLogger(__name__)

#: How often the use of a session is stored: not every request is a write.
_USE_INTERVAL: Final = timedelta(minutes=1)
#: How many valid sessions are remembered.
_MAX_REMEMBERED: Final = 1_000


class LoginRefusedError(Exception):
    """A login was refused; the message says why."""


class NotLoggedInError(Exception):
    """The request has no valid session."""


class SessionAuth:
    """Sessions of the admin pages, opened with an API key of scope ``operator``."""

    def __init__(self, dependencies: AdminDependencies, policy: AccessPolicy) -> None:
        self._sessions = dependencies.sessions
        self._now = dependencies.now
        self._policy = policy
        # As with API keys: made-up tokens from the same address must not lock these out.
        self._remembered: OrderedDict[bytes, None] = OrderedDict()

    async def log_in(self, presented: str, address: str) -> SessionToken:
        """Open a session for the owner of an API key.

        Raises ``LoginRefusedError``, ``ProblemError`` above the rate limit, ``NoAnswerError``.
        """
        key = await self._policy.authenticate(Token.read(presented.strip()), address)
        if key is None:
            log.warning("a login from %s was refused: with no key of ours", address)
            raise LoginRefusedError("This is no key of ours, or it was revoked or has expired.")
        if not key.scope.includes(Scope.OPERATOR):
            self._policy.count_failure(address)
            log.warning(
                "a login from %s was refused: the key %s is of scope %s",
                address,
                key.name,
                key.scope,
            )
            raise LoginRefusedError(
                f"The key {key.name} is of scope {key.scope}. This page needs one of scope "
                f"{Scope.OPERATOR}."
            )
        self._policy.count_request(key)
        session_token, now = SessionToken(secrets.token_bytes(SECRET_BYTES)), self._now()
        await self._sessions.open(Session(session_token.digest, key, now, now))
        log.info("%s has logged in from %s", key.name, address)
        return session_token

    async def find_session(
        self, session_token: SessionToken | None, address: str
    ) -> Session | None:
        """The valid session of the token, if there is one.

        Raises ``ProblemError`` above the rate limit, and ``NoAnswerError``.
        """
        if session_token is None:
            return None
        digest = session_token.digest
        async with self._policy.lookup(address, is_known=digest in self._remembered):
            session = await self._sessions.find(digest)
        now = self._now()
        if session is None or session.is_over(now):
            self._remembered.pop(digest, None)
            await self._sessions.end(digest)
            self._policy.count_failure(address)
            return None
        self._policy.count_request(session.key)
        self._remember(digest)
        if now - session.seen_at >= _USE_INTERVAL:
            await self._sessions.note_use(digest, now)
        return session

    async def log_out(self, session_token: SessionToken) -> None:
        """End the session. Raises ``NoAnswerError``."""
        self._remembered.pop(session_token.digest, None)
        await self._sessions.end(session_token.digest)

    def _remember(self, digest: bytes) -> None:
        self._remembered[digest] = None
        self._remembered.move_to_end(digest)
        if len(self._remembered) > _MAX_REMEMBERED:
            self._remembered.popitem(last=False)
