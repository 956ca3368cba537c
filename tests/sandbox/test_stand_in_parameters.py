"""The stand-in takes no parameter, and shows no field, that Stripe's own types do not have."""

import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import httpx
import pytest
import stripe

import sandbox.world.stripe
from sandbox.world.stripe.api import parameter_schemas
from sandbox.world.stripe.context import API_VERSION
from sandbox.world.stripe.parameters import ParameterSchema
from tests.sandbox.buying import a_payment, paid, payment_parameters
from tests.support.stripe_types import (
    REQUESTS,
    SentRequest,
    literals,
    mistakes_of_object,
    mistakes_of_request,
    nested_type,
    parameter_types,
)

KEY = {"Authorization": "Bearer sk_test_sandbox"}

#: Codes of errors that are not about a payment, and so not in the SDK's list for payments.
OTHER_CODES = {"idempotency_key_in_use", "payment_method_types_no_longer_supported"}


def test_the_stand_in_speaks_the_version_of_the_pinned_sdk() -> None:
    assert stripe.api_version == API_VERSION


async def test_another_version_is_refused(shop: stripe.StripeClient) -> None:
    with pytest.raises(stripe.InvalidRequestError, match=re.escape(API_VERSION)):
        await shop.v1.payment_intents.list_async({}, {"stripe_version": "2024-06-20"})


@pytest.mark.parametrize("endpoint", parameter_schemas(), ids=" ".join)
def test_each_parameter_is_one_of_stripes(endpoint: tuple[str, str]) -> None:
    request = SentRequest(*endpoint, "")
    kind = REQUESTS[request.pattern]
    assert list(_differences(parameter_schemas()[endpoint], kind, "")) == []


def _differences(schema: ParameterSchema, kind: Any, within: str) -> Iterator[str]:
    known = parameter_types(kind)
    for name, ours in schema.items():
        bare, full = name.rstrip("!"), f"{within}{name}"
        if ours == "removed":
            assert bare not in known
        elif bare not in known:
            yield f"{full} is unknown"
        elif isinstance(ours, tuple) and (theirs := literals(known[bare])):
            yield from (f"{full}={one} is unknown" for one in set(ours) - theirs)
        elif isinstance(ours, Mapping):
            nested = nested_type(known[bare])
            assert nested is not None, full
            yield from _differences(ours, nested, f"{full}.")
    required = {name.rstrip("!") for name in schema if name.endswith("!")}
    yield from (f"{within}{name} is required" for name in kind.__required_keys__ - required)


def test_each_error_code_is_one_of_stripes() -> None:
    sources = Path(sandbox.world.stripe.__path__[0]).glob("*.py")
    named = {
        code
        for source in sources
        for code in re.findall(r"\bcode ?= ?\"(\w+)\"", source.read_text(encoding="utf-8"))
    }
    error = stripe.PaymentIntent.LastPaymentError
    theirs = literals(error.__annotations__["code"])
    assert {"parameters_exclusive", "payment_method_unexpected_state"} <= named
    assert named - theirs - OTHER_CODES == set()


