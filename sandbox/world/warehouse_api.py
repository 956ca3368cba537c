"""The warehouse, speaking `docs/warehouse-api.md` under `/warehouse`."""

import json
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from sandbox.world.faults import Dial
from sandbox.world.parcels import found, move_parcels, packed, replacement
from sandbox.world.request_pipeline import Answer, Call, Reception, Refused, answered, fingerprint
from sandbox.world.state_store import Doc, Ledger, Remembered, new_id


def _error(status: int, code: str, message: str, *, began: bool = False) -> Answer:
    return Answer(status, {"error": {"code": code, "message": message}}, began=began)


class Warehouse:
    """How the warehouse words what is not about parcels."""

    name = "warehouse"
    key_lifetime = float("inf")
    keeps_refusals = True

    def headers(self, call: Call) -> Mapping[str, str]:
        return {"Request-Id": call.request_id}

    def replayed(self, call: Call, first: Remembered) -> Mapping[str, str]:  # noqa: ARG002
        return {"Idempotent-Replayed": "true"}

    def in_use(self, call: Call) -> Answer:
        message = f"A request with the key {call.key} is being worked on. Try again."
        return _error(409, "idempotency_key_in_use", message)

    def mismatch(self, call: Call, first: Remembered) -> Answer:  # noqa: ARG002
        message = f"The key {call.key} was used for another body."
        return _error(409, "idempotency_mismatch", message)

    def rate_limited(self, call: Call, seconds: float) -> Answer:  # noqa: ARG002
        body = {"error": {"code": "too_many_requests", "message": "Slower, please."}}
        return Answer(429, body, {"Retry-After": str(max(1, round(seconds)))})

    def broken(self, call: Call) -> Answer:  # noqa: ARG002
        return _error(500, "internal_error", "Something fell over in the warehouse.")


def warehouse_routes(reception: Reception) -> list[Route]:
    """The four calls of the contract. One fulfilment per order, its id in the ledger."""
    neighbour = Warehouse()
    ledger = reception.ledger

    def call_for(request: Request, endpoint: str, order_id: str | None) -> Call:
        return Call(f"warehouse.{endpoint}", request.url.path, new_id("req"), order_id)

    async def create(request: Request) -> Response:
        call = call_for(request, "fulfillments.create", None)
        try:
            _authenticate(request)
            wish = await _wish(request)
            key = _key(request)
            call = Call(
                call.endpoint,
                call.path,
                call.request_id,
                order_id=wish["order_id"],
                key=key,
                fingerprint=fingerprint(wish),
                skus=tuple(line["sku"] for line in wish["lines"]),
            )
        except Refused as refused:
            return answered(refused.answer, neighbour.headers(call))
        return await reception.receive(
            neighbour, call, lambda dial: _accept(ledger, wish, dial, int(reception.clock()))
        )

    async def cancel(request: Request) -> Response:
        call = call_for(request, "fulfillments.cancel", request.path_params["order_id"])
        if refusal := _unauthorized(request):
            return answered(refusal, neighbour.headers(call))
        return await reception.receive(
            neighbour,
            call,
            lambda dial: _cancel(ledger, str(call.order_id), dial, int(reception.clock())),
        )

    async def retrieve(request: Request) -> Response:
        call = call_for(request, "fulfillments.retrieve", request.path_params["order_id"])
        if refusal := _unauthorized(request):
            return answered(refusal, neighbour.headers(call))

        def work(_: Dial | None) -> Answer:
            fulfillment = ledger.find("fulfillment", str(call.order_id))
            if fulfillment is None or fulfillment["id"] is None:
                message = f"No order {call.order_id} was accepted."
                raise Refused(_error(404, "not_found", message))
            return Answer(200, fulfillment)

        return await reception.receive(neighbour, call, work)

    async def resend(request: Request) -> Response:
        order_id, parcel_id = request.path_params["order_id"], request.path_params["parcel_id"]
        call = call_for(request, "parcels.resend", order_id)
        try:
            _authenticate(request)
            call = replace(call, key=_key(request))
        except Refused as refused:
            return answered(refused.answer, neighbour.headers(call))
        return await reception.receive(
            neighbour, call, lambda dial: _resend(ledger, order_id, parcel_id, dial)
        )

    return [
        Route("/warehouse/fulfillments", create, methods=["POST"]),
        Route("/warehouse/fulfillments/{order_id}/cancel", cancel, methods=["POST"]),
        Route(
            "/warehouse/fulfillments/{order_id}/parcels/{parcel_id}/resend",
            resend,
            methods=["POST"],
        ),
        Route("/warehouse/fulfillments/{order_id}", retrieve, methods=["GET"]),
    ]


