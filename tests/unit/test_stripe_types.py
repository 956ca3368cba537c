"""The check of requests and objects against the types of Stripe's SDK finds what is wrong."""

from __future__ import annotations

from typing import Any

import pytest
import stripe

from tests.support.stripe_types import SentRequest, mistakes_of_object, mistakes_of_request

CREATE = "/v1/payment_intents"


def mistakes(method: str, path: str, parameters: str) -> list[str]:
    return mistakes_of_request(SentRequest(method, path, parameters))


@pytest.mark.parametrize(
    ("method", "path", "parameters"),
    [
        (
            "POST",
            CREATE,
            "amount=100&currency=eur&capture_method=manual&metadata[order_id]=1"
            "&allowed_payment_method_types[0]=card&confirm=true&off_session=recurring"
            "&shipping[name]=Ada&shipping[address][line1]=Main%20St",
        ),
        ("POST", f"{CREATE}/pi_1/confirm", "payment_method=pm_1&receipt_email="),
        ("POST", f"{CREATE}/pi_1/cancel", ""),
        ("GET", CREATE, "created[gte]=1&created[lte]=2&limit=3&expand[0]=data.latest_charge"),
        ("GET", "/v1/charges", "payment_intent=pi_1&created=5"),
        ("GET", "/v1/radar/early_fraud_warnings/issfr_1", ""),
    ],
)
def test_a_request_as_stripe_describes_it_has_no_mistake(
    method: str, path: str, parameters: str
) -> None:
    assert mistakes(method, path, parameters) == []


@pytest.mark.parametrize(
    ("method", "path", "parameters", "mistake"),
    [
        ("POST", CREATE, "amount=1&currency=eur&ammount=1", "ammount: unknown"),
        ("POST", CREATE, "currency=eur", "amount: missing"),
        ("POST", CREATE, "amount=1.5&currency=eur", "amount=1.5: must be int"),
        ("POST", CREATE, "amount=1&currency=eur&confirm=yes", "confirm=yes: must be bool"),
        ("POST", CREATE, "amount=1&currency=eur&metadata=x", "metadata=x: must be a map"),
        (
            "POST",
            CREATE,
            "amount=1&currency=eur&allowed_payment_method_types=card",
            "allowed_payment_method_types=card: must be a list",
        ),
        (
            "POST",
            CREATE,
            "amount=1&currency=eur&automatic_payment_methods[redirects]=never",
            "automatic_payment_methods[redirects]: unknown",
        ),
        (
            "POST",
            CREATE,
            "amount=1&currency=eur&shipping[name]=Ada",
            "shipping[address]: missing",
        ),
        (
            "POST",
            CREATE,
            "amount=1&currency=eur&capture_method=late",
            "capture_method=late: must be one of 'automatic', 'automatic_async', 'manual'",
        ),
        ("POST", CREATE, "amount=1&currency=eur&idempotency_key=k", "idempotency_key: unknown"),
        ("POST", f"{CREATE}/pi_1/confirm", "amount=1", "amount: unknown"),
        ("GET", CREATE, "created[since]=1", "created[since]: unknown"),
        ("GET", f"{CREATE}/pi_1", "expand=latest_charge", "expand=latest_charge: must be a list"),
    ],
)
def test_each_kind_of_mistake_is_named(
    method: str, path: str, parameters: str, mistake: str
) -> None:
    assert mistake in mistakes(method, path, parameters)


def test_a_request_without_a_type_is_a_mistake() -> None:
    [mistake] = mistakes("POST", "/v1/payment_intents/pi_1/explode", "")
    assert "has no type" in mistake


@pytest.mark.parametrize(
    ("change", "mistake"),
    [
        ({"exploded": True}, "exploded: unknown"),
        ({"status": "exploded"}, "status='exploded': must be one of"),
        ({"amount": "100"}, "amount='100': must be int"),
        ({"last_payment_error": {"kode": "x"}}, "last_payment_error.kode: unknown"),
        ({"last_payment_error": {"code": "nothing"}}, "last_payment_error.code='nothing'"),
        ({"payment_method_types": "card"}, "payment_method_types='card': must be a list"),
        ({"latest_charge": {"id": "ch_1", "paid": "yes"}}, "latest_charge.paid='yes'"),
    ],
)
def test_an_object_that_is_not_like_stripes_is_found(change: dict[str, Any], mistake: str) -> None:
    intent = {"id": "pi_1", "object": "payment_intent", "amount": 100, "status": "succeeded"}
    assert mistakes_of_object(intent, stripe.PaymentIntent) == []
    found = mistakes_of_object(intent | change, stripe.PaymentIntent)
    assert any(one.startswith(mistake) for one in found), found