async def test_each_object_is_like_stripes(
    shop: stripe.StripeClient, http: httpx.AsyncClient
) -> None:
    customer = await shop.v1.customers.create_async({"email": "ada@example.com", "name": "Ada"})
    declined = await a_payment(shop)
    with pytest.raises(stripe.CardError):
        await shop.v1.payment_intents.confirm_async(
            declined.id, {"payment_method": "pm_card_chargeDeclined"}
        )
    waiting = await paid(
        shop, card="pm_card_authenticationRequired", return_url="https://x.example"
    )
    held = await paid(shop, capture_method="manual", customer=customer.id)
    disputed = await paid(shop, card="pm_card_createDispute")
    inquired = await paid(shop, card="pm_card_createDisputeInquiry")
    reported = await paid(shop, card="pm_card_createIssuerFraudRecord")
    reviewed = await paid(shop, card="pm_card_riskLevelElevated")
    refund = await shop.v1.refunds.create_async({"payment_intent": reported.id})
    await http.post(f"/sandbox/refunds/{refund.id}/settle", json={"outcome": "fail"})

    async def found(path: str) -> list[dict[str, Any]]:
        answer = await http.get(path, headers=KEY)
        body = answer.raise_for_status().json()
        return body["data"] if body["object"] == "list" else [body]

    intents = [declined, waiting, held, disputed, inquired, reported, reviewed]
    objects = {
        stripe.PaymentIntent: [f"/v1/payment_intents/{intent.id}" for intent in intents],
        stripe.Charge: [f"/v1/charges?payment_intent={intent.id}" for intent in intents],
        stripe.PaymentMethod: [f"/v1/payment_methods/{held.payment_method}"],
        stripe.Customer: [f"/v1/customers/{customer.id}"],
        stripe.Refund: [f"/v1/refunds/{refund.id}"],
        stripe.Dispute: [f"/v1/disputes?payment_intent={disputed.id}", "/v1/disputes"],
        stripe.Review: ["/v1/reviews"],
        stripe.radar.EarlyFraudWarning: ["/v1/radar/early_fraud_warnings"],
    }
    for kind, paths in objects.items():
        bodies = [body for path in paths for body in await found(path)]
        assert bodies, kind
        for body in bodies:
            assert mistakes_of_object(body, kind) == [], body


@pytest.mark.parametrize(
    ("parameters", "named"),
    [
        ({"allowed_payment_method_types": ["card"]}, "automatic_payment_methods"),
        (
            {
                "automatic_payment_methods": None,
                "allowed_payment_method_types": ["card"],
                "excluded_payment_method_types": ["link"],
            },
            "excluded_payment_method_types",
        ),
    ],
)
async def test_parameters_that_exclude_each_other_are_refused(
    shop: stripe.StripeClient, parameters: dict[str, Any], named: str
) -> None:
    given = {k: v for k, v in payment_parameters(**parameters).items() if v is not None}
    with pytest.raises(stripe.InvalidRequestError, match=named) as refused:
        await shop.v1.payment_intents.create_async(given)  # type: ignore[arg-type]
    assert (refused.value.http_status, refused.value.code) == (400, "parameters_exclusive")


async def test_a_refund_names_a_charge_or_a_payment(shop: stripe.StripeClient) -> None:
    intent = await paid(shop)
    with pytest.raises(stripe.InvalidRequestError) as refused:
        await shop.v1.refunds.create_async(
            {"payment_intent": intent.id, "charge": str(intent.latest_charge)}
        )
    assert refused.value.code == "parameters_exclusive"
    with pytest.raises(stripe.InvalidRequestError) as missing:
        await shop.v1.refunds.create_async({"amount": 100})
    assert missing.value.code == "parameter_missing"


async def test_a_list_goes_one_way(shop: stripe.StripeClient) -> None:
    intent = await a_payment(shop)
    with pytest.raises(stripe.InvalidRequestError) as refused:
        await shop.v1.payment_intents.list_async(
            {"starting_after": intent.id, "ending_before": intent.id}
        )
    assert refused.value.code == "parameters_exclusive"


@pytest.mark.parametrize("path", ["/v1/payment_intents", "/v1/payment_intents/{id}/confirm"])
async def test_payment_method_types_are_gone(
    shop: stripe.StripeClient, http: httpx.AsyncClient, path: str
) -> None:
    intent = await a_payment(shop, payment_method="pm_card_visa")
    given = {"payment_method_types[]": "card"}
    if path == "/v1/payment_intents":
        given |= {"amount": "500", "currency": "eur"}
    refused = await http.post(path.format(id=intent.id), data=given, headers=KEY)
    assert refused.status_code == 400
    assert refused.json()["error"]["code"] == "payment_method_types_no_longer_supported"
    assert (await shop.v1.payment_intents.retrieve_async(intent.id)).status == intent.status


