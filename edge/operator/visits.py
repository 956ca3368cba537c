"""Somebody who is let in: what the routes of the pages are handed, and how they answer."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any, Final
from urllib.parse import parse_qsl

from fastapi import Depends, Request
from starlette.responses import RedirectResponse, Response

from edge.admission import address_of
from edge.operator.browser import require_ours, ticket_of
from edge.operator.door import Door, LoggedOutError
from edge.operator.office import Office
from edge.operator.rendering import page
from edge.parts import Parts
from edge.problems import FORBIDDEN, MALFORMED, NOT_FOUND, ProblemError
from orders.ports import ProviderError
from orders.sessions import Session, Ticket, Word

log = logging.getLogger(__name__)

_FORM: Final = "application/x-www-form-urlencoded"
#: More than the largest form of ours has: a refund's, with a field per line.
_MOST_FIELDS: Final = 1_000
#: More than anybody types as a reason; it is kept in workflow history.
_LONGEST: Final = 500


@dataclass(frozen=True)
class Visit:
    """A request of an operator who has logged in."""

    request: Request
    office: Office
    ticket: Ticket
    session: Session

    @property
    def by(self) -> str:
        """Who decides: the name of the key."""
        return self.session.key.name

    async def page(self, template: str, status: int = 200, **shown: Any) -> Response:
        """A page, with what became of the request before it, if that was not said yet."""
        answer = page(
            template, status, by=self.by, ticket=self.ticket, word=self.session.word, **shown
        )
        if self.session.word is not None:
            await self.office.sessions.say(self.ticket.digest, None)
        return answer

    async def done(self, sentence: str, then: str) -> Response:
        """On to the page ``then``, which says that this was done."""
        return await self._say(Word(sentence, done=True), then)

    async def refused(self, sentence: str, then: str) -> Response:
        """On to the page ``then``, which says why nothing, or not all, was done."""
        return await self._say(Word(sentence, done=False), then)

    async def _say(self, word: Word, then: str) -> Response:
        try:
            await self.office.sessions.say(self.ticket.digest, word)
        except ProviderError as error:
            # It was done all the same: the page shows that, only without the sentence.
            log.warning("%s could not be told %r: %s", self.by, word.sentence, error)
        return RedirectResponse(then, 303)


def _office(edge: Parts) -> Office:
    if edge.office is None:
        raise ProblemError(NOT_FOUND)
    return edge.office


def _door(request: Request) -> Door:
    door: Door = request.app.state.door
    return door


AtDoor = Annotated[Door, Depends(_door)]


async def _visit(
    request: Request, office: Annotated[Office, Depends(_office)], door: AtDoor
) -> Visit:
    ticket = ticket_of(request)
    session = await door.session_of(ticket, address_of(request.scope))
    if ticket is None or session is None:
        raise LoggedOutError
    request.scope["state"]["key"] = session.key  # for the line in the log
    return Visit(request, office, ticket, session)


@dataclass(frozen=True)
class Form:
    """What was typed into a form, by the names of its fields."""

    fields: Mapping[str, str]

    def __getitem__(self, name: str) -> str:
        """One line, without what cannot be printed; empty when there is no such field."""
        typed = " ".join(self.fields.get(name, "").split())
        return "".join(filter(str.isprintable, typed))[:_LONGEST]


async def form_of(request: Request) -> Form:
    """The form that was sent, by a page of ours. Raises ``ProblemError``."""
    require_ours(request)
    if request.headers.get("content-type", "").partition(";")[0].strip().lower() != _FORM:
        raise ProblemError(MALFORMED, "send the form of the page")
    try:
        pairs = parse_qsl(
            (await request.body()).decode(), keep_blank_values=True, max_num_fields=_MOST_FIELDS
        )
    except ValueError:
        raise ProblemError(MALFORMED, "this is no form of ours") from None
    return Form(dict(pairs))


Visiting = Annotated[Visit, Depends(_visit)]


async def _sent(visit: Visiting, request: Request) -> Form:
    form = await form_of(request)
    if not visit.ticket.fits(form.fields.get("form_token", "")):
        raise ProblemError(
            FORBIDDEN, "this form is not of this session, nothing was done: open it again"
        )
    return form


Sent = Annotated[Form, Depends(_sent)]
