"""The world's own desk under `/sandbox` and `/books`: for tests, the demo and a curious person."""

import json
from collections.abc import Callable
from typing import Final
from urllib.parse import parse_qsl

from starlette.requests import Request
from starlette.responses import JSONResponse, RedirectResponse, Response
from starlette.routing import Route

from sandbox.webhook_endpoints import SENDERS
from sandbox.world.books import books, page
from sandbox.world.faults import ENDPOINTS, MODES, BadDialError
from sandbox.world.parcels import move_parcels
from sandbox.world.request_pipeline import Reception, Refused, answered
from sandbox.world.state_store import Doc
from sandbox.world.stripe.bank_events import finish_authentication, finish_processing, lapse_hold
from sandbox.world.stripe.context import Till
from sandbox.world.stripe.intents import load_intent
from sandbox.world.stripe.refunds import settle_refund

_OUTCOMES: Final = ("succeed", "fail")


def _sorry(status: int, message: str) -> Response:
    return JSONResponse({"error": {"message": message}}, status)


async def _json(request: Request) -> Doc:
    """The body as an object; `{}` for none. A form of one page counts as one."""
    raw = await request.body()
    if request.headers.get("content-type", "").startswith("application/x-www-form-urlencoded"):
        return dict(parse_qsl(raw.decode()))
    try:
        found = json.loads(raw or b"{}")
    except ValueError:
        return {}
    return found if isinstance(found, dict) else {}


def desk_routes(reception: Reception) -> list[Route]:
    async def all_pages(_: Request) -> Response:
        return JSONResponse({"orders": books(reception.ledger)})

    async def one_page(request: Request) -> Response:
        return JSONResponse(page(reception.ledger, request.path_params["order_id"]))

    return [
        *_dial_routes(reception),
        *_stripe_routes(reception),
        Route("/sandbox/warehouse/{order_id}/{move}", _mover(reception), methods=["POST"]),
        Route("/sandbox/webhooks", _webhooks(reception), methods=["GET", "POST"]),
        Route("/sandbox/state", _wiper(reception), methods=["DELETE"]),
        Route("/books", all_pages),
        Route("/books/{order_id}", one_page),
    ]


def _dial_routes(reception: Reception) -> list[Route]:
    board = reception.board

    def shown() -> Response:
        dials = [dial.shown() for dial in board.all()]
        return JSONResponse({"dials": dials, "endpoints": list(ENDPOINTS), "modes": MODES})

    async def many(request: Request) -> Response:
        if request.method == "DELETE":
            query = request.query_params
            board.clear(query.get("endpoint"), query.get("order_id"))
        elif request.method in {"POST", "PUT"}:
            wish = await _json(request)
            wishes = wish.get("dials", []) if request.method == "PUT" else [wish]
            if request.method == "PUT":
                board.clear()
            try:
                dials = [board.set(each) for each in wishes]
            except BadDialError as error:
                return _sorry(400, str(error))
            if request.method == "POST":
                return JSONResponse(dials[0].shown(), 201)
        return shown()

    async def one(request: Request) -> Response:
        dial_id = request.path_params["dial_id"]
        if request.method == "PUT":
            try:
                return JSONResponse(board.set(await _json(request), dial_id).shown())
            except BadDialError as error:
                return _sorry(400, str(error))
        dial = board.find(dial_id)
        if dial is None:
            return _sorry(404, f"There is no dial {dial_id}.")
        if request.method == "DELETE":
            board.remove(dial_id)
        return JSONResponse(dial.shown())

    async def hit(request: Request) -> Response:
        """Answers when the dial was run into `times` times, or after `seconds`, whichever first."""
        dial = board.find(request.path_params["dial_id"])
        if dial is None:
            return _sorry(404, f"There is no dial {request.path_params['dial_id']}.")
        query = request.query_params
        seconds = float(query.get("seconds", "10"))
        await board.wait_for_hits(dial, int(query.get("times", "1")), seconds)
        return JSONResponse(dial.shown())

    return [
        Route("/sandbox/dials", many, methods=["GET", "POST", "PUT", "DELETE"]),
        Route("/sandbox/dials/{dial_id}", one, methods=["GET", "PUT", "DELETE"]),
        Route("/sandbox/dials/{dial_id}/hit", hit),
    ]


