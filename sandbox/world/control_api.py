"""Control API of the stand-in under `/sandbox` and `/books`.

It injects faults, shows the books and triggers events at the providers.
"""

import json
from collections.abc import Callable
from typing import Final
from urllib.parse import parse_qsl

from starlette.requests import Request
from starlette.responses import JSONResponse, RedirectResponse, Response
from starlette.routing import Route

from sandbox.webhook_endpoints import PROVIDERS
from sandbox.world.books import all_books, order_books
from sandbox.world.faults import ENDPOINTS, MODES, InvalidFaultError
from sandbox.world.parcels import move_parcels
from sandbox.world.request_pipeline import ApiError, RequestPipeline, to_http_response
from sandbox.world.state_store import JsonObject
from sandbox.world.stripe.bank_events import expire_hold, finish_authentication, finish_processing
from sandbox.world.stripe.context import OperationContext
from sandbox.world.stripe.intents import load_intent
from sandbox.world.stripe.refunds import settle_refund
from sandbox.world.webhooks import is_usable_secret

_OUTCOMES: Final = ("succeed", "fail")


def _error_response(status: int, message: str) -> Response:
    return JSONResponse({"error": {"message": message}}, status)


async def _json(request: Request) -> JsonObject:
    """The JSON object or the form in the body; `{}` when there is none."""
    raw = await request.body()
    if request.headers.get("content-type", "").startswith("application/x-www-form-urlencoded"):
        return dict(parse_qsl(raw.decode()))
    try:
        found = json.loads(raw or b"{}")
    except ValueError:
        return {}
    return found if isinstance(found, dict) else {}


def control_routes(pipeline: RequestPipeline) -> list[Route]:
    async def books(_: Request) -> Response:
        return JSONResponse({"orders": all_books(pipeline.store)})

    async def books_of_order(request: Request) -> Response:
        return JSONResponse(order_books(pipeline.store, request.path_params["order_id"]))

    return [
        *_fault_routes(pipeline),
        *_stripe_routes(pipeline),
        Route("/sandbox/warehouse/{order_id}/{move}", _parcel_handler(pipeline), methods=["POST"]),
        Route("/sandbox/webhooks", _webhook_handler(pipeline), methods=["GET", "POST"]),
        Route("/sandbox/state", _wipe_handler(pipeline), methods=["DELETE"]),
        Route("/books", books),
        Route("/books/{order_id}", books_of_order),
    ]


def _fault_routes(pipeline: RequestPipeline) -> list[Route]:
    fault_registry = pipeline.fault_registry

    def all_faults() -> Response:
        faults = [fault.to_json() for fault in fault_registry.all()]
        return JSONResponse({"dials": faults, "endpoints": list(ENDPOINTS), "modes": MODES})

    async def many(request: Request) -> Response:
        if request.method == "DELETE":
            query = request.query_params
            fault_registry.clear(query.get("endpoint"), query.get("order_id"))
        elif request.method in {"POST", "PUT"}:
            body = await _json(request)
            definitions = body.get("dials", []) if request.method == "PUT" else [body]
            if request.method == "PUT":
                fault_registry.clear()
            try:
                faults = [fault_registry.set(each) for each in definitions]
            except InvalidFaultError as error:
                return _error_response(400, str(error))
            if request.method == "POST":
                return JSONResponse(faults[0].to_json(), 201)
        return all_faults()

    async def one(request: Request) -> Response:
        fault_id = request.path_params["dial_id"]
        if request.method == "PUT":
            try:
                return JSONResponse(fault_registry.set(await _json(request), fault_id).to_json())
            except InvalidFaultError as error:
                return _error_response(400, str(error))
        fault = fault_registry.find(fault_id)
        if fault is None:
            return _error_response(404, f"There is no dial {fault_id}.")
        if request.method == "DELETE":
            fault_registry.remove(fault_id)
        return JSONResponse(fault.to_json())

    async def hit(request: Request) -> Response:
        """Respond when the fault was hit `times` times, or after `seconds`, whichever is first."""
        fault = fault_registry.find(request.path_params["dial_id"])
        if fault is None:
            return _error_response(404, f"There is no dial {request.path_params['dial_id']}.")
        query = request.query_params
        seconds = float(query.get("seconds", "10"))
        await fault_registry.wait_for_hits(fault, int(query.get("times", "1")), seconds)
        return JSONResponse(fault.to_json())

    return [
        Route("/sandbox/dials", many, methods=["GET", "POST", "PUT", "DELETE"]),
        Route("/sandbox/dials/{dial_id}", one, methods=["GET", "PUT", "DELETE"]),
        Route("/sandbox/dials/{dial_id}/hit", hit),
    ]


