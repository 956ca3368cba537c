"""Client of the warehouse's HTTP API, see docs/warehouse-api.md."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Annotated, Literal, Self, TypeVar
from urllib.parse import quote

from pydantic import BaseModel, Field, ValidationError

from durable_orders.domain.activity_messages import (
    AlreadyLeft,
    ContentsUnknown,
    Fulfilled,
    FulfillmentCancelled,
    ReadFulfillmentAnswer,
    Resent,
    WarehouseCancelAnswer,
)
from durable_orders.domain.ids import warehouse_reference
from durable_orders.domain.parcels import MOST_PARCELS
from durable_orders.domain.ports import (
    BusyError,
    LockedOutError,
    NoAnswerError,
    RefusedError,
    ShippingRefused,
    ShippingRequest,
)
from durable_orders.providers.http_client import HttpClient, HttpReply, to_json
from durable_orders.providers.http_replies import (
    UNKNOWN_CODE,
    TransportError,
    bounded_code,
    failure_name,
    parse_retry_after,
    without_private,
)
from durable_orders.providers.warehouse.schemas import FulfillmentId, Line, Lines, Parcel


class _Accepted(BaseModel):
    id: FulfillmentId
    order_id: str
    parcels: Annotated[list[Parcel], Field(min_length=1, max_length=MOST_PARCELS, fail_fast=True)]
    short: Lines = []


class _Record(BaseModel):
    id: FulfillmentId
    order_id: str
    status: str = ""
    parcels: Annotated[list[Parcel], Field(max_length=MOST_PARCELS, fail_fast=True)]
    #: None: the record does not say whether anything is short.
    short: Lines | None = None


class _Resent(BaseModel):
    id: FulfillmentId
    order_id: str
    parcel: Parcel


class _Cancelled(BaseModel):
    id: FulfillmentId | None = None
    order_id: str
    outcome: Literal["recalled", "never_accepted", "already_left"]
    parcels: Annotated[list[Parcel], Field(max_length=MOST_PARCELS, fail_fast=True)] = []


class _Problem(BaseModel):
    code: str = ""
    message: str = ""


class _Problems(BaseModel):
    error: _Problem


_Answer = TypeVar("_Answer", _Accepted, _Record, _Resent, _Cancelled)


class HttpWarehouse:
    """``Warehouse`` over HTTP. Close it with ``aclose``.

    ``timeout`` is in seconds, for a whole call.
    """

    def __init__(
        self,
        url: str,
        api_key: str,
        *,
        timeout: float = 20.0,
        connect_timeout: float = 5.0,
    ) -> None:
        self._timeout = timeout
        self._url = url.rstrip("/")
        self._headers = {"Authorization": f"Bearer {api_key}"}
        self._http = HttpClient(timeout=timeout, connect_timeout=connect_timeout)

    async def aclose(self) -> None:
        """Close the connections."""
        await self._http.aclose()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.aclose()

    async def fulfill(self, request: ShippingRequest, *, key: str) -> Fulfilled | ShippingRefused:
        recipient = request.recipient
        reference = warehouse_reference(request.installation, request.order_id)
        body = {
            "order_id": reference,
            "ship_to": {"name": recipient.name, "address": recipient.address},
            "lines": [{"sku": sku, "quantity": count} for sku, count in request.quantities],
        }
        async with self._translate_errors("fulfil"):
            reply = await self._request("POST", "/fulfillments", key=key, body=body)
        problem = _problem(reply)
        private = (recipient.name, recipient.email, *recipient.address.splitlines())
        said = without_private(problem.message, *private)
        if refused := _refusal(reply.status, problem.code, said):
            return refused
        _raise_for(reply, "fulfil", problem.code, said)
        accepted = _read(_Accepted, reply, reference)
        parcel_ids = tuple(parcel.id for parcel in accepted.parcels)
        short = _short(accepted.short, request)
        contents = _contents(accepted.parcels, request)
        return Fulfilled(accepted.id, parcel_ids, short, contents)

    async def read(self, request: ShippingRequest) -> ReadFulfillmentAnswer:
        reference = warehouse_reference(request.installation, request.order_id)
        async with self._translate_errors("read"):
            reply = await self._request("GET", f"/fulfillments/{quote(reference, safe='')}")
        problem = _problem(reply)
        if (reply.status, problem.code) == (404, "not_found"):
            return ContentsUnknown("the warehouse has no record of the order")
        recipient = request.recipient
        private = (recipient.name, recipient.email, *recipient.address.splitlines())
        _raise_for(reply, "read", problem.code, without_private(problem.message, *private))
        return _first_answer(_read(_Record, reply, reference), request)

    async def resend(
        self, order_id: str, parcel_id: str, *, installation: str, key: str
    ) -> Resent | ShippingRefused:
        reference = warehouse_reference(installation, order_id)
        path = f"/fulfillments/{quote(reference, safe='')}/parcels/{quote(parcel_id, safe='')}"
        async with self._translate_errors("resend"):
            reply = await self._request("POST", f"{path}/resend", key=key)
        problem = _problem(reply)
        said = without_private(problem.message)
        if refused := _refusal(reply.status, problem.code, said):
            return refused
        _raise_for(reply, "resend", problem.code, said)
        resent = _read(_Resent, reply, reference)
        if resent.parcel.id == parcel_id:
            raise NoAnswerError(f"the warehouse names no new parcel for {parcel_id}")
        return Resent(resent.id, resent.parcel.id)

    async def cancel(self, order_id: str, *, installation: str) -> WarehouseCancelAnswer:
        reference = warehouse_reference(installation, order_id)
        async with self._translate_errors("cancel"):
            reply = await self._request("POST", f"/fulfillments/{quote(reference, safe='')}/cancel")
        problem = _problem(reply)
        _raise_for(reply, "cancel", problem.code, without_private(problem.message))
        cancelled = _read(_Cancelled, reply, reference)
        if cancelled.outcome == "already_left":
            if not cancelled.id or not cancelled.parcels:
                raise NoAnswerError(f"the warehouse does not say what left for order {order_id}")
            return AlreadyLeft(cancelled.id, tuple(parcel.id for parcel in cancelled.parcels))
        return FulfillmentCancelled()

    async def _request(
        self, method: str, path: str, *, key: str | None = None, body: object = None
    ) -> HttpReply:
        headers = dict(self._headers)
        if key is not None:
            headers["Idempotency-Key"] = key
        if body is not None:
            headers["Content-Type"] = "application/json"
        content = None if body is None else to_json(body)
        return await self._http.request(method, self._url + path, headers=headers, body=content)

    @asynccontextmanager
    async def _translate_errors(self, operation: str) -> AsyncIterator[None]:
        """Limit the time of the block, and raise ``NoAnswerError`` for what breaks it off."""
        try:
            async with asyncio.timeout(self._timeout):
                yield
        except (TransportError, TimeoutError) as error:
            why = failure_name(error)
            raise NoAnswerError(f"the warehouse gave no answer ({operation}): {why}") from None


def _refusal(status: int, code: str, said: str) -> ShippingRefused | None:
    """The warehouse's refusal to ship, None for any other reply."""
    is_one = (status, code) in {(422, "cannot_fulfill"), (409, "fulfillment_cancelled")}
    return ShippingRefused(code, said) if is_one else None


