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

from sandbox.world.faults import Fault
from sandbox.world.orders import order_id_of_key
from sandbox.world.request_log import RequestLog
from sandbox.world.request_pipeline import (
    ApiCall,
    ApiError,
    ApiResponse,
    RequestPipeline,
    fingerprint,
    to_http_response,
)
from sandbox.world.state_store import JsonObject, new_id
from sandbox.world.stripe import (
    customers,
    disputes,
    intents,
    payment_methods,
    radar,
    refunds,
    rules,
)
from sandbox.world.stripe.context import API_VERSION, KINDS, OperationContext
from sandbox.world.stripe.error_messages import StripeProvider
from sandbox.world.stripe.errors import envelope, invalid, unauthorized
from sandbox.world.stripe.parameters import (
    EXPAND,
    ONE_CURSOR,
    PAGE,
    ParameterSchema,
    check_exclusive,
    parse,
    validated,
)

_PARENT: Final = {"payment_intent": "text"}
_EXPANDABLE: Final = {
    "charge",
    "customer",
    "latest_charge",
    "payment_intent",
    "payment_method",
    "review",
}


@dataclass(frozen=True)
class _Endpoint:
    """One endpoint: the name that faults use for it, its path, parameters and operation.

    `exclusive` are groups of parameters of which a request may have one.
    """

    name: str
    method: str
    path: str
    schema: ParameterSchema
    operation: Callable[[OperationContext, str, JsonObject], JsonObject]
    exclusive: tuple[tuple[str, ...], ...] = ()


def _list_operation(
    kind: str, path: str
) -> Callable[[OperationContext, str, JsonObject], JsonObject]:
    def operation(context: OperationContext, object_id: str, params: JsonObject) -> JsonObject:
        limit = params.get("limit", 10)
        if not 1 <= limit <= 100:
            raise invalid("Invalid integer: limit is between 1 and 100.", param="limit")
        for cursor in ("starting_after", "ending_before"):
            if cursor in params:
                context.load(kind, params[cursor], cursor, status=400)
        found = context.store.page(
            kind,
            limit=limit,
            starting_after=params.get("starting_after"),
            ending_before=params.get("ending_before"),
            parent=params.get("payment_intent"),
            customer=params.get("customer") or object_id or None,
            created=params.get("created"),
            fields={name: params[name] for name in ("charge", "email", "type") if name in params},
        )
        data = found[:limit]
        if "ending_before" in params:
            data.reverse()
        url = path.format(id=object_id)
        return {"object": "list", "data": data, "has_more": len(found) > limit, "url": url}

    return operation


