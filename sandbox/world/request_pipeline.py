"""The one way in: every request to a neighbour passes here, in the same order of events.

The key is claimed, dials that act before the work are met, then in one transaction the key's
first answer is looked up or the work is done and its answer kept, then dials that act after the
work are met. What an idempotency key means is told apart by each neighbour's own documentation:

* Stripe, "Idempotent requests": the first answer is kept, whether it succeeded or failed, once
  the endpoint began executing; failed validation and concurrent use keep nothing.
* Resend, "Idempotency keys": 24 hours, the same id is answered again.
* the warehouse: `docs/warehouse-api.md`.
"""

import hashlib
import json
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Final, Protocol

from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from sandbox.world.faults import AFTER, BEFORE, DURING, Dial, DialBoard
from sandbox.world.state_store import Doc, Ledger, Remembered

Clock = Callable[[], float]
"""Seconds since 1970, as `time.time`."""


@dataclass(frozen=True)
class Answer:
    """What a neighbour says. `began` is False when the request was turned away at the door."""

    status: int
    body: Doc
    headers: Mapping[str, str] = field(default_factory=dict)
    began: bool = True


class Refused(Exception):  # noqa: N818  not an error of ours: it is the answer
    """Raised by a work to answer something else than success.

    Effects made so far stay (a declined card leaves a failed charge), unless the answer says that
    the request was turned away (`began` is False).
    """

    def __init__(self, answer: Answer) -> None:
        super().__init__(answer.body)
        self.answer = answer


@dataclass(frozen=True)
class Call:
    """A request, as far as dials and idempotency look at it."""

    endpoint: str
    path: str
    request_id: str
    order_id: str | None = None
    key: str | None = None
    fingerprint: str = ""
    skus: tuple[str, ...] = ()


#: Modes of a dial that the work itself understands.
_BUSINESS: Final = frozenset({"refuse", "split", "short"})

Work = Callable[[Dial | None], Answer]
"""Does the request inside the transaction; a `refuse`, `split` or `short` dial is handed to it."""


class Neighbour(Protocol):
    """How one outside service words the failures that are not about its business."""

    name: str
    key_lifetime: float
    keeps_refusals: bool

    def headers(self, call: Call) -> Mapping[str, str]: ...
    def replayed(self, call: Call, first: Remembered) -> Mapping[str, str]: ...
    def in_use(self, call: Call) -> Answer: ...
    def mismatch(self, call: Call, first: Remembered) -> Answer: ...
    def rate_limited(self, call: Call, seconds: float) -> Answer: ...
    def broken(self, call: Call) -> Answer: ...


class HungUp(Response):
    """Closes the TCP connection without a byte of answer (`server.py` hands the means)."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:  # noqa: ARG002
        scope["extensions"]["hang_up"]()
        while (await receive())["type"] != "http.disconnect":
            pass


class Reception:
    """Receives calls for all neighbours on one ledger and one board of dials."""

    def __init__(self, ledger: Ledger, board: DialBoard, clock: Clock = time.time) -> None:
        self.ledger = ledger
        self.board = board
        self.clock = clock
        self._in_flight: set[tuple[str, str]] = set()

    async def receive(self, neighbour: Neighbour, call: Call, work: Work) -> Response:
        if call.key is None:
            return await self._answer(neighbour, call, work)
        claim = (neighbour.name, call.key)
        if claim in self._in_flight:
            return self._spoken(neighbour, call, neighbour.in_use(call))
        self._in_flight.add(claim)
        try:
            return await self._answer(neighbour, call, work)
        finally:
            self._in_flight.discard(claim)

    async def _answer(self, neighbour: Neighbour, call: Call, work: Work) -> Response:
        for dial in await self._hits(BEFORE, call):
            match dial.mode:
                case "delay":
                    await self.board.hold(dial)
                case "rate_limit":
                    limited = neighbour.rate_limited(call, dial.seconds)
                    return self._spoken(neighbour, call, limited)
                case "error":
                    return self._spoken(neighbour, call, neighbour.broken(call))
                case _:
                    return HungUp()
        answer = await self._once(neighbour, call, work)
        for dial in await self._hits(AFTER, call):
            if dial.mode == "hang_up_after":
                return HungUp()
            await self.board.hold(dial)
        return answer

    async def _once(self, neighbour: Neighbour, call: Call, work: Work) -> Response:
        """Answer a key's first answer again, or do the work and keep its answer."""
        first = self._first_answer(neighbour, call)
        if first is None:
            dials = await self._hits(DURING, call)
            # Nothing awaits from here to the commit, so no other request comes between.
            try:
                with self.ledger.transaction():
                    answer = self._work(neighbour, call, work, dials)
            except Refused as turned_away:  # rolled back
                answer = turned_away.answer
            return self._spoken(neighbour, call, answer)
        if (first.path, first.fingerprint) != (call.path, call.fingerprint):
            return self._spoken(neighbour, call, neighbour.mismatch(call, first))
        headers = {**neighbour.headers(call), **neighbour.replayed(call, first)}
        return Response(first.body, first.status, headers, media_type="application/json")

    def _first_answer(self, neighbour: Neighbour, call: Call) -> Remembered | None:
        if call.key is None:
            return None
        not_before = self.clock() - neighbour.key_lifetime
        return self.ledger.remembered(neighbour.name, call.key, not_before)

    def _work(self, neighbour: Neighbour, call: Call, work: Work, dials: list[Dial]) -> Answer:
        modes = {dial.mode for dial in dials}
        business = next((dial for dial in dials if dial.mode in _BUSINESS), None)
        broken = neighbour.broken(call)
        if "error_saved" in modes:
            self._keep(neighbour, call, broken)
            return broken
        try:
            answer = work(business)
        except Refused as refused:
            if not refused.answer.began:
                raise
            answer = refused.answer
        if "error_after" in modes:
            self._keep(neighbour, call, broken if neighbour.keeps_refusals else answer)
            return broken
        self._keep(neighbour, call, answer)
        return answer

    def _keep(self, neighbour: Neighbour, call: Call, answer: Answer) -> None:
        kept = answer.began and (answer.status < 400 or neighbour.keeps_refusals)
        if call.key is not None and kept:
            body = json.dumps(answer.body)
            remembered = Remembered(
                call.path, call.fingerprint, answer.status, body, call.request_id
            )
            self.ledger.remember(neighbour.name, call.key, remembered, self.clock())

    async def _hits(self, modes: tuple[str, ...], call: Call) -> list[Dial]:
        return await self.board.hits(modes, call.endpoint, call.order_id, call.skus)

    def _spoken(self, neighbour: Neighbour, call: Call, answer: Answer) -> Response:
        return answered(answer, neighbour.headers(call))


def fingerprint(params: Doc) -> str:
    """Tells one request's parameters from another's, in whatever order they were sent."""
    return hashlib.sha256(json.dumps(params, sort_keys=True).encode()).hexdigest()


def answered(answer: Answer, headers: Mapping[str, str]) -> Response:
    """An answer as HTTP."""
    headers = {**headers, **answer.headers}
    return Response(json.dumps(answer.body), answer.status, headers, media_type="application/json")
