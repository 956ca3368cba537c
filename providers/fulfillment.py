"""The warehouse over HTTP, as docs/warehouse-api.md describes it."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Annotated, Literal, Self, TypeVar
from urllib.parse import quote

import httpx
from pydantic import BaseModel, Field, ValidationError

from orders.messages import (
    AlreadyLeft,
    CannotFulfill,
    FulfillAnswer,
    Fulfilled,
    RecallAnswer,
    Recalled,
    ResendAnswer,
    Resent,
)
from orders.ports import LockedOutError, NoAnswerError, RefusedError, ShippingRequest
from providers.replies import wait_asked, without_private

_Id = Annotated[str, Field(min_length=1)]


class _Line(BaseModel):
    sku: _Id
    quantity: Annotated[int, Field(ge=1, strict=True)]


class _Parcel(BaseModel):
    id: _Id
    lines: list[_Line] = []


class _Accepted(BaseModel):
    id: _Id
    order_id: str
    parcels: Annotated[list[_Parcel], Field(min_length=1)]
    short: list[_Line] = []


class _Resent(BaseModel):
    id: _Id
    order_id: str
    parcel: _Parcel


class _Cancelled(BaseModel):
    id: str | None = None
    order_id: str
    outcome: Literal["recalled", "never_accepted", "already_left"]
    parcels: list[_Parcel] = []


class _Problem(BaseModel):
    code: str = ""
    message: str = ""


class _Problems(BaseModel):
    error: _Problem


_Answer = TypeVar("_Answer", _Accepted, _Resent, _Cancelled)


class HttpWarehouse:
    """``orders.ports.Warehouse`` over HTTP. Close it with ``aclose``.

    ``timeout`` is in seconds, for one question from beginning to end.
    """

    def __init__(
        self,
        url: str,
        api_key: str,
        *,
        timeout: float = 20.0,
        connect_timeout: float = 5.0,
        transport: httpx.AsyncBaseTransport | None = None,
    ) -> None:
        self._timeout = timeout
        self._http = httpx.AsyncClient(
            base_url=url.rstrip("/"),
            headers={"Authorization": f"Bearer {api_key}"},
            timeout=httpx.Timeout(timeout, connect=connect_timeout),
            limits=httpx.Limits(max_connections=50, max_keepalive_connections=20),
            transport=transport,
        )

    async def aclose(self) -> None:
        """Close the connections."""
        await self._http.aclose()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.aclose()

    async def fulfill(self, request: ShippingRequest, *, key: str) -> FulfillAnswer:
        who = request.recipient
        body = {
            "order_id": request.order_id,
            "ship_to": {"name": who.name, "address": who.address},
            "lines": [{"sku": sku, "quantity": count} for sku, count in request.quantities],
        }
        async with self._asking("fulfil"):
            reply = await self._http.post(
                "/fulfillments", json=body, headers={"Idempotency-Key": key}
            )
        problem = _problem(reply)
        # The warehouse's words go into the workflow's history, the customer's data must not.
        message = without_private(problem.message, who.name, who.email, *who.address.splitlines())
        if refused := _refusal(reply.status_code, problem.code, message, request.order_id):
            return refused
        _raise_for(reply, "fulfil", message)
        accepted = _read(_Accepted, reply, request.order_id)
        parcel_ids = tuple(parcel.id for parcel in accepted.parcels)
        short, contents = _short(accepted, request), _contents(accepted, request)
        return Fulfilled(accepted.id, parcel_ids, short, contents)

    async def resend(self, order_id: str, parcel_id: str, *, key: str) -> ResendAnswer:
        path = f"/fulfillments/{quote(order_id, safe='')}/parcels/{quote(parcel_id, safe='')}"
        async with self._asking("resend"):
            reply = await self._http.post(f"{path}/resend", headers={"Idempotency-Key": key})
        problem = _problem(reply)
        message = without_private(problem.message)
        if refused := _refusal(reply.status_code, problem.code, message, order_id):
            return refused
        _raise_for(reply, "resend", message)
        resent = _read(_Resent, reply, order_id)
        if resent.parcel.id == parcel_id:
            raise NoAnswerError(f"the warehouse names no new parcel for {parcel_id}")
        return Resent(resent.id, resent.parcel.id)

    async def cancel(self, order_id: str) -> RecallAnswer:
        async with self._asking("cancel"):
            reply = await self._http.post(f"/fulfillments/{quote(order_id, safe='')}/cancel")
        _raise_for(reply, "cancel", without_private(_problem(reply).message))
        cancelled = _read(_Cancelled, reply, order_id)
        if cancelled.outcome == "already_left":
            if not cancelled.id or not cancelled.parcels:
                raise NoAnswerError(f"the warehouse does not say what left for order {order_id}")
            return AlreadyLeft(cancelled.id, tuple(parcel.id for parcel in cancelled.parcels))
        return Recalled()

    @asynccontextmanager
    async def _asking(self, asking: str) -> AsyncIterator[None]:
        try:
            async with asyncio.timeout(self._timeout):
                yield
        except (httpx.HTTPError, httpx.InvalidURL, OSError) as error:  # TimeoutError is an OSError
            raise NoAnswerError(f"the warehouse gave no answer ({asking}): {error!r}") from error


def _refusal(status: int, code: str, message: str, order_id: str) -> CannotFulfill | None:
    """The warehouse's no to shipping something, None when it said anything else."""
    match status, code:
        case 422, "cannot_fulfill":
            return CannotFulfill(message or "no reason given")
        case 409, "fulfillment_cancelled":
            return CannotFulfill(f"order {order_id} was cancelled before")
    return None


