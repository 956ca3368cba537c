"""Stripe over HTTP: `/v1/…` for the official SDK, keys, expansion and lists included.

Sources: the API reference of docs.stripe.com ("Authentication", "Errors", "Expanding responses",
"Idempotent requests", "Pagination" and the pages of the resources).
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from sandbox.world.faults import Dial
from sandbox.world.orders import order_id_of_key
from sandbox.world.request_pipeline import Answer, Call, Reception, Refused, answered, fingerprint
from sandbox.world.state_store import Doc, new_id
from sandbox.world.stripe import intents, refunds, rules
from sandbox.world.stripe.context import KINDS, Till
from sandbox.world.stripe.error_messages import Stripe
from sandbox.world.stripe.errors import envelope, invalid, unauthorized
from sandbox.world.stripe.parameters import EXPAND, PAGE, Shape, checked, parse

_PARENT: Final = {"payment_intent": "text"}


@dataclass(frozen=True)
class _Endpoint:
    """One row of the API: the name its dials have, its path, its parameters, its work."""

    name: str
    method: str
    path: str
    shape: Shape
    work: Callable[[Till, str, Doc], Doc]


def _lister(kind: str, path: str) -> Callable[[Till, str, Doc], Doc]:
    def listed(till: Till, _: str, params: Doc) -> Doc:
        limit = params.get("limit", 10)
        if not 1 <= limit <= 100:
            raise invalid("Invalid integer: limit is between 1 and 100.", param="limit")
        for cursor in ("starting_after", "ending_before"):
            if cursor in params:
                till.load(kind, params[cursor], cursor, status=400)
        found = till.ledger.page(
            kind,
            limit=limit,
            starting_after=params.get("starting_after"),
            ending_before=params.get("ending_before"),
            parent=params.get("payment_intent"),
            customer=params.get("customer"),
            created=params.get("created"),
        )
        data = found[:limit]
        if "charge" in params:
            data = [refund for refund in data if refund["charge"] == params["charge"]]
        if "ending_before" in params:
            data.reverse()
        return {"object": "list", "data": data, "has_more": len(found) > limit, "url": path}

    return listed


_ENDPOINTS: Final = (
    _Endpoint(
        "stripe.payment_intents.create", "POST", "/v1/payment_intents", rules.CREATE,
        lambda till, _, params: intents.create_intent(till, params),
    ),
    _Endpoint(
        "stripe.payment_intents.list", "GET", "/v1/payment_intents", {**PAGE, "customer": "text"},
        _lister("payment_intent", "/v1/payment_intents"),
    ),
    _Endpoint(
        "stripe.payment_intents.retrieve", "GET", "/v1/payment_intents/{id}",
        {**EXPAND, "client_secret": "text"},
        lambda till, id_, _: intents.load_intent(till, id_),
    ),
    _Endpoint(
        "stripe.payment_intents.confirm", "POST", "/v1/payment_intents/{id}/confirm",
        rules.CONFIRM,
        lambda till, id_, params: intents.confirm_intent(
            till, intents.load_intent(till, id_), params
        ),
    ),
    _Endpoint(
        "stripe.payment_intents.capture", "POST", "/v1/payment_intents/{id}/capture",
        rules.CAPTURE,
        lambda till, id_, params: intents.capture_intent(
            till, intents.load_intent(till, id_), params
        ),
    ),
    _Endpoint(
        "stripe.payment_intents.cancel", "POST", "/v1/payment_intents/{id}/cancel",
        rules.CANCEL,
        lambda till, id_, params: intents.cancel_intent(
            till, intents.load_intent(till, id_), params
        ),
    ),
    _Endpoint(
        "stripe.charges.list", "GET", "/v1/charges", {**PAGE, **_PARENT, "customer": "text"},
        _lister("charge", "/v1/charges"),
    ),
    _Endpoint(
        "stripe.charges.retrieve", "GET", "/v1/charges/{id}", EXPAND,
        lambda till, id_, _: till.load("charge", id_, "id"),
    ),
    _Endpoint(
        "stripe.refunds.create", "POST", "/v1/refunds", refunds.CREATE,
        lambda till, _, params: refunds.create_refund(till, params),
    ),
    _Endpoint(
        "stripe.refunds.list", "GET", "/v1/refunds", {**PAGE, **_PARENT, "charge": "text"},
        _lister("refund", "/v1/refunds"),
    ),
    _Endpoint(
        "stripe.refunds.retrieve", "GET", "/v1/refunds/{id}", EXPAND,
        lambda till, id_, _: till.load("refund", id_, "id"),
    ),
    _Endpoint(
        "stripe.payment_methods.retrieve", "GET", "/v1/payment_methods/{id}", EXPAND,
        lambda till, id_, _: till.card(id_).shown(till.now),
    ),
)  # fmt: skip


def stripe_routes(reception: Reception) -> list[Route]:
    neighbour = Stripe()
    return [
        Route(endpoint.path, _handler(reception, neighbour, endpoint), methods=[endpoint.method])
        for endpoint in _ENDPOINTS
    ] + [Route("/v1/{path:path}", _unknown_url, methods=["GET", "POST", "DELETE"])]


def _handler(
    reception: Reception, neighbour: Stripe, endpoint: _Endpoint
) -> Callable[[Request], object]:
    async def handle(request: Request) -> Response:
        encoded = (await request.body()).decode() if endpoint.method == "POST" else ""
        encoded = encoded or request.url.query
        thing_id = request.path_params.get("id", "")
        request_id = new_id("req", 14)
        key = request.headers.get("idempotency-key") if endpoint.method == "POST" else None
        call = Call(endpoint.name, request.url.path, request_id)
        try:
            _authenticate(request.headers.get("authorization", ""))
            given = parse(encoded)
            call = Call(
                endpoint.name,
                request.url.path,
                request_id,
                order_id=_order_id(reception, thing_id, given, key),
                key=key,
                fingerprint=fingerprint(given),
            )
            params = checked(given, endpoint.shape)
        except Refused as refused:
            return _spoken(neighbour, call, refused.answer)

        def work(dial: Dial | None) -> Answer:
            url = f"{request.url.scheme}://{request.url.netloc}"
            till = Till(reception.ledger, int(reception.clock()), url, call.order_id, dial)
            try:
                body = endpoint.work(till, thing_id, params)
                return Answer(200, _expanded(till, body, params.get("expand", [])))
            except Refused as refused:
                refused.answer.body["error"]["request_log_url"] = (
                    f"https://dashboard.stripe.com/test/logs/{request_id}"
                )
                raise

        return await reception.receive(neighbour, call, work)

    return handle


def _authenticate(authorization: str) -> None:
    scheme, _, key = authorization.partition(" ")
    if not key:
        raise unauthorized(
            "You did not provide an API key. You need to provide your API key in the Authorization "
            "header, using Bearer auth (e.g. 'Authorization: Bearer YOUR_SECRET_KEY')."
        )
    if key.startswith(("sk_live_", "rk_live_")):
        raise unauthorized("The sandbox takes no live keys: use a test key (`sk_test_…`).")
    if scheme != "Bearer" or not key.startswith(("sk_", "rk_")):
        raise unauthorized(f"Invalid API Key provided: {key[:7]}{'*' * 8}")


def _order_id(reception: Reception, thing_id: str, given: Doc, key: str | None) -> str | None:
    """The order a request is for: from its metadata, from the object it names, from its key."""
    metadata = given.get("metadata")
    if isinstance(metadata, dict) and isinstance(metadata.get("order_id"), str):
        return str(metadata["order_id"])
    for named in (thing_id, given.get("payment_intent"), given.get("charge")):
        kind = KINDS.get(str(named).partition("_")[0])
        if kind is not None and (found := reception.ledger.order_of(kind, str(named))):
            return found
    return order_id_of_key(key)


def _expanded(till: Till, body: Doc, paths: list[str]) -> Doc:
    """Put whole objects where ids are ("Expanding responses")."""
    for path in paths:
        head, _, rest = path.partition(".")
        if head == "data" and body.get("object") == "list":
            body = {**body, "data": [_expanded(till, item, [rest]) for item in body["data"]]}
            continue
        if head not in {"latest_charge", "payment_method", "payment_intent", "charge"} or (
            head not in body
        ):
            raise invalid(f"This property cannot be expanded ({head}).", param="expand")
        inner = body[head]
        if isinstance(inner, str):
            prefix = inner.partition("_")[0]
            inner = (
                till.card(inner).shown(till.now)
                if prefix == "pm"
                else till.load(KINDS[prefix], inner, head)
            )
        if inner is not None:
            body = {**body, head: _expanded(till, inner, [rest]) if rest else inner}
    return body


def _spoken(neighbour: Stripe, call: Call, answer: Answer) -> Response:
    return answered(answer, neighbour.headers(call))


async def _unknown_url(request: Request) -> Response:
    call = Call("", request.url.path, new_id("req", 14))
    message = f"Unrecognized request URL ({request.method}: {request.url.path})."
    return _spoken(Stripe(), call, Answer(404, envelope("invalid_request_error", message)))