def _raise_for(reply: HttpReply, operation: str, code: str, said: str) -> None:
    """Raise the error of a reply that is not a success: with its ``code``, and what it ``said`` in
    its own words kept apart from the sentence.
    """
    status = reply.status
    if 200 <= status < 300:
        return
    detail = f"({operation}, HTTP {status}{code and f', {code}'})"
    wait = parse_retry_after(reply.headers)
    if status in {401, 403}:
        raise LockedOutError(
            f"the warehouse refuses our key ({operation}, HTTP {status}): "
            "check FULFILLMENT_API_KEY",
            retry_after=wait,
            said=said,
        )
    if code == "idempotency_key_in_use" or status in {425, 429}:
        raise BusyError(f"the warehouse is busy {detail}", retry_after=wait, said=said)
    # A 4xx without a code, or with what is none, may come from a proxy, not from the warehouse.
    if 400 <= status < 500 and code not in {"", UNKNOWN_CODE} and status != 408:
        raise RefusedError(f"the warehouse refuses the request {detail}", said=said)
    raise NoAnswerError(f"the warehouse gave no answer {detail}", retry_after=wait, said=said)


def _first_answer(record: _Record, request: ShippingRequest) -> ReadFulfillmentAnswer:
    """What the warehouse answered when it accepted the order, as far as its record says.

    A record that says neither what is short nor what all the parcels hold may leave anything out.
    """
    # A replacement holds what another parcel held: it was not in the first answer.
    parcels = [parcel for parcel in record.parcels if parcel.resends is None]
    parcel_ids = tuple(parcel.id for parcel in parcels)
    if not parcels or record.status == "recalled":
        return ContentsUnknown("the warehouse's record says that nothing of the order will leave")
    try:
        short = _short(record.short or [], request)
        contents = _contents(parcels, request)
    except NoAnswerError as error:
        return ContentsUnknown(str(error), parcel_ids)
    packed = _pieces([line for parcel in parcels for line in parcel.lines])
    if record.short is None and packed != _requested(request):
        message = "the warehouse's record does not say what of the order is short"
        return ContentsUnknown(message, parcel_ids)
    return Fulfilled(record.id, parcel_ids, short, contents)


