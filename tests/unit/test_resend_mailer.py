"""What Resend may answer, and what it means (https://resend.com/docs/api-reference/errors)."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import timedelta

import pytest

from durable_orders.domain.activity_messages import MailAnswer, MailRefused
from durable_orders.domain.ports import (
    BusyError,
    LockedOutError,
    Mail,
    NoAnswerError,
    ProviderError,
    RefusedError,
)
from durable_orders.providers.resend.mailer import ResendMailer
from tests.unit.canned import Request, http, serving

Answer = Callable[[Request], bytes]

MAIL = Mail(
    to="ada@example.com",
    subject="Your order",
    html="<p>Hi</p>",
    text="Hi",
    tags=(("order id", "t-1"), ("kind", "Bestätigung!")),
)


async def send(answer: Answer) -> MailAnswer:
    async with (
        serving(answer) as url,
        ResendMailer("re_secret", sender="shop@example.com", api_url=url) as mailer,
    ):
        return await mailer.send(MAIL, key="order-1:mail:confirmation")


def answering(status: int, body: object, **headers: str) -> Answer:
    return lambda _: http(status, body, **headers)


def refusing(status: int, name: str, message: str = "no", **headers: str) -> Answer:
    body = {"statusCode": status, "name": name, "message": message}
    return answering(status, body, **headers)


async def test_a_mail_goes_out_whole_with_its_key_and_fit_tags() -> None:
    seen: list[Request] = []

    def take(request: Request) -> bytes:
        seen.append(request)
        return http(200, {"id": "m-1"})

    await send(take)
    (request,) = seen
    assert request.headers["idempotency-key"] == "order-1:mail:confirmation"
    assert request.headers["authorization"] == "Bearer re_secret"
    assert request.headers["content-type"] == "application/json"
    assert json.loads(request.body) == {
        "from": "shop@example.com",
        "to": ["ada@example.com"],
        "subject": "Your order",
        "html": "<p>Hi</p>",
        "text": "Hi",
        "tags": [
            {"name": "order_id", "value": "t-1"},
            {"name": "kind", "value": "Best_tigung_"},
        ],
    }


@pytest.mark.parametrize("status", [400, 422])
async def test_a_mail_that_cannot_be_sent_is_an_answer_without_the_address(status: int) -> None:
    message = "Invalid `to` field: Ada@example.com is blocked."
    answer = await send(refusing(status, "validation_error", message))
    assert answer == MailRefused(f"Resend refuses the mail (HTTP {status}): validation_error")


async def test_an_address_that_mentions_from_is_still_the_customers() -> None:
    message = "Invalid `to` field: away-from-home@example.com is blocked."
    assert isinstance(await send(refusing(422, "validation_error", message)), MailRefused)


@pytest.mark.parametrize(
    "answer",
    [
        answering(502, "<html>Bad Gateway</html>"),
        answering(404, "<html>a proxy's own page</html>"),
        answering(200, "<html>Welcome</html>"),
        answering(200, {}),
        answering(200, {"id": None}),
        answering(200, []),
        refusing(500, "application_error"),
        refusing(503, "service_unavailable"),
        refusing(408, "timeout"),
    ],
)
async def test_no_answer_is_never_a_refusal(answer: Answer) -> None:
    with pytest.raises(NoAnswerError) as caught:
        await send(answer)
    assert type(caught.value) is NoAnswerError


async def test_resend_may_say_how_long_to_wait() -> None:
    with pytest.raises(NoAnswerError) as caught:
        await send(refusing(429, "rate_limit_exceeded", **{"retry-after": "9"}))
    assert caught.value.retry_after == timedelta(seconds=9)


@pytest.mark.parametrize(
    "answer",
    [
        refusing(401, "missing_api_key"),
        refusing(401, "restricted_api_key"),
        refusing(403, "invalid_api_key"),
        refusing(403, "validation_error", "You can only send to your own (me@example.com)"),
    ],
)
async def test_what_only_a_person_can_repair_is_locked_out(answer: Answer) -> None:
    with pytest.raises(LockedOutError, match="RESEND_API_KEY") as caught:
        await send(answer)
    assert "@" not in str(caught.value)


@pytest.mark.parametrize(
    ("status", "name", "message"),
    [
        (422, "validation_error", "Invalid `from` field. The email address needs to follow the …"),
        (422, "missing_required_field", "Missing `from` field."),
        (422, "invalid_from_address", "The from address is not valid."),
        (403, "invalid_from_address", "The from address is not valid."),
        (403, "validation_error", "The shop.example domain is not verified."),
    ],
)
async def test_our_own_sender_is_a_setting_of_ours_and_not_the_customers_address(
    status: int, name: str, message: str
) -> None:
    with pytest.raises(LockedOutError, match="check MAIL_FROM"):
        await send(refusing(status, name, message))


@pytest.mark.parametrize(
    ("status", "name"),
    [(429, "daily_quota_exceeded"), (429, "monthly_quota_exceeded"), (451, "security_error")],
)
async def test_the_limits_of_our_account_are_for_a_person(status: int, name: str) -> None:
    with pytest.raises(LockedOutError, match="dashboard"):
        await send(refusing(status, name))


@pytest.mark.parametrize(
    ("status", "name"),
    [(429, "rate_limit_exceeded"), (409, "concurrent_idempotent_requests"), (429, "whatever")],
)
async def test_load_is_waited_out(status: int, name: str) -> None:
    with pytest.raises(BusyError):
        await send(refusing(status, name))


@pytest.mark.parametrize(
    "answer",
    [
        refusing(409, "invalid_idempotent_request"),
        refusing(400, "invalid_idempotency_key"),
        refusing(404, "not_found"),
        refusing(405, "method_not_allowed"),
        refusing(422, "invalid_attachment"),
        refusing(422, "invalid_region"),
    ],
)
async def test_our_own_mistakes_are_refused_for_good(answer: Answer) -> None:
    with pytest.raises(ProviderError) as caught:
        await send(answer)
    assert isinstance(caught.value, RefusedError)