_ENDPOINTS: Final = (
    _Endpoint(
        "stripe.payment_intents.create", "POST", "/v1/payment_intents", rules.CREATE,
        lambda context, _, params: intents.create_intent(context, params), rules.WHICH_METHODS,
    ),
    _Endpoint(
        "stripe.payment_intents.list", "GET", "/v1/payment_intents", {**PAGE, "customer": "text"},
        _list_operation("payment_intent", "/v1/payment_intents"), ONE_CURSOR,
    ),
    _Endpoint(
        "stripe.payment_intents.retrieve", "GET", "/v1/payment_intents/{id}",
        {**EXPAND, "client_secret": "text"},
        lambda context, id_, _: intents.load_intent(context, id_),
    ),
    _Endpoint(
        "stripe.payment_intents.confirm", "POST", "/v1/payment_intents/{id}/confirm",
        rules.CONFIRM,
        lambda context, id_, params: intents.confirm_intent(
            context, intents.load_intent(context, id_), params
        ),
    ),
    _Endpoint(
        "stripe.payment_intents.capture", "POST", "/v1/payment_intents/{id}/capture",
        rules.CAPTURE,
        lambda context, id_, params: intents.capture_intent(
            context, intents.load_intent(context, id_), params
        ),
    ),
    _Endpoint(
        "stripe.payment_intents.cancel", "POST", "/v1/payment_intents/{id}/cancel",
        rules.CANCEL,
        lambda context, id_, params: intents.cancel_intent(
            context, intents.load_intent(context, id_), params
        ),
    ),
    _Endpoint(
        "stripe.charges.list", "GET", "/v1/charges", {**PAGE, **_PARENT, "customer": "text"},
        _list_operation("charge", "/v1/charges"), ONE_CURSOR,
    ),
    _Endpoint(
        "stripe.charges.retrieve", "GET", "/v1/charges/{id}", EXPAND,
        lambda context, id_, _: context.load("charge", id_, "id"),
    ),
    _Endpoint(
        "stripe.refunds.create", "POST", "/v1/refunds", refunds.CREATE,
        lambda context, _, params: refunds.create_refund(context, params), refunds.ONE_PAYMENT,
    ),
    _Endpoint(
        "stripe.refunds.list", "GET", "/v1/refunds", {**PAGE, **_PARENT, "charge": "text"},
        _list_operation("refund", "/v1/refunds"), ONE_CURSOR,
    ),
    _Endpoint(
        "stripe.refunds.retrieve", "GET", "/v1/refunds/{id}", EXPAND,
        lambda context, id_, _: context.load("refund", id_, "id"),
    ),
    _Endpoint(
        "stripe.payment_methods.create", "POST", "/v1/payment_methods", payment_methods.CREATE,
        lambda context, _, params: payment_methods.create_payment_method(context, params),
    ),
    _Endpoint(
        "stripe.payment_methods.list", "GET", "/v1/payment_methods", payment_methods.LIST,
        _list_operation("payment_method", "/v1/payment_methods"), ONE_CURSOR,
    ),
    _Endpoint(
        "stripe.payment_methods.retrieve", "GET", "/v1/payment_methods/{id}", EXPAND,
        lambda context, id_, _: payment_methods.find_payment_method(context, id_, status=404),
    ),
    _Endpoint(
        "stripe.payment_methods.attach", "POST", "/v1/payment_methods/{id}/attach",
        payment_methods.ATTACH,
        lambda context, id_, params: payment_methods.attach_payment_method(
            context, payment_methods.find_payment_method(context, id_, status=404), params
        ),
    ),
    _Endpoint(
        "stripe.payment_methods.detach", "POST", "/v1/payment_methods/{id}/detach", EXPAND,
        lambda context, id_, _: payment_methods.detach_payment_method(
            context, payment_methods.find_payment_method(context, id_, status=404)
        ),
    ),
    _Endpoint(
        "stripe.customers.create", "POST", "/v1/customers", customers.CREATE,
        lambda context, _, params: payment_methods.create_customer(context, params),
    ),
    _Endpoint(
        "stripe.customers.list", "GET", "/v1/customers", customers.LIST,
        _list_operation("customer", "/v1/customers"), ONE_CURSOR,
    ),
    _Endpoint(
        "stripe.customers.retrieve", "GET", "/v1/customers/{id}", EXPAND,
        lambda context, id_, _: context.load("customer", id_, "id"),
    ),
    _Endpoint(
        "stripe.customers.update", "POST", "/v1/customers/{id}", customers.UPDATE,
        lambda context, id_, params: customers.update_customer(
            context, customers.load_customer(context, id_, "id", status=404), params
        ),
    ),
    _Endpoint(
        "stripe.customers.delete", "DELETE", "/v1/customers/{id}", {},
        lambda context, id_, _: customers.delete_customer(
            context, customers.load_customer(context, id_, "id", status=404)
        ),
    ),
    _Endpoint(
        "stripe.customers.payment_methods", "GET", "/v1/customers/{id}/payment_methods",
        payment_methods.LIST_OF_CUSTOMER,
        _list_operation("payment_method", "/v1/customers/{id}/payment_methods"), ONE_CURSOR,
    ),
    _Endpoint(
        "stripe.disputes.list", "GET", "/v1/disputes", disputes.LIST,
        _list_operation("dispute", "/v1/disputes"), ONE_CURSOR,
    ),
    _Endpoint(
        "stripe.disputes.retrieve", "GET", "/v1/disputes/{id}", EXPAND,
        lambda context, id_, _: context.load("dispute", id_, "id"),
    ),
    _Endpoint(
        "stripe.disputes.update", "POST", "/v1/disputes/{id}", disputes.UPDATE,
        lambda context, id_, params: disputes.update_dispute(
            context, context.load("dispute", id_, "id"), params
        ),
    ),
    _Endpoint(
        "stripe.disputes.close", "POST", "/v1/disputes/{id}/close", EXPAND,
        lambda context, id_, _: disputes.lose_dispute(context, context.load("dispute", id_, "id")),
    ),
    _Endpoint(
        "stripe.reviews.list", "GET", "/v1/reviews", PAGE, _list_operation("review", "/v1/reviews"),
        ONE_CURSOR,
    ),
    _Endpoint(
        "stripe.reviews.retrieve", "GET", "/v1/reviews/{id}", EXPAND,
        lambda context, id_, _: context.load("review", id_, "id"),
    ),
    _Endpoint(
        "stripe.reviews.approve", "POST", "/v1/reviews/{id}/approve", EXPAND,
        lambda context, id_, _: radar.approve_review(context, context.load("review", id_, "id")),
    ),
    _Endpoint(
        "stripe.early_fraud_warnings.list", "GET", "/v1/radar/early_fraud_warnings",
        {**PAGE, **_PARENT, "charge": "text"},
        _list_operation("early_fraud_warning", "/v1/radar/early_fraud_warnings"), ONE_CURSOR,
    ),
    _Endpoint(
        "stripe.early_fraud_warnings.retrieve", "GET", "/v1/radar/early_fraud_warnings/{id}",
        EXPAND,
        lambda context, id_, _: context.load("early_fraud_warning", id_, "id"),
    ),
)  # fmt: skip


