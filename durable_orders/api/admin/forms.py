"""Authenticated requests of operators, their forms, and the responses to them."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any, Final
from urllib.parse import parse_qsl

from fastapi import Depends, Request
from starlette.responses import RedirectResponse, Response

from durable_orders.api.admin.cookies import read_session_token, require_same_origin
from durable_orders.api.admin.sessions import NotLoggedInError, SessionAuth
from durable_orders.api.admin.templating import render_page
from durable_orders.api.dependencies import AdminDependencies, Deps
from durable_orders.api.problems import FORBIDDEN, MALFORMED, NOT_FOUND, ProblemError
from durable_orders.api.rate_limits import client_address
from durable_orders.domain.operators.sessions import FlashMessage, Session, SessionToken
from durable_orders.domain.ports import ProviderError

log = logging.getLogger(__name__)

_FORM: Final = "application/x-www-form-urlencoded"
#: Above the largest form, a refund's, with a field per line.
_MAX_FIELDS: Final = 1_000
#: Of a field, in characters; a reason is kept in workflow history.
_MAX_LENGTH: Final = 500


@dataclass(frozen=True)
class AdminRequest:
    """A request of an operator who is logged in."""

    request: Request
    dependencies: AdminDependencies
    session_token: SessionToken
    session: Session

    @property
    def by(self) -> str:
        """The operator: the name of the API key."""
        return self.session.key.name

    async def page(self, template: str, status: int = 200, **context: Any) -> Response:
        """Render a page, with the flash message if there is one, and clear that."""
        flash = self.session.flash
        response = render_page(
            template, status, by=self.by, session_token=self.session_token, flash=flash, **context
        )
        if flash is not None:
            await self.dependencies.sessions.set_flash(self.session_token.digest, None)
        return response

    async def redirect_done(self, sentence: str, then: str) -> Response:
        """Redirect to ``then``, which shows the message as done."""
        return await self._redirect(FlashMessage(sentence, done=True), then)

    async def redirect_refused(self, sentence: str, then: str) -> Response:
        """Redirect to ``then``, which shows why nothing, or not all, was done."""
        return await self._redirect(FlashMessage(sentence, done=False), then)

    async def _redirect(self, flash: FlashMessage, then: str) -> Response:
        try:
            await self.dependencies.sessions.set_flash(self.session_token.digest, flash)
        except ProviderError as error:
            # The action is done: the next page shows its effect, without the message.
            log.warning("%s could not be told %r: %s", self.by, flash.sentence, error)
        return RedirectResponse(then, 303)


async def _get_admin_dependencies(dependencies: Deps) -> AdminDependencies:
    if dependencies.admin is None:
        raise ProblemError(NOT_FOUND)
    return dependencies.admin


async def _get_session_auth(request: Request) -> SessionAuth:
    session_auth: SessionAuth = request.app.state.session_auth
    return session_auth


Auth = Annotated[SessionAuth, Depends(_get_session_auth)]


async def _authenticate(
    request: Request,
    dependencies: Annotated[AdminDependencies, Depends(_get_admin_dependencies)],
    auth: Auth,
) -> AdminRequest:
    session_token = read_session_token(request)
    session = await auth.find_session(session_token, client_address(request.scope))
    if session_token is None or session is None:
        raise NotLoggedInError
    request.scope["state"]["key"] = session.key  # for the access log
    return AdminRequest(request, dependencies, session_token, session)


@dataclass(frozen=True)
class Form:
    """A submitted form: the values by field name."""

    fields: Mapping[str, str]

    def __getitem__(self, name: str) -> str:
        """The value as one line of printable characters; empty when there is no such field."""
        line = " ".join(self.fields.get(name, "").split())
        return "".join(filter(str.isprintable, line))[:_MAX_LENGTH]


async def read_form(request: Request) -> Form:
    """Read a form that a page of this origin sent. Raises ``ProblemError``."""
    require_same_origin(request)
    if request.headers.get("content-type", "").partition(";")[0].strip().lower() != _FORM:
        raise ProblemError(MALFORMED, "send the form of the page")
    try:
        pairs = parse_qsl(
            (await request.body()).decode(), keep_blank_values=True, max_num_fields=_MAX_FIELDS
        )
    except ValueError:
        raise ProblemError(MALFORMED, "this is no form of ours") from None
    return Form(dict(pairs))


#: A route's argument: an authenticated request.
Admin = Annotated[AdminRequest, Depends(_authenticate)]


async def _read_verified_form(admin: Admin, request: Request) -> Form:
    form = await read_form(request)
    if not admin.session_token.fits(form.fields.get("form_token", "")):
        raise ProblemError(
            FORBIDDEN, "this form is not of this session, nothing was done: open it again"
        )
    return form


#: A route's argument: a form whose token belongs to the session (CSRF protection).
VerifiedForm = Annotated[Form, Depends(_read_verified_form)]