@pytest.mark.parametrize(
    ("path", "given", "code", "param"),
    [
        ("/v1/payment_intents/{id}/confirm", {"amount": "5"}, "parameter_unknown", "amount"),
        ("/v1/payment_intents/{id}/capture", {"amount": "5"}, "parameter_unknown", "amount"),
        ("/v1/payment_intents/{id}/cancel", {"reason": "x"}, "parameter_unknown", "reason"),
        ("/v1/refunds", {"payment": "{id}"}, "parameter_unknown", "payment"),
        ("/v1/customers", {"mail": "a@b.example"}, "parameter_unknown", "mail"),
        ("/v1/customers", {"email": "ada"}, "email_invalid", "email"),
        (
            "/v1/payment_intents/{id}/confirm",
            {"receipt_email": "ada"},
            "email_invalid",
            "receipt_email",
        ),
        (
            "/v1/payment_intents/{id}/confirm",
            {"shipping[name]": "Ada", "shipping[address][street]": "Main St"},
            "parameter_unknown",
            "shipping[address][street]",
        ),
        (
            "/v1/payment_intents/{id}/confirm",
            {"shipping[address][line1]": "Main St"},
            "parameter_missing",
            "shipping[name]",
        ),
        ("/v1/payment_methods", {"type": "card"}, "parameter_missing", "card"),
        ("/v1/payment_methods/pm_card_visa/attach", {}, "parameter_missing", "customer"),
    ],
)
async def test_a_wrong_parameter_has_stripes_code(
    shop: stripe.StripeClient,
    http: httpx.AsyncClient,
    path: str,
    given: dict[str, str],
    code: str,
    param: str,
) -> None:
    intent = await a_payment(shop, payment_method="pm_card_visa")
    refused = await http.post(path.format(id=intent.id), data=given, headers=KEY)
    error = refused.json()["error"]
    assert (refused.status_code, error["type"]) == (400, "invalid_request_error")
    assert (error["code"], error["param"]) == (code, param)


async def test_a_statement_descriptor_is_not_for_cards(shop: stripe.StripeClient) -> None:
    with pytest.raises(stripe.InvalidRequestError) as refused:
        await a_payment(shop, statement_descriptor="The Shop")
    assert refused.value.param == "statement_descriptor"
    intent = await a_payment(
        shop,
        statement_descriptor_suffix="ORDER 1001",
        receipt_email="ada@example.com",
        description="Order 1001",
        shipping={"name": "Ada", "address": {"line1": "12 St James's Square", "country": "GB"}},
    )
    assert (intent.receipt_email, intent.description) == ("ada@example.com", "Order 1001")
    assert intent.shipping is not None
    assert intent.shipping.name == "Ada"


async def test_the_log_keeps_requests_as_they_were_sent(
    shop: stripe.StripeClient, http: httpx.AsyncClient
) -> None:
    newest = (await http.get("/sandbox/requests")).json()["newest"]
    intent = await a_payment(shop, "logged")
    [logged] = (await http.get(f"/sandbox/requests?after={newest}")).json()["requests"]
    assert (logged["method"], logged["path"]) == ("POST", "/v1/payment_intents")
    assert logged["api_version"] == API_VERSION
    assert "metadata[order_id]=logged" in logged["parameters"]
    assert intent.id not in logged["parameters"]
    assert (await http.get("/sandbox/requests?after=x")).status_code == 400


async def test_a_request_in_the_log_that_stripe_does_not_describe_is_found(
    http: httpx.AsyncClient,
) -> None:
    newest = (await http.get("/sandbox/requests")).json()["newest"]
    given = {"amount": "500", "currency": "eur", "kapture_method": "manual"}
    await http.post("/v1/payment_intents", data=given, headers=KEY)
    [logged] = (await http.get(f"/sandbox/requests?after={newest}")).json()["requests"]
    sent = SentRequest(logged["method"], logged["path"], logged["parameters"])
    assert mistakes_of_request(sent) == ["kapture_method: unknown"]
