"""Webhooks of the stand-in: signed as the SDKs verify them, and retried."""

import asyncio
import json
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest
import resend
import stripe
from standardwebhooks import Webhook, WebhookVerificationError
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from sandbox.webhook_endpoints import RESEND_SECRET, WAREHOUSE_SECRET
from sandbox.world import StandInServer
from tests.sandbox.buying import paid
from tests.support.http_server import listening


class Listener:
    """A webhook endpoint that fails the first delivery and keeps the others."""

    def __init__(self) -> None:
        self.refusals = 1
        self.refused: list[dict[str, str]] = []
        self.received: asyncio.Queue[tuple[dict[str, str], bytes]] = asyncio.Queue()

    async def receive(self, request: Request) -> Response:
        if self.refusals:
            self.refusals -= 1
            self.refused.append(dict(request.headers))
            return Response(status_code=500)
        await self.received.put((dict(request.headers), await request.body()))
        return Response(status_code=204)

    @asynccontextmanager
    async def listening(self) -> AsyncIterator[str]:
        app = Starlette(routes=[Route("/hook", self.receive, methods=["POST"])])
        async with listening(app) as address:
            yield f"{address}/hook"


async def test_events_arrive_signed_in_spite_of_a_refusal(
    shop: stripe.StripeClient, http: httpx.AsyncClient
) -> None:
    listener = Listener()
    async with listener.listening() as url:
        await http.post("/sandbox/webhooks", json={"stripe": url, "stripe_secret": "whsec_test"})
        intent = await paid(shop, "hooked")
        kinds = set()
        async with asyncio.timeout(10):
            while "payment_intent.succeeded" not in kinds:
                headers, body = await listener.received.get()
                event = shop.construct_event(body, headers["stripe-signature"], "whsec_test")
                assert event.data.object["id"] == intent.id
                kinds.add(event.type)
        await http.post("/sandbox/webhooks", json={})


async def test_a_lapsed_hold_and_a_slow_bank_cause_webhooks(
    shop: stripe.StripeClient, http: httpx.AsyncClient
) -> None:
    listener = Listener()
    listener.refusals = 0
    async with listener.listening() as url:
        await http.post("/sandbox/webhooks", json={"stripe": url, "stripe_secret": "whsec_test"})
        held = await paid(shop, "lapses", capture_method="manual")
        await http.post(f"/sandbox/payment_intents/{held.id}/lapse")
        slow = await paid(shop, "slow", card="pm_sandbox_processing")
        await http.post(f"/sandbox/payment_intents/{slow.id}/settle", json={"outcome": "succeed"})
        expected = {
            ("payment_intent.canceled", held.id),
            ("payment_intent.processing", slow.id),
            ("payment_intent.succeeded", slow.id),
        }
        received_events: set[tuple[str, str]] = set()
        async with asyncio.timeout(10):
            while not expected <= received_events:
                headers, body = await listener.received.get()
                event = shop.construct_event(body, headers["stripe-signature"], "whsec_test")
                received_events.add((event.type, event.data.object["id"]))
        await http.post("/sandbox/webhooks", json={})


async def test_the_warehouse_sends_a_webhook_when_a_parcel_left(http: httpx.AsyncClient) -> None:
    listener = Listener()
    async with listener.listening() as url:
        parameters = {"warehouse": url, "warehouse_secret": WAREHOUSE_SECRET}
        await http.post("/sandbox/webhooks", json=parameters)
        await http.post(
            "/warehouse/fulfillments",
            json={
                "order_id": "leaves",
                "ship_to": {"name": "Ada", "address": "London"},
                "lines": [{"sku": "MUG", "quantity": 1}],
            },
            headers={"Authorization": "Bearer key", "Idempotency-Key": "leaves"},
        )
        await http.post("/sandbox/warehouse/leaves/dispatch")
        async with asyncio.timeout(10):
            headers, body = await listener.received.get()
        await http.post("/sandbox/webhooks", json={})
    event = json.loads(body)
    assert (event["type"], event["order_id"]) == ("parcel.left", "leaves")
    assert event["parcel"]["status"] == "left"
    assert re.fullmatch(r"AB \d{4} \d{4} \dGB", event["parcel"]["tracking"])
    assert Webhook(WAREHOUSE_SECRET).verify(body, headers) == event
    assert headers["webhook-id"] == event["id"]
    assert "warehouse-signature" not in headers
    for name, value in (("webhook-id", "wev_1"), ("webhook-timestamp", "1767225600")):
        with pytest.raises(WebhookVerificationError):
            Webhook(WAREHOUSE_SECRET).verify(body, {**headers, name: value})


async def test_an_event_of_the_warehouse_that_is_sent_again_keeps_its_id(
    http: httpx.AsyncClient,
) -> None:
    listener = Listener()
    async with listener.listening() as url:
        await http.post(
            "/sandbox/webhooks", json={"warehouse": url, "warehouse_secret": WAREHOUSE_SECRET}
        )
        await http.post(
            "/warehouse/fulfillments",
            json={
                "order_id": "again",
                "ship_to": {"name": "Ada", "address": "London"},
                "lines": [{"sku": "MUG", "quantity": 1}],
            },
            headers={"Authorization": "Bearer key", "Idempotency-Key": "again"},
        )
        await http.post("/sandbox/warehouse/again/dispatch")
        async with asyncio.timeout(10):
            headers, _ = await listener.received.get()
        await http.post("/sandbox/webhooks", json={})
    [refused] = listener.refused
    assert refused["webhook-id"] == headers["webhook-id"]