def _raise_for(reply: httpx.Response, asking: str, message: str) -> None:
    """Raise what a reply that is not a success means; ``message`` is what it says."""
    status, code = reply.status_code, _problem(reply).code
    if 200 <= status < 300:
        return
    said = f"({asking}, HTTP {status} {code}): {message}"
    wait = wait_asked(reply.headers)
    if status in {401, 403}:
        raise LockedOutError(
            f"the warehouse refuses our key ({asking}, HTTP {status}): check FULFILLMENT_API_KEY",
            retry_after=wait,
        )
    # Without a code of the contract it may be a proxy that speaks, not the warehouse.
    not_now = code == "idempotency_key_in_use" or status in {408, 425, 429}
    if 400 <= status < 500 and code and not not_now:
        raise RefusedError(f"the warehouse refuses the request {said}")
    raise NoAnswerError(f"the warehouse gave no answer {said}", retry_after=wait)


def _short(accepted: _Accepted, request: ShippingRequest) -> tuple[tuple[str, int], ...]:
    """What of the request will not be shipped. Money is given back for it, so it must make sense:
    raises ``NoAnswerError`` for what was not asked for, and for all of it.
    """
    asked, short = _asked(request), _pieces(accepted.short)
    # A Counter is less than another when it is within it, and not all of it.
    if not short < asked:
        raise NoAnswerError(
            f"the warehouse is short of {dict(short)} for order {request.order_id}, "
            f"which asked for {dict(asked)}"
        )
    return tuple(short.items())


def _contents(
    accepted: _Accepted, request: ShippingRequest
) -> dict[str, tuple[tuple[str, int], ...]]:
    """What each parcel holds, of those that tell. Money may be given back for it, so it must make
    sense: raises ``NoAnswerError`` for a parcel that holds more than was asked for.
    """
    asked = _asked(request)
    held = {parcel.id: _pieces(parcel.lines) for parcel in accepted.parcels if parcel.lines}
    for parcel_id, pieces in held.items():
        if not pieces <= asked:
            raise NoAnswerError(
                f"parcel {parcel_id} holds {dict(pieces)} for order {request.order_id}, "
                f"which asked for {dict(asked)}"
            )
    return {parcel_id: tuple(pieces.items()) for parcel_id, pieces in held.items()}


def _asked(request: ShippingRequest) -> Counter[str]:
    asked = Counter[str]()
    for sku, count in request.quantities:
        asked[sku] += count
    return asked


def _pieces(lines: list[_Line]) -> Counter[str]:
    pieces = Counter[str]()
    for line in lines:
        pieces[line.sku] += line.quantity
    return pieces


def _problem(reply: httpx.Response) -> _Problem:
    """The error in the reply; an empty one when there is none of the documented shape."""
    try:
        return _Problems.model_validate_json(reply.content).error
    except ValidationError:
        return _Problem()


def _read(kind: type[_Answer], reply: httpx.Response, order_id: str) -> _Answer:
    """The reply as ``kind``, of this very order. Raises ``NoAnswerError`` for anything else."""
    try:
        answer = kind.model_validate_json(reply.content)
    except ValidationError as error:
        # Without the input, which may be anything, and without pydantic's text, which quotes it.
        wrong = ", ".join(
            f"{'.'.join(map(str, problem['loc'])) or 'body'}: {problem['type']}"
            for problem in error.errors(include_input=False)
        )
        raise NoAnswerError(f"the warehouse's answer makes no sense: {wrong}") from None
    if answer.order_id != order_id:
        raise NoAnswerError(f"the warehouse answered for another order than {order_id}")
    return answer
