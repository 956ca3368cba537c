"""Control API of the stand-in's Stripe: what customers, banks and Stripe itself do.

All are `POST /sandbox/…` with a JSON body or a form:

    customers                          {"payment_method"?}: a new customer with this saved card,
                                       pm_card_visa if none is named; answers both ids
    payment_intents/{id}/authenticate  {"outcome"}: the customer passes or fails 3-D Secure
    payment_intents/{id}/confirm       {"payment_method", "authentication"?}: the customer confirms
                                       in the browser, with another card say; 402 for a decline
    payment_intents/{id}/settle        {"outcome"}: the bank decides on a `processing` payment
    payment_intents/{id}/lapse         a hold expires before it was captured
    payment_intents/{id}/dispute       {"reason"?, "amount"?, "inquiry"?, "due_in"?}: the cardholder
                                       disputes; evidence is due in so many seconds
    payment_intents/{id}/warn          {"fraud_type"?}: the card's issuer reports fraud
    payment_intents/{id}/review        a person puts the payment into review
    disputes/{id}/{win|lose|withdraw|escalate}   the bank decides, the cardholder withdraws, or an
                                       inquiry becomes a chargeback
    refunds/{id}/settle                {"outcome"?, "reason"?}: a refund arrives, or fails later
    stripe                             {"confirm_limit"}: confirms of one intent before Stripe
                                       cancels it; GET shows it

`outcome` and `authentication` are `succeed` or `fail`.
"""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any, Final

from starlette.requests import Request
from starlette.responses import JSONResponse, RedirectResponse, Response
from starlette.routing import Route

from sandbox.world.control_requests import error_response, json_body
from sandbox.world.request_pipeline import ApiError, RequestPipeline, to_http_response
from sandbox.world.state_store import JsonObject
from sandbox.world.stripe.bank_events import (
    confirm_in_browser,
    expire_hold,
    finish_authentication,
    finish_processing,
)
from sandbox.world.stripe.context import OperationContext
from sandbox.world.stripe.disputes import (
    REASONS,
    RESPONSE_SECONDS,
    escalate_inquiry,
    lose_dispute,
    open_dispute,
    win_dispute,
)
from sandbox.world.stripe.errors import not_possible
from sandbox.world.stripe.intents import load_intent
from sandbox.world.stripe.payment_methods import (
    attach_payment_method,
    create_customer,
    find_payment_method,
)
from sandbox.world.stripe.radar import FRAUD_TYPES, add_warning, open_review
from sandbox.world.stripe.refunds import FAILURES, settle_refund
from sandbox.world.stripe.rules import DEFAULT_CONFIRM_LIMIT

_OUTCOMES: Final = ("succeed", "fail")


class _WrongWishError(Exception):
    """The body of a request is wrong; the message says what is right."""


@dataclass(frozen=True)
class _Event:
    """A request of the control API about one object."""

    context: OperationContext
    object_id: str
    body: JsonObject

    def outcome(self, name: str = "outcome") -> bool:
        """Whether it is `succeed` and not `fail`."""
        return bool(self.one_of(name, _OUTCOMES) == "succeed")

    def one_of(self, name: str, allowed: tuple[str, ...], default: Any = None) -> Any:
        value = self.body.get(name, default)
        if value not in allowed:
            choice = " or ".join(filter(None, (", ".join(allowed[:-1]), allowed[-1])))
            raise _WrongWishError(f"{name} is {choice}, not {value!r}.")
        return value

    def intent(self) -> JsonObject:
        return load_intent(self.context, self.object_id)

    def charge(self) -> JsonObject:
        """The captured charge of the intent."""
        charge_id = self.intent()["latest_charge"]
        charge = charge_id and self.context.load("charge", charge_id, "charge")
        if not charge or not charge["captured"]:
            raise not_possible("This PaymentIntent has no captured charge.")
        return dict(charge)

    def load(self, kind: str) -> JsonObject:
        return self.context.load(kind, self.object_id, "id")


def _authenticate(event: _Event) -> JsonObject:
    passed = event.outcome()
    return finish_authentication(event.context, event.intent(), passed=passed)


def _confirm(event: _Event) -> JsonObject:
    card = event.body.get("payment_method")
    if not isinstance(card, str):
        raise _WrongWishError(f"payment_method is a name as pm_card_visa, not {card!r}.")
    passes = event.outcome("authentication") if "authentication" in event.body else None
    return confirm_in_browser(event.context, event.intent(), card, passes=passes)


def _settle(event: _Event) -> JsonObject:
    passed = event.outcome()
    return finish_processing(event.context, event.intent(), passed=passed)


def _lapse(event: _Event) -> JsonObject:
    return expire_hold(event.context, event.intent())


def _dispute(event: _Event) -> JsonObject:
    reason = event.one_of("reason", REASONS, "fraudulent")
    charge = event.charge()
    amount = event.body.get("amount", charge["amount_captured"])
    if type(amount) is not int or not 1 <= amount <= charge["amount_captured"]:
        raise _WrongWishError(f"amount is at most {charge['amount_captured']}, not {amount!r}.")
    is_inquiry = bool(event.body.get("inquiry"))
    due_in = event.body.get("due_in", RESPONSE_SECONDS)
    if type(due_in) is not int or due_in < 1:
        raise _WrongWishError(f"due_in is a number of seconds, not {due_in!r}.")
    return open_dispute(
        event.context, charge, reason, amount=amount, is_inquiry=is_inquiry, due_in=due_in
    )


def _warn(event: _Event) -> JsonObject:
    fraud_type = event.one_of("fraud_type", FRAUD_TYPES, "made_with_stolen_card")
    return add_warning(event.context, event.charge(), fraud_type)


