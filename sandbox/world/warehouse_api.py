"""The warehouse: `docs/warehouse-api.md` under `/warehouse`."""

import json
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from sandbox.world.faults import Fault
from sandbox.world.orders import order_id_of_reference
from sandbox.world.parcels import move_parcels, pack, pick, replacement
from sandbox.world.request_pipeline import (
    ApiCall,
    ApiError,
    ApiResponse,
    RequestPipeline,
    fingerprint,
    to_http_response,
)
from sandbox.world.state_store import JsonObject, StateStore, StoredResponse, new_id


def _error(status: int, code: str, message: str, *, began: bool = False) -> ApiResponse:
    return ApiResponse(status, {"error": {"code": code, "message": message}}, began=began)


class WarehouseProvider:
    """The warehouse's idempotency rules and generic responses."""

    name = "warehouse"
    key_lifetime = float("inf")
    stores_errors = True

    def headers(self, call: ApiCall) -> Mapping[str, str]:
        return {"Request-Id": call.request_id}

    def replay_headers(self, call: ApiCall, first: StoredResponse) -> Mapping[str, str]:  # noqa: ARG002
        return {"Idempotent-Replayed": "true"}

    def key_in_use(self, call: ApiCall) -> ApiResponse:
        message = f"A request with the key {call.key} is being worked on. Try again."
        return _error(409, "idempotency_key_in_use", message)

    def key_mismatch(self, call: ApiCall, first: StoredResponse) -> ApiResponse:  # noqa: ARG002
        message = f"The key {call.key} was used for another body."
        return _error(409, "idempotency_mismatch", message)

    def rate_limited(self, call: ApiCall, seconds: float) -> ApiResponse:  # noqa: ARG002
        body = {"error": {"code": "too_many_requests", "message": "Slower, please."}}
        return ApiResponse(429, body, {"Retry-After": str(max(1, round(seconds)))})

    def locked(self, call: ApiCall) -> ApiResponse:
        return self.key_in_use(call)

    def restricted(self, call: ApiCall) -> ApiResponse:  # noqa: ARG002
        return _error(403, "forbidden", "This key may not ship at the moment.")

    def server_error(self, call: ApiCall) -> ApiResponse:  # noqa: ARG002
        return _error(500, "internal_error", "Something fell over in the warehouse.")