def _stripe_routes(reception: Reception) -> list[Route]:
    """What happens at Stripe without a request of ours, on request here.

    `POST /sandbox/payment_intents/{id}/authenticate`: the customer passes 3-D Secure, or does not;
    `…/settle`: the bank decides on a payment that is `processing` (see `cards.py`), both with
    `{"outcome": "succeed"}` or `"fail"`; `…/lapse`: a hold ends before it was captured.
    `POST /sandbox/refunds/{id}/settle`: a refund arrives, or fails.
    """

    def till(request: Request, kind: str) -> Till:
        order_id = reception.ledger.order_of(kind, request.path_params["id"])
        return Till(reception.ledger, int(reception.clock()), str(request.base_url), order_id)

    def acted(act: Callable[[], Doc]) -> Response:
        try:
            with reception.ledger.transaction():
                return JSONResponse(act())
        except Refused as refused:
            return answered(refused.answer, {})

    async def outcome_of(request: Request) -> str:
        return str((await _json(request)).get("outcome"))

    def no_such(outcome: str) -> Response:
        return _sorry(400, f"outcome is succeed or fail, not {outcome!r}.")

    async def authenticate(request: Request) -> Response:
        outcome = await outcome_of(request)
        if outcome not in _OUTCOMES:
            return no_such(outcome)
        at = till(request, "payment_intent")

        back: str | None = None

        def act() -> Doc:
            nonlocal back
            intent = load_intent(at, request.path_params["id"])
            back = (intent["next_action"] or {}).get("redirect_to_url", {}).get("return_url")
            return finish_authentication(at, intent, passed=outcome == "succeed")

        answer = acted(act)
        is_person = "text/html" in request.headers.get("accept", "")
        return RedirectResponse(back, 303) if back and is_person else answer

    async def settle(request: Request) -> Response:
        outcome = await outcome_of(request)
        if outcome not in _OUTCOMES:
            return no_such(outcome)
        at, passed = till(request, "payment_intent"), outcome == "succeed"
        return acted(
            lambda: finish_processing(at, load_intent(at, request.path_params["id"]), passed=passed)
        )

    async def lapse(request: Request) -> Response:
        at = till(request, "payment_intent")
        return acted(lambda: lapse_hold(at, load_intent(at, request.path_params["id"])))

    async def settle_one(request: Request) -> Response:
        at = till(request, "refund")
        return acted(lambda: settle_refund(at, at.load("refund", request.path_params["id"], "id")))

    return [
        Route("/sandbox/payment_intents/{id}/authenticate", authenticate, methods=["POST"]),
        Route("/sandbox/payment_intents/{id}/settle", settle, methods=["POST"]),
        Route("/sandbox/payment_intents/{id}/lapse", lapse, methods=["POST"]),
        Route("/sandbox/refunds/{id}/settle", settle_one, methods=["POST"]),
    ]


def _mover(reception: Reception) -> Callable[[Request], object]:
    """All parcels of an order move, or with `{"parcel": id}` that one."""
    moves = {"dispatch": "left", "deliver": "delivered", "lose": "lost"}

    async def move(request: Request) -> Response:
        order_id, move_name = request.path_params["order_id"], request.path_params["move"]
        if move_name not in moves:
            return _sorry(404, f"Parcels can {' or '.join(moves)}, not {move_name}.")
        parcel_id = (await _json(request)).get("parcel")
        with reception.ledger.transaction():
            moved = move_parcels(
                reception.ledger,
                order_id,
                moves[move_name],
                int(reception.clock()),
                parcel_id=parcel_id,
            )
        if moved is None:
            return _sorry(409, f"No parcel of order {order_id} can {move_name} now.")
        return JSONResponse(moved)

    return move


def _webhooks(reception: Reception) -> Callable[[Request], object]:
    allowed = {*SENDERS, *(f"{sender}_secret" for sender in SENDERS)}

    async def webhooks(request: Request) -> Response:
        if request.method == "POST":
            wish = await _json(request)
            if set(wish) - allowed:
                return _sorry(400, f"Webhooks have {sorted(allowed)}, not {sorted(wish)}.")
            for name in SENDERS:
                if wish.get(name) and not wish.get(f"{name}_secret"):
                    return _sorry(400, f"{name}_secret is needed to sign what goes to {name}.")
            with reception.ledger.transaction():
                reception.ledger.set("webhooks", wish)
        where = reception.ledger.setting("webhooks")
        return JSONResponse({name: where.get(name) for name in SENDERS})

    return webhooks


def _wiper(reception: Reception) -> Callable[[Request], object]:
    async def wipe(_: Request) -> Response:
        reception.board.clear()
        reception.ledger.wipe()
        return Response(status_code=204)

    return wipe
