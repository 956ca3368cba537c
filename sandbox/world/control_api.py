"""Control API of the stand-in under `/sandbox` and `/books`.

It injects faults, shows the books and triggers events at the providers.
"""

from collections.abc import Callable
from typing import Final

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from sandbox.webhook_endpoints import PROVIDERS
from sandbox.world.books import all_books, order_books
from sandbox.world.control_requests import error_response, json_body
from sandbox.world.faults import ENDPOINTS, MODES, InvalidFaultError
from sandbox.world.parcels import move_parcels
from sandbox.world.request_pipeline import RequestPipeline
from sandbox.world.stripe.control import stripe_control_routes
from sandbox.world.webhooks import is_usable_secret

_LONGEST_WAIT: Final = 3_600


def control_routes(pipeline: RequestPipeline) -> list[Route]:
    async def books(_: Request) -> Response:
        return JSONResponse({"orders": all_books(pipeline.store)})

    async def books_of_order(request: Request) -> Response:
        return JSONResponse(order_books(pipeline.store, request.path_params["order_id"]))

    return [
        *_fault_routes(pipeline),
        *stripe_control_routes(pipeline),
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
            body = await json_body(request)
            definitions = body.get("dials", []) if request.method == "PUT" else [body]
            if not isinstance(definitions, list):
                return error_response(400, "dials must be a list of dials.")
            if request.method == "PUT":
                fault_registry.clear()
            try:
                faults = [fault_registry.set(each) for each in definitions]
            except InvalidFaultError as error:
                return error_response(400, str(error))
            if request.method == "POST":
                return JSONResponse(faults[0].to_json(), 201)
        return all_faults()

    async def one(request: Request) -> Response:
        fault_id = request.path_params["dial_id"]
        if request.method == "PUT":
            try:
                return JSONResponse(
                    fault_registry.set(await json_body(request), fault_id).to_json()
                )
            except InvalidFaultError as error:
                return error_response(400, str(error))
        fault = fault_registry.find(fault_id)
        if fault is None:
            return error_response(404, f"There is no dial {fault_id}.")
        if request.method == "DELETE":
            fault_registry.remove(fault_id)
        return JSONResponse(fault.to_json())

    async def hit(request: Request) -> Response:
        """Respond when the fault was hit `times` times, or after `seconds`, whichever is first."""
        fault = fault_registry.find(request.path_params["dial_id"])
        if fault is None:
            return error_response(404, f"There is no dial {request.path_params['dial_id']}.")
        query = request.query_params
        try:
            times, seconds = int(query.get("times", "1")), float(query.get("seconds", "10"))
        except ValueError:
            return error_response(400, "times and seconds must be numbers.")
        if not 0 <= seconds <= _LONGEST_WAIT:
            return error_response(400, f"seconds must be from 0 to {_LONGEST_WAIT}.")
        await fault_registry.wait_for_hits(fault, times, seconds)
        return JSONResponse(fault.to_json())

    return [
        Route("/sandbox/dials", many, methods=["GET", "POST", "PUT", "DELETE"]),
        Route("/sandbox/dials/{dial_id}", one, methods=["GET", "PUT", "DELETE"]),
        Route("/sandbox/dials/{dial_id}/hit", hit),
    ]


def _parcel_handler(pipeline: RequestPipeline) -> Callable[[Request], object]:
    """Move all parcels of an order, or with `{"parcel": id}` only that one."""
    moves = {"dispatch": "left", "deliver": "delivered", "lose": "lost"}

    async def move(request: Request) -> Response:
        order_id, move_name = request.path_params["order_id"], request.path_params["move"]
        if move_name not in moves:
            return error_response(404, f"Parcels can {' or '.join(moves)}, not {move_name}.")
        parcel_id = (await json_body(request)).get("parcel")
        with pipeline.store.transaction():
            moved = [
                move_parcels(
                    pipeline.store,
                    fulfillment.id,
                    moves[move_name],
                    int(pipeline.clock()),
                    parcel_id=parcel_id,
                )
                for fulfillment in pipeline.store.objects(("fulfillment",), order_id)
            ]
        if not any(moved):
            return error_response(409, f"No parcel of order {order_id} can {move_name} now.")
        return JSONResponse(next(filter(None, moved)))

    return move


def _webhook_handler(pipeline: RequestPipeline) -> Callable[[Request], object]:
    allowed = {*PROVIDERS, *(f"{provider}_secret" for provider in PROVIDERS)}

    async def webhooks(request: Request) -> Response:
        if request.method == "POST":
            endpoints = await json_body(request)
            if set(endpoints) - allowed:
                return error_response(
                    400, f"Webhooks have {sorted(allowed)}, not {sorted(endpoints)}."
                )
            for name in PROVIDERS:
                if endpoints.get(name) and not endpoints.get(f"{name}_secret"):
                    return error_response(
                        400, f"{name}_secret is needed to sign what goes to {name}."
                    )
                if endpoints.get(name) and not is_usable_secret(name, endpoints[f"{name}_secret"]):
                    return error_response(400, f"{name}_secret must be whsec_ and base64.")
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