def warehouse_routes(pipeline: RequestPipeline) -> list[Route]:
    """The four endpoints of the contract. There is one fulfilment per order, stored by order id."""
    provider = WarehouseProvider()
    store = pipeline.store

    def call_for(request: Request, endpoint: str, order_id: str | None) -> ApiCall:
        named = None if order_id is None else order_id_of_reference(order_id)
        return ApiCall(f"warehouse.{endpoint}", request.url.path, new_id("req"), named)

    async def create(request: Request) -> Response:
        call = call_for(request, "fulfillments.create", None)
        try:
            _authenticate(request)
            body = await _read_body(request)
            key = _key(request)
            call = ApiCall(
                call.endpoint,
                call.path,
                call.request_id,
                order_id=order_id_of_reference(body["order_id"]),
                key=key,
                fingerprint=fingerprint(body),
                skus=tuple(line["sku"] for line in body["lines"]),
            )
        except ApiError as error:
            return to_http_response(error.response, provider.headers(call))
        return await pipeline.handle(
            provider, call, lambda fault: _accept(store, body, fault, int(pipeline.clock()))
        )

    async def cancel(request: Request) -> Response:
        order_id = request.path_params["order_id"]
        call = call_for(request, "fulfillments.cancel", order_id)
        if refusal := _unauthorized(request):
            return to_http_response(refusal, provider.headers(call))
        return await pipeline.handle(
            provider,
            call,
            lambda fault: _cancel(store, order_id, fault, int(pipeline.clock())),
        )

    async def retrieve(request: Request) -> Response:
        order_id = request.path_params["order_id"]
        call = call_for(request, "fulfillments.retrieve", order_id)
        if refusal := _unauthorized(request):
            return to_http_response(refusal, provider.headers(call))

        def operation(_: Fault | None) -> ApiResponse:
            fulfillment = store.find("fulfillment", order_id)
            if fulfillment is None or fulfillment["id"] is None:
                message = f"No order {order_id} was accepted."
                raise ApiError(_error(404, "not_found", message))
            return ApiResponse(200, fulfillment)

        return await pipeline.handle(provider, call, operation)

    async def resend(request: Request) -> Response:
        order_id, parcel_id = request.path_params["order_id"], request.path_params["parcel_id"]
        call = call_for(request, "parcels.resend", order_id)
        try:
            _authenticate(request)
            call = replace(call, key=_key(request))
        except ApiError as error:
            return to_http_response(error.response, provider.headers(call))
        return await pipeline.handle(
            provider, call, lambda fault: _resend(store, order_id, parcel_id, fault)
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


def _accept(store: StateStore, body: JsonObject, fault: Fault | None, now: int) -> ApiResponse:
    order_id = body["order_id"]
    known = store.find("fulfillment", order_id)
    if known is not None and known["status"] == "recalled":
        message = f"Order {order_id} was cancelled before."
        raise ApiError(_error(409, "fulfillment_cancelled", message, began=True))
    if known is not None:
        return ApiResponse(201, known)
    if fault is not None and fault.mode == "refuse":
        message = fault.reason or "The warehouse cannot ship this order."
        raise ApiError(_error(422, "cannot_fulfill", message, began=True))
    lines, short = pick(body["lines"], fault)
    if not lines:
        message = "Nothing of the order is on the shelves."
        raise ApiError(_error(422, "cannot_fulfill", message, began=True))
    split = fault.parcels if fault is not None and fault.mode == "split" else 1
    parcels = [
        {"id": new_id("par"), "status": "accepted", "lines": lines} for lines in pack(lines, split)
    ]
    fulfillment = {
        "id": new_id("ful"),
        "order_id": order_id,
        "status": "accepted",
        "parcels": parcels,
        **({"short": short} if short else {}),
    }
    _add(store, fulfillment, now)
    return ApiResponse(201, fulfillment)


def _add(store: StateStore, fulfillment: JsonObject, now: int) -> None:
    """Store it by the order's id as the shop gave it, for the page of the shop's own order id."""
    reference = fulfillment["order_id"]
    store.add(
        "fulfillment",
        fulfillment,
        order_id=order_id_of_reference(reference),
        created=now,
        object_id=reference,
    )


def _cancel(store: StateStore, order_id: str, fault: Fault | None, now: int) -> ApiResponse:
    known = store.find("fulfillment", order_id)
    if fault is not None and fault.mode == "refuse":
        move_parcels(store, order_id, "left", now)  # they leave at this moment
        known = store.find("fulfillment", order_id)
    if known is None:
        # Stored as recalled, so that a late request to fulfil it is always rejected.
        known = {"id": None, "order_id": order_id, "status": "recalled", "parcels": []}
        _add(store, known, now)
    outcome, parcels = "recalled", []
    if known["status"] == "left":
        outcome, parcels = "already_left", known["parcels"]
    elif known["id"] is None:
        outcome = "never_accepted"
    elif known["status"] == "accepted":
        recalled = [{**parcel, "status": "recalled"} for parcel in known["parcels"]]
        known |= {"status": "recalled", "parcels": recalled}
        store.save("fulfillment", known, object_id=order_id)
    response = {"id": known["id"], "order_id": order_id, "outcome": outcome, "parcels": parcels}
    return ApiResponse(200, response)


def _resend(store: StateStore, order_id: str, parcel_id: str, fault: Fault | None) -> ApiResponse:
    known = store.find("fulfillment", order_id)
    parcels = known["parcels"] if known else []
    old = next((parcel for parcel in parcels if parcel["id"] == parcel_id), None)
    if known is None or old is None:
        raise ApiError(_error(404, "not_found", f"Order {order_id} has no parcel {parcel_id}."))
    new = next((parcel for parcel in parcels if parcel.get("resends") == parcel_id), None)
    if new is None:
        # No rejection is stored for the key: a repeat is checked again.
        if old["status"] == "recalled":
            message = f"Order {order_id} was cancelled before."
            raise ApiError(_error(409, "fulfillment_cancelled", message))
        if old["status"] == "delivered":
            raise ApiError(_error(422, "cannot_fulfill", f"Parcel {parcel_id} was delivered."))
        if fault is not None and fault.mode == "refuse":
            message = fault.reason or "The warehouse cannot send that again."
            raise ApiError(_error(422, "cannot_fulfill", message))
        new = replacement(old)
        parcels.append(new)
        store.save("fulfillment", known, object_id=order_id)
    return ApiResponse(201, {"id": known["id"], "order_id": order_id, "parcel": new})


def _authenticate(request: Request) -> None:
    if refusal := _unauthorized(request):
        raise ApiError(refusal)


def _key(request: Request) -> str:
    key = request.headers.get("idempotency-key")
    if not key:
        message = "Send an Idempotency-Key, so that a repeat does not ship twice."
        raise ApiError(_error(400, "idempotency_key_required", message))
    return key


def _unauthorized(request: Request) -> ApiResponse | None:
    """Every bearer key is accepted, except "wrong"."""
    scheme, _, key = request.headers.get("authorization", "").partition(" ")
    if scheme != "Bearer" or not key.strip() or key == "wrong":
        return _error(401, "unauthorized", "The bearer key is wrong.")
    return None


async def _read_body(request: Request) -> JsonObject:
    try:
        body: Any = json.loads(await request.body())
    except ValueError:
        body = None
    if not _well_formed(body):
        message = (
            "The body must be {order_id, ship_to: {name, address}, lines: [{sku, quantity}]}, "
            "with at least one line and quantities of at least 1."
        )
        raise ApiError(_error(400, "invalid_request", message))
    return dict(body)


def _well_formed(body: Any) -> bool:
    if not isinstance(body, dict) or set(body) != {"order_id", "ship_to", "lines"}:
        return False
    ship_to, lines = body["ship_to"], body["lines"]
    return (
        isinstance(body["order_id"], str)
        and body["order_id"] != ""
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