def _stripe_routes(pipeline: RequestPipeline) -> list[Route]:
    """Trigger events at Stripe that no API request of the shop causes.

    `POST /sandbox/payment_intents/{id}/authenticate`: the customer passes or fails 3-D Secure;
    `…/settle`: the bank decides on a payment that is `processing` (see `cards.py`), both with
    `{"outcome": "succeed"}` or `"fail"`; `…/lapse`: a hold expires before it was captured.
    `POST /sandbox/refunds/{id}/settle`: a refund succeeds or fails.
    """

    def context_for(request: Request, kind: str) -> OperationContext:
        order_id = pipeline.store.order_of(kind, request.path_params["id"])
        return OperationContext(
            pipeline.store, int(pipeline.clock()), str(request.base_url), order_id
        )

    def run(operation: Callable[[], JsonObject]) -> Response:
        try:
            with pipeline.store.transaction():
                return JSONResponse(operation())
        except ApiError as error:
            return to_http_response(error.response, {})

    async def outcome_of(request: Request) -> str:
        return str((await _json(request)).get("outcome"))

    def invalid_outcome(outcome: str) -> Response:
        return _error_response(400, f"outcome is succeed or fail, not {outcome!r}.")

    async def authenticate(request: Request) -> Response:
        outcome = await outcome_of(request)
        if outcome not in _OUTCOMES:
            return invalid_outcome(outcome)
        context = context_for(request, "payment_intent")
        return_url: str | None = None

        def operation() -> JsonObject:
            nonlocal return_url
            intent = load_intent(context, request.path_params["id"])
            return_url = (intent["next_action"] or {}).get("redirect_to_url", {}).get("return_url")
            return finish_authentication(context, intent, passed=outcome == "succeed")

        response = run(operation)
        is_browser = "text/html" in request.headers.get("accept", "")
        return RedirectResponse(return_url, 303) if return_url and is_browser else response

    async def settle(request: Request) -> Response:
        outcome = await outcome_of(request)
        if outcome not in _OUTCOMES:
            return invalid_outcome(outcome)
        context, passed = context_for(request, "payment_intent"), outcome == "succeed"
        return run(
            lambda: finish_processing(
                context, load_intent(context, request.path_params["id"]), passed=passed
            )
        )

    async def lapse(request: Request) -> Response:
        context = context_for(request, "payment_intent")
        return run(lambda: expire_hold(context, load_intent(context, request.path_params["id"])))

    async def settle_refund_request(request: Request) -> Response:
        context = context_for(request, "refund")
        return run(
            lambda: settle_refund(context, context.load("refund", request.path_params["id"], "id"))
        )

    return [
        Route("/sandbox/payment_intents/{id}/authenticate", authenticate, methods=["POST"]),
        Route("/sandbox/payment_intents/{id}/settle", settle, methods=["POST"]),
        Route("/sandbox/payment_intents/{id}/lapse", lapse, methods=["POST"]),
        Route("/sandbox/refunds/{id}/settle", settle_refund_request, methods=["POST"]),
    ]


def _parcel_handler(pipeline: RequestPipeline) -> Callable[[Request], object]:
    """Move all parcels of an order, or with `{"parcel": id}` only that one."""
    moves = {"dispatch": "left", "deliver": "delivered", "lose": "lost"}

    async def move(request: Request) -> Response:
        order_id, move_name = request.path_params["order_id"], request.path_params["move"]
        if move_name not in moves:
            return _error_response(404, f"Parcels can {' or '.join(moves)}, not {move_name}.")
        parcel_id = (await _json(request)).get("parcel")
        with pipeline.store.transaction():
            moved = move_parcels(
                pipeline.store,
                order_id,
                moves[move_name],
                int(pipeline.clock()),
                parcel_id=parcel_id,
            )
        if moved is None:
            return _error_response(409, f"No parcel of order {order_id} can {move_name} now.")
        return JSONResponse(moved)

    return move


def _webhook_handler(pipeline: RequestPipeline) -> Callable[[Request], object]:
    allowed = {*PROVIDERS, *(f"{provider}_secret" for provider in PROVIDERS)}

    async def webhooks(request: Request) -> Response:
        if request.method == "POST":
            endpoints = await _json(request)
            if set(endpoints) - allowed:
                return _error_response(
                    400, f"Webhooks have {sorted(allowed)}, not {sorted(endpoints)}."
                )
            for name in PROVIDERS:
                if endpoints.get(name) and not endpoints.get(f"{name}_secret"):
                    return _error_response(
                        400, f"{name}_secret is needed to sign what goes to {name}."
                    )
                if endpoints.get(name) and not is_usable_secret(name, endpoints[f"{name}_secret"]):
                    return _error_response(400, f"{name}_secret must be whsec_ and base64.")
            with pipeline.store.transaction():
                pipeline.store.set("webhooks", endpoints)
        stored = pipeline.store.setting("webhooks")
        return JSONResponse({name: stored.get(name) for name in PROVIDERS})

    return webhooks


def _wipe_handler(pipeline: RequestPipeline) -> Callable[[Request], object]:
    async def wipe(_: Request) -> Response:
        pipeline.fault_registry.clear()
        pipeline.store.wipe()
        return Response(status_code=204)

    return wipe