@pytest.mark.parametrize(
    ("provider", "secret"),
    [
        ("stripe", ""),
        ("warehouse", ""),
        ("warehouse", "whsec_"),
        ("warehouse", "whsec_a"),
        ("resend", "whsec_a"),
    ],
)
async def test_a_webhook_needs_a_secret_that_can_sign(
    http: httpx.AsyncClient, provider: str, secret: str
) -> None:
    parameters = {provider: "http://127.0.0.1:9/", f"{provider}_secret": secret}
    answer = await http.post("/sandbox/webhooks", json=parameters)
    assert answer.status_code == 400
    assert f"{provider}_secret" in answer.json()["error"]["message"]


async def mailed(mailer: type[resend.Emails], to: str) -> str:
    params: resend.Emails.SendParams = {
        "from": "Shop <orders@shop.example>",
        "to": [to],
        "subject": "Order 1001 is confirmed",
        "text": "Thank you!",
        "tags": [{"name": "order", "value": "1001"}],
    }
    return str((await mailer.send_async(params))["id"])


@pytest.mark.parametrize(
    ("to", "events"),
    [
        ("ada@example.com", ["email.sent", "email.delivered"]),
        ("delivered@resend.dev", ["email.sent", "email.delivered"]),
        ("bounced@resend.dev", ["email.sent", "email.bounced"]),
        ("bounced+1001@resend.dev", ["email.sent", "email.bounced"]),
        ("Ada <bounced@resend.dev>", ["email.sent", "email.bounced"]),
        ("complained@resend.dev", ["email.sent", "email.delivered", "email.complained"]),
        ("suppressed@resend.dev", ["email.suppressed"]),
    ],
)
async def test_the_webhooks_of_a_mail_are_verified_by_resends_sdk(
    mailer: type[resend.Emails], http: httpx.AsyncClient, to: str, events: list[str]
) -> None:
    listener = Listener()
    async with listener.listening() as url:
        parameters = {"resend": url, "resend_secret": RESEND_SECRET}
        await http.post("/sandbox/webhooks", json=parameters)
        mail_id = await mailed(mailer, to)
        received_events: list[str] = []
        ids: set[str] = set()
        async with asyncio.timeout(10):
            while len(received_events) < len(events):
                headers, body = await listener.received.get()
                options: Any = {
                    "payload": body.decode(),
                    "headers": {
                        part: headers[f"svix-{part}"] for part in ("id", "timestamp", "signature")
                    },
                    "webhook_secret": RESEND_SECRET,
                }
                event: Any = resend.Webhooks.verify(options)
                assert event["data"]["email_id"] == mail_id
                assert event["data"]["tags"] == {"order": "1001"}
                received_events.append(event["type"])
                ids.add(headers["svix-id"])
        await http.post("/sandbox/webhooks", json={})
    assert sorted(received_events) == sorted(events)  # the first one was refused once
    assert len(ids) == len(events)
    shown = await http.get(f"/emails/{mail_id}", headers={"Authorization": "Bearer re_sandbox"})
    assert f"email.{shown.json()['last_event']}" == events[-1]


#: Required fields of Resend's OpenAPI document (`resend/resend-openapi`, "WebhookEvent…").
REQUIRED: dict[str, dict[str, set[str]]] = {
    "email.sent": {},
    "email.delivered": {},
    "email.complained": {},
    "email.bounced": {"bounce": {"diagnosticCode", "message", "subType", "type"}},
    "email.suppressed": {"suppressed": {"diagnosticCode", "message", "reason", "type"}},
}
SDK_TYPES: dict[str, Any] = {
    "email.sent": resend.EmailSentEvent,
    "email.delivered": resend.EmailDeliveredEvent,
    "email.complained": resend.EmailComplainedEvent,
    "email.bounced": resend.EmailBouncedEvent,
    "email.suppressed": resend.EmailSuppressedEvent,
}


@pytest.mark.parametrize("name", ["complained", "bounced", "suppressed"])
async def test_each_event_of_a_mail_has_the_fields_that_resend_requires(
    mailer: type[resend.Emails], http: httpx.AsyncClient, name: str
) -> None:
    listener = Listener()
    listener.refusals = 0
    events: list[dict[str, Any]] = []
    async with listener.listening() as url:
        parameters = {"resend": url, "resend_secret": RESEND_SECRET}
        await http.post("/sandbox/webhooks", json=parameters)
        await mailed(mailer, f"{name}@resend.dev")
        async with asyncio.timeout(10):
            while not events or events[-1]["type"] != f"email.{name}":
                events.append(json.loads((await listener.received.get())[1]))
        await http.post("/sandbox/webhooks", json={})
    for event in events:
        kind = SDK_TYPES[event["type"]]
        assert set(event) == set(kind.__required_keys__)
        assert set(event["data"]) >= set(kind.__annotations__["data"].__required_keys__)
        for part, fields in REQUIRED[event["type"]].items():
            assert set(event["data"][part]) == fields
            codes = event["data"][part]["diagnosticCode"]
            assert all(isinstance(code, str) for code in codes)


async def test_a_stand_in_with_the_url_of_an_api_sends_its_webhooks_there(tmp_path: Path) -> None:
    there = {
        provider: f"http://127.0.0.1:9/webhooks/{provider}"
        for provider in ("stripe", "warehouse", "resend")
    }
    # Without a URL it keeps the endpoints of the last run.
    for api_url, expected in (
        ("http://127.0.0.1:9/", there),
        (None, there),
        ("", dict.fromkeys(there)),
    ):
        async with (
            StandInServer(tmp_path, api_url=api_url) as stand_in,
            httpx.AsyncClient(base_url=stand_in.url) as http,
        ):
            assert (await http.get("/sandbox/webhooks")).json() == expected
