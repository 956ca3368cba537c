"""Webhooks out of the world: signed as the SDK verifies them, and tried again."""

import asyncio
import hashlib
import hmac
import json
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest
import resend
import stripe
import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from sandbox.webhook_endpoints import RESEND_SECRET
from sandbox.world import World
from tests.sandbox.buying import paid


class Server(uvicorn.Server):
    """Says when it listens."""

    def __init__(self, config: uvicorn.Config) -> None:
        super().__init__(config)
        self.listening = asyncio.Event()

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        self.listening.set()


class Listener:
    """A webhook endpoint that refuses the first delivery and keeps the rest."""

    def __init__(self) -> None:
        self.refusals = 1
        self.heard: asyncio.Queue[tuple[dict[str, str], bytes]] = asyncio.Queue()

    async def hear(self, request: Request) -> Response:
        if self.refusals:
            self.refusals -= 1
            return Response(status_code=500)
        await self.heard.put((dict(request.headers), await request.body()))
        return Response(status_code=204)

    @asynccontextmanager
    async def listening(self) -> AsyncIterator[str]:
        app = Starlette(routes=[Route("/hook", self.hear, methods=["POST"])])
        server = Server(uvicorn.Config(app, port=0, log_config=None, lifespan="off"))
        running = asyncio.create_task(server._serve())
        await server.listening.wait()
        port = server.servers[0].sockets[0].getsockname()[1]
        yield f"http://127.0.0.1:{port}/hook"
        server.should_exit = True
        await running


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
                headers, body = await listener.heard.get()
                event = shop.construct_event(body, headers["stripe-signature"], "whsec_test")
                assert event.data.object["id"] == intent.id
                kinds.add(event.type)
        await http.post("/sandbox/webhooks", json={})


async def test_a_lapsed_hold_and_a_slow_bank_are_told_of(
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
        told = []
        async with asyncio.timeout(10):
            while ("payment_intent.succeeded", slow.id) not in told:
                headers, body = await listener.heard.get()
                event = shop.construct_event(body, headers["stripe-signature"], "whsec_test")
                told.append((event.type, event.data.object["id"]))
        await http.post("/sandbox/webhooks", json={})
    assert ("payment_intent.canceled", held.id) in told
    assert ("payment_intent.processing", slow.id) in told


async def test_the_warehouse_tells_that_a_parcel_left(http: httpx.AsyncClient) -> None:
    listener = Listener()
    async with listener.listening() as url:
        wish: Any = {"warehouse": url, "warehouse_secret": "s3cret"}
        await http.post("/sandbox/webhooks", json=wish)
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
            headers, body = await listener.heard.get()
        await http.post("/sandbox/webhooks", json={})
    event = json.loads(body)
    assert (event["type"], event["order_id"]) == ("parcel.left", "leaves")
    assert event["parcel"]["status"] == "left"
    assert event["parcel"]["tracking"]
    moment, _, given = headers["warehouse-signature"].removeprefix("t=").partition(",v1=")
    signed = hmac.new(b"s3cret", moment.encode() + b"." + body, hashlib.sha256).hexdigest()
    assert given == signed


async def test_a_webhook_needs_a_secret(http: httpx.AsyncClient) -> None:
    answer = await http.post("/sandbox/webhooks", json={"stripe": "http://127.0.0.1:9/"})
    assert answer.status_code == 400
    assert "stripe_secret" in answer.json()["error"]["message"]


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
    ("to", "fates"),
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
async def test_what_becomes_of_a_mail_is_told_as_resends_own_sdk_verifies_it(
    mailer: type[resend.Emails], http: httpx.AsyncClient, to: str, fates: list[str]
) -> None:
    listener = Listener()
    async with listener.listening() as url:
        wish = {"resend": url, "resend_secret": RESEND_SECRET}
        await http.post("/sandbox/webhooks", json=wish)
        mail_id = await mailed(mailer, to)
        told: list[str] = []
        ids: set[str] = set()
        async with asyncio.timeout(10):
            while len(told) < len(fates):
                headers, body = await listener.heard.get()
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
                told.append(event["type"])
                ids.add(headers["svix-id"])
        await http.post("/sandbox/webhooks", json={})
    assert sorted(told) == sorted(fates)  # the first one was refused once
    assert len(ids) == len(fates)
    shown = await http.get(f"/emails/{mail_id}", headers={"Authorization": "Bearer re_sandbox"})
    assert f"email.{shown.json()['last_event']}" == fates[-1]


async def test_a_world_that_is_told_of_an_api_has_its_webhooks_go_there(tmp_path: Path) -> None:
    there = {
        sender: f"http://127.0.0.1:9/webhooks/{sender}"
        for sender in ("stripe", "warehouse", "resend")
    }
    # Told nothing, it goes on as it did before.
    for api_url, goes in (
        ("http://127.0.0.1:9/", there),
        (None, there),
        ("", dict.fromkeys(there)),
    ):
        async with (
            World(tmp_path, api_url=api_url) as world,
            httpx.AsyncClient(base_url=world.url) as http,
        ):
            assert (await http.get("/sandbox/webhooks")).json() == goes