def parameter_schemas() -> dict[tuple[str, str], ParameterSchema]:
    """The schema of each endpoint, by its method and path."""
    return {(endpoint.method, endpoint.path): endpoint.schema for endpoint in _ENDPOINTS}


def stripe_routes(pipeline: RequestPipeline, log: RequestLog) -> list[Route]:
    provider = StripeProvider()
    return [
        Route(endpoint.path, _handler(pipeline, provider, endpoint, log), methods=[endpoint.method])
        for endpoint in _ENDPOINTS
    ] + [Route("/v1/{path:path}", _unknown_url, methods=["GET", "POST", "DELETE"])]


def _handler(
    pipeline: RequestPipeline, provider: StripeProvider, endpoint: _Endpoint, log: RequestLog
) -> Callable[[Request], object]:
    async def handle(request: Request) -> Response:
        encoded = (
            (await request.body()).decode(errors="replace") if endpoint.method == "POST" else ""
        )
        encoded = encoded or request.url.query
        log.add(request.method, request.url.path, encoded, request.headers.get("stripe-version"))
        object_id = request.path_params.get("id", "")
        request_id = new_id("req", 14)
        key = request.headers.get("idempotency-key") if endpoint.method == "POST" else None
        call = ApiCall(endpoint.name, request.url.path, request_id)
        try:
            authenticate(request.headers.get("authorization", ""))
            _check_version(request.headers.get("stripe-version", API_VERSION))
            given = parse(encoded)
            call = ApiCall(
                endpoint.name,
                request.url.path,
                request_id,
                order_id=_order_id(pipeline, object_id, given, key),
                key=key,
                fingerprint=fingerprint(given),
            )
            check_exclusive(given, endpoint.exclusive)
            params = validated(given, endpoint.schema)
        except ApiError as error:
            return _to_http_response(provider, call, error.response)

        def operation(fault: Fault | None) -> ApiResponse:
            url = f"{request.url.scheme}://{request.url.netloc}"
            context = OperationContext(
                pipeline.store, int(pipeline.clock()), url, call.order_id, fault
            )
            try:
                body = endpoint.operation(context, object_id, params)
                return ApiResponse(200, _expanded(context, body, params.get("expand", [])))
            except ApiError as error:
                error.response.body["error"]["request_log_url"] = (
                    f"https://dashboard.stripe.com/test/logs/{request_id}"
                )
                raise

        return await pipeline.handle(provider, call, operation)

    return handle


def authenticate(authorization: str) -> None:
    """Raise Stripe's 401 unless this is a test key."""
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


def _check_version(version: str) -> None:
    """Refuse another version of the API, whose rules the stand-in does not know."""
    if version != API_VERSION:
        raise invalid(f"The sandbox speaks version {API_VERSION} of Stripe's API, not {version}.")


def _order_id(
    pipeline: RequestPipeline, object_id: str, given: JsonObject, key: str | None
) -> str | None:
    """The order of a request: from its metadata, the object that it names, or its key."""
    metadata = given.get("metadata")
    if isinstance(metadata, dict) and isinstance(metadata.get("order_id"), str):
        return str(metadata["order_id"])
    for named in (object_id, given.get("payment_intent"), given.get("charge")):
        kind = KINDS.get(str(named).partition("_")[0])
        if kind is not None and (found := pipeline.store.order_of(kind, str(named))):
            return found
    return order_id_of_key(key)


def _expanded(context: OperationContext, body: JsonObject, paths: list[str]) -> JsonObject:
    """Replace ids by whole objects ("Expanding responses")."""
    for path in paths:
        head, _, rest = path.partition(".")
        if head == "data" and body.get("object") == "list":
            body = {**body, "data": [_expanded(context, item, [rest]) for item in body["data"]]}
            continue
        if head not in _EXPANDABLE or head not in body:
            raise invalid(f"This property cannot be expanded ({head}).", param="expand")
        inner = body[head]
        if isinstance(inner, str):
            inner = context.load(KINDS[inner.partition("_")[0]], inner, head)
        if inner is not None:
            body = {**body, head: _expanded(context, inner, [rest]) if rest else inner}
    return body


def _to_http_response(provider: StripeProvider, call: ApiCall, response: ApiResponse) -> Response:
    return to_http_response(response, provider.headers(call))


async def _unknown_url(request: Request) -> Response:
    call = ApiCall("", request.url.path, new_id("req", 14))
    message = f"Unrecognized request URL ({request.method}: {request.url.path})."
    return _to_http_response(
        StripeProvider(), call, ApiResponse(404, envelope("invalid_request_error", message))
    )