def _short(lines: list[Line], request: ShippingRequest) -> tuple[tuple[str, int], ...]:
    """The pieces that will not be shipped, as (sku, pieces). The shop refunds them, so they must be
    plausible: raises ``NoAnswerError`` for pieces that were not requested, and for all of them.
    """
    requested, short = _requested(request), _pieces(lines)
    # Counter's ``<`` is proper inclusion.
    if not short < requested:
        # Without its SKUs: they are those of the order only when the answer makes sense.
        raise NoAnswerError(
            f"the warehouse is short of {short.total()} pieces of order {request.order_id}: of all "
            f"{requested.total()}, or of what was not ordered"
        )
    return tuple(short.items())


def _contents(
    parcels: list[Parcel], request: ShippingRequest
) -> dict[str, tuple[tuple[str, int], ...]]:
    """Contents by parcel id, without parcels that have none in the answer. The shop may refund
    them, so they must be plausible: raises ``NoAnswerError`` for more pieces than were requested.
    """
    requested = _requested(request)
    held = {parcel.id: _pieces(parcel.lines) for parcel in parcels if parcel.lines}
    for parcel_id, pieces in held.items():
        if not pieces <= requested:
            raise NoAnswerError(
                f"parcel {parcel_id} of order {request.order_id} holds {pieces.total()} pieces: "
                "not all of them were ordered"
            )
    return {parcel_id: tuple(pieces.items()) for parcel_id, pieces in held.items()}


def _requested(request: ShippingRequest) -> Counter[str]:
    requested = Counter[str]()
    for sku, count in request.quantities:
        requested[sku] += count
    return requested


def _pieces(lines: list[Line]) -> Counter[str]:
    pieces = Counter[str]()
    for line in lines:
        pieces[line.sku] += line.quantity
    return pieces


def _problem(reply: HttpReply) -> _Problem:
    """The error in the reply's body, its code bounded; empty when the body does not have the
    documented shape.
    """
    try:
        problem = _Problems.model_validate_json(reply.body).error
    except ValidationError:
        return _Problem()
    return _Problem(code=bounded_code(problem.code), message=problem.message)


def _read(kind: type[_Answer], reply: HttpReply, reference: str) -> _Answer:
    """Parse the reply. Raises ``NoAnswerError`` when it is invalid or for another order."""
    try:
        answer = kind.model_validate_json(reply.body)
    except ValidationError as error:
        # Neither the input, which may be anything, nor pydantic's message, which quotes the input.
        wrong = ", ".join(
            f"{'.'.join(map(str, problem['loc'])) or 'body'}: {problem['type']}"
            for problem in error.errors(include_input=False)
        )
        raise NoAnswerError(f"the warehouse's answer makes no sense: {wrong}") from None
    if answer.order_id != reference:
        raise NoAnswerError(f"the warehouse answered for another order than {reference}")
    return answer