def _review(event: _Event) -> JsonObject:
    intent = event.intent()
    if intent["latest_charge"] is None:
        raise not_possible("This PaymentIntent has no charge to review.")
    charge = event.context.load("charge", intent["latest_charge"], "charge")
    return open_review(event.context, intent, charge, "manual")


def _settle_refund(event: _Event) -> JsonObject:
    succeeds = event.outcome() if "outcome" in event.body else None
    failure = event.one_of("reason", FAILURES) if "reason" in event.body else None
    return settle_refund(event.context, event.load("refund"), succeeds=succeeds, failure=failure)


_BY_THE_CUSTOMER: Final = {
    "payment_intents/{id}/authenticate": _authenticate,
    "payment_intents/{id}/confirm": _confirm,
}


def _decided(
    decide: Callable[[OperationContext, JsonObject], JsonObject],
) -> tuple[str, Callable[[_Event], JsonObject]]:
    return "dispute", lambda event: decide(event.context, event.load("dispute"))


_EVENTS: Final[dict[str, tuple[str, Callable[[_Event], JsonObject]]]] = {
    "payment_intents/{id}/settle": ("payment_intent", _settle),
    "payment_intents/{id}/lapse": ("payment_intent", _lapse),
    "payment_intents/{id}/dispute": ("payment_intent", _dispute),
    "payment_intents/{id}/warn": ("payment_intent", _warn),
    "payment_intents/{id}/review": ("payment_intent", _review),
    "disputes/{id}/win": _decided(win_dispute),
    "disputes/{id}/withdraw": _decided(win_dispute),
    "disputes/{id}/lose": _decided(lose_dispute),
    "disputes/{id}/escalate": _decided(escalate_inquiry),
    "refunds/{id}/settle": ("refund", _settle_refund),
}
"""The kind of the object and the event, by path."""


def stripe_control_routes(pipeline: RequestPipeline) -> list[Route]:
    return [
        Route("/sandbox/customers", _customer_handler(pipeline), methods=["POST"]),
        Route("/sandbox/stripe", _settings_handler(pipeline), methods=["GET", "POST"]),
        *(
            Route(f"/sandbox/{path}", _page_handler(pipeline, event), methods=["POST"])
            for path, event in _BY_THE_CUSTOMER.items()
        ),
        *(
            Route(f"/sandbox/{path}", _handler(pipeline, kind, event), methods=["POST"])
            for path, (kind, event) in _EVENTS.items()
        ),
    ]


def _handler(
    pipeline: RequestPipeline, kind: str, operation: Callable[[_Event], JsonObject]
) -> Callable[[Request], Awaitable[Response]]:
    async def handle(request: Request) -> Response:
        object_id = request.path_params["id"]
        context = OperationContext(
            pipeline.store,
            int(pipeline.clock()),
            str(request.base_url).rstrip("/"),
            pipeline.store.order_of(kind, object_id),
        )
        event = _Event(context, object_id, await json_body(request))
        try:
            with pipeline.store.transaction():
                try:
                    return JSONResponse(operation(event))
                except ApiError as error:
                    if not error.response.began:
                        raise  # rolled back
                    return to_http_response(error.response, {})  # a declined card left its charge
        except ApiError as error:
            return to_http_response(error.response, {})
        except _WrongWishError as wrong:
            return error_response(400, str(wrong))

    return handle


def _page_handler(
    pipeline: RequestPipeline, operation: Callable[[_Event], JsonObject]
) -> Callable[[Request], Awaitable[Response]]:
    """As the others; a browser goes back to the shop, or to the page that it came from."""
    answer = _handler(pipeline, "payment_intent", operation)

    async def handle(request: Request) -> Response:
        intent_id = request.path_params["id"]
        intent = pipeline.store.find("payment_intent", intent_id) or {}
        redirect = (intent.get("next_action") or {}).get("redirect_to_url", {})
        response = await answer(request)
        if "text/html" not in request.headers.get("accept", ""):
            return response
        page = f"/sandbox/payment_intents/{intent_id}/authenticate"
        goes_back = redirect and response.status_code == 200
        return RedirectResponse(redirect["return_url"] if goes_back else page, 303)

    return handle


def _customer_handler(pipeline: RequestPipeline) -> Callable[[Request], Awaitable[Response]]:
    """Two requests of a shop in one, for whoever tries saved cards out by hand."""

    async def customers(request: Request) -> Response:
        body = {"payment_method": "pm_card_visa"} | await json_body(request)
        if set(body) != {"payment_method"} or not isinstance(body["payment_method"], str):
            return error_response(400, "A customer has one member: payment_method, pm_card_visa.")
        url = str(request.base_url).rstrip("/")
        context = OperationContext(pipeline.store, int(pipeline.clock()), url, None)
        try:
            with pipeline.store.transaction():
                customer = create_customer(context, {})
                method = find_payment_method(context, body["payment_method"])
                attach_payment_method(context, method, {"customer": customer["id"]})
        except ApiError as error:
            return to_http_response(error.response, {})
        return JSONResponse({"customer": customer["id"], "payment_method": method["id"]})

    return customers


def _settings_handler(pipeline: RequestPipeline) -> Callable[[Request], Awaitable[Response]]:
    async def settings(request: Request) -> Response:
        if request.method == "POST":
            body = await json_body(request)
            limit = body.get("confirm_limit")
            if set(body) != {"confirm_limit"} or type(limit) is not int or limit < 1:
                return error_response(400, "Stripe has one setting: confirm_limit, at least 1.")
            with pipeline.store.transaction():
                pipeline.store.set("stripe", body)
        return JSONResponse(
            {"confirm_limit": DEFAULT_CONFIRM_LIMIT} | pipeline.store.setting("stripe")
        )

    return settings