def _accept(ledger: Ledger, wish: Doc, dial: Dial | None, now: int) -> Answer:
    order_id = wish["order_id"]
    known = ledger.find("fulfillment", order_id)
    if known is not None and known["status"] == "recalled":
        message = f"Order {order_id} was cancelled before."
        raise Refused(_error(409, "fulfillment_cancelled", message, began=True))
    if known is not None:
        return Answer(201, known)
    if dial is not None and dial.mode == "refuse":
        message = dial.reason or "The warehouse cannot ship this order."
        raise Refused(_error(422, "cannot_fulfill", message, began=True))
    lines, short = found(wish["lines"], dial)
    if not lines:
        message = "Nothing of the order is on the shelves."
        raise Refused(_error(422, "cannot_fulfill", message, began=True))
    split = dial.parcels if dial is not None and dial.mode == "split" else 1
    parcels = [
        {"id": new_id("par"), "status": "accepted", "lines": lines}
        for lines in packed(lines, split)
    ]
    fulfillment = {
        "id": new_id("ful"),
        "order_id": order_id,
        "status": "accepted",
        "parcels": parcels,
        **({"short": short} if short else {}),
    }
    ledger.add("fulfillment", fulfillment, order_id=order_id, created=now, thing_id=order_id)
    return Answer(201, fulfillment)


def _cancel(ledger: Ledger, order_id: str, dial: Dial | None, now: int) -> Answer:
    known = ledger.find("fulfillment", order_id)
    if dial is not None and dial.mode == "refuse":
        move_parcels(ledger, order_id, "left", now)  # it leaves at the very moment
        known = ledger.find("fulfillment", order_id)
    if known is None:
        # Remembered as recalled, so that a late request for it is refused for ever.
        known = {"id": None, "order_id": order_id, "status": "recalled", "parcels": []}
        ledger.add("fulfillment", known, order_id=order_id, created=now, thing_id=order_id)
    outcome, parcels = "recalled", []
    if known["status"] == "left":
        outcome, parcels = "already_left", known["parcels"]
    elif known["id"] is None:
        outcome = "never_accepted"
    elif known["status"] == "accepted":
        recalled = [{**parcel, "status": "recalled"} for parcel in known["parcels"]]
        known |= {"status": "recalled", "parcels": recalled}
        ledger.save("fulfillment", known, thing_id=order_id)
    answer = {"id": known["id"], "order_id": order_id, "outcome": outcome, "parcels": parcels}
    return Answer(200, answer)


def _resend(ledger: Ledger, order_id: str, parcel_id: str, dial: Dial | None) -> Answer:
    known = ledger.find("fulfillment", order_id)
    parcels = known["parcels"] if known else []
    old = next((parcel for parcel in parcels if parcel["id"] == parcel_id), None)
    if known is None or old is None:
        raise Refused(_error(404, "not_found", f"Order {order_id} has no parcel {parcel_id}."))
    new = next((parcel for parcel in parcels if parcel.get("resends") == parcel_id), None)
    if new is None:
        # No refusal is kept for the key: asked again, the warehouse looks again.
        if old["status"] == "recalled":
            message = f"Order {order_id} was cancelled before."
            raise Refused(_error(409, "fulfillment_cancelled", message))
        if old["status"] == "delivered":
            raise Refused(_error(422, "cannot_fulfill", f"Parcel {parcel_id} was delivered."))
        if dial is not None and dial.mode == "refuse":
            message = dial.reason or "The warehouse cannot send that again."
            raise Refused(_error(422, "cannot_fulfill", message))
        new = replacement(old)
        parcels.append(new)
        ledger.save("fulfillment", known, thing_id=order_id)
    return Answer(201, {"id": known["id"], "order_id": order_id, "parcel": new})


def _authenticate(request: Request) -> None:
    if refusal := _unauthorized(request):
        raise Refused(refusal)


def _key(request: Request) -> str:
    key = request.headers.get("idempotency-key")
    if not key:
        message = "Send an Idempotency-Key, so that a repeat does not ship twice."
        raise Refused(_error(400, "idempotency_key_required", message))
    return key


def _unauthorized(request: Request) -> Answer | None:
    """Any bearer key will do, except the one that is called wrong."""
    scheme, _, key = request.headers.get("authorization", "").partition(" ")
    if scheme != "Bearer" or not key.strip() or key == "wrong":
        return _error(401, "unauthorized", "The bearer key is wrong.")
    return None


async def _wish(request: Request) -> Doc:
    try:
        wish: Any = json.loads(await request.body())
    except ValueError:
        wish = None
    if not _well_formed(wish):
        message = (
            "The body must be {order_id, ship_to: {name, address}, lines: [{sku, quantity}]}, "
            "with at least one line and quantities of at least 1."
        )
        raise Refused(_error(400, "invalid_request", message))
    return dict(wish)


def _well_formed(wish: Any) -> bool:
    if not isinstance(wish, dict) or set(wish) != {"order_id", "ship_to", "lines"}:
        return False
    ship_to, lines = wish["ship_to"], wish["lines"]
    return (
        isinstance(wish["order_id"], str)
        and wish["order_id"] != ""
        and isinstance(ship_to, dict)
        and set(ship_to) == {"name", "address"}
        and all(isinstance(value, str) for value in ship_to.values())
        and isinstance(lines, list)
        and len(lines) > 0
        and all(_is_line(line) for line in lines)
    )


def _is_line(line: Any) -> bool:
    return (
        isinstance(line, dict)
        and set(line) == {"sku", "quantity"}
        and isinstance(line["sku"], str)
        and type(line["quantity"]) is int
        and line["quantity"] >= 1
    )
