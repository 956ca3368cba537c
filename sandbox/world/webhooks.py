"""Webhook delivery: signed, retried a few times, off unless an endpoint is set.

Stripe's are signed as "Verify webhook signatures manually" documents, the warehouse's as Standard
Webhooks, by its library. Resend's are signed in the way of Svix ("Verify Webhooks Requests"). The
outbox is in the state store, so delivery continues after a kill and a restart. Stripe retries for
three days, the stand-in six times.
"""

import asyncio
import base64
import hashlib
import hmac
import json
from collections.abc import Coroutine
from contextlib import suppress
from datetime import UTC, datetime
from typing import Any, Final

import aiohttp
from standardwebhooks import Webhook
from standardwebhooks.webhooks import EmptyWebhookSecretError

from sandbox.world.faults import DELIVERY, FaultRegistry
from sandbox.world.request_pipeline import Clock
from sandbox.world.state_store import JsonObject, StateStore

RETRY_AFTER: Final = (0.2, 1.0, 5.0, 15.0, 60.0, 300.0)
"""Seconds before each further attempt; after the last one the event is dropped."""

_AT_A_TIME: Final = 16
_TIMEOUT: Final = aiohttp.ClientTimeout(total=10)


def signature(payload: str, secret: str, now: int) -> str:
    """The header's value: `t=…,v1=…` over `{t}.{payload}`."""
    signed = hmac.new(secret.encode(), f"{now}.{payload}".encode(), hashlib.sha256)
    return f"t={now},v1={signed.hexdigest()}"


def svix_signature(payload: str, secret: str, event_id: str, now: int) -> str:
    """The header's value: `v1,…` over `{id}.{t}.{payload}`."""
    key = base64.b64decode(secret.removeprefix("whsec_"))
    signed = hmac.new(key, f"{event_id}.{now}.{payload}".encode(), hashlib.sha256)
    return f"v1,{base64.b64encode(signed.digest()).decode()}"


def _about(provider: str, event: JsonObject) -> str:
    """What the event is about: a payment, an order's parcels, a mail."""
    if provider == "warehouse":
        return f"{provider} {event.get('order_id')}"
    data = event.get("data", {})
    about = data.get("object", data)
    return f"{provider} {about.get('payment_intent') or about.get('id') or about.get('email_id')}"


def _headers(
    provider: str, event: JsonObject, payload: str, secret: str, now: int
) -> dict[str, str]:
    if provider == "resend":
        return {
            "svix-id": event["id"],
            "svix-timestamp": str(now),
            "svix-signature": svix_signature(payload, secret, event["id"], now),
        }
    if provider == "warehouse":
        moment = datetime.fromtimestamp(now, UTC)
        return {
            "webhook-id": event["id"],
            "webhook-timestamp": str(now),
            "webhook-signature": Webhook(secret).sign(event["id"], moment, payload),
        }
    return {"Stripe-Signature": signature(payload, secret, now)}


def is_usable_secret(provider: str, secret: str) -> bool:
    """Whether events of this provider can be signed with the secret."""
    try:
        _headers(provider, {"id": "msg_1"}, "{}", secret, 0)
    except (ValueError, EmptyWebhookSecretError):
        return False
    return bool(secret)


class WebhookSender:
    """Delivers the webhooks in the outbox when they are due: several at a time, those about one
    object one after the other.
    """

    def __init__(self, store: StateStore, faults: FaultRegistry, clock: Clock) -> None:
        self._store = store
        self._faults = faults
        self._clock = clock
        self._under_way: set[str] = set()

    async def run(self) -> None:
        async with (
            aiohttp.ClientSession(timeout=_TIMEOUT, cookie_jar=aiohttp.DummyCookieJar()) as http,
            asyncio.TaskGroup() as deliveries,
        ):
            while True:
                for seq, provider, body, attempts, due in self._store.outbox():
                    about = _about(provider, json.loads(body))
                    if due > self._clock() or len(self._under_way) >= _AT_A_TIME:
                        break
                    if about not in self._under_way:
                        self._under_way.add(about)
                        delivery = self._deliver_once(http, seq, provider, body, attempts)
                        deliveries.create_task(self._alone(about, delivery))
                await asyncio.sleep(0.05)

    async def _alone(self, about: str, delivery: Coroutine[Any, Any, None]) -> None:
        try:
            await delivery
        finally:
            self._under_way.discard(about)

    async def _deliver_once(
        self, http: aiohttp.ClientSession, seq: int, provider: str, body: str, attempts: int
    ) -> None:
        """Deliver a webhook, or put it off."""
        now = self._clock()
        faults = await self._faults.hit(DELIVERY, f"{provider}.webhooks", None, ())
        late = next((fault for fault in faults if fault.mode == "late"), None)
        if late is not None and not attempts:
            self._store.reschedule(seq, now + late.seconds)
            return
        delivered = await self._deliver(http, provider, body)
        if delivered and any(fault.mode == "twice" for fault in faults):
            delivered = await self._deliver(http, provider, body)
        if delivered or attempts >= len(RETRY_AFTER):
            self._store.remove_delivery(seq)
        else:
            self._store.reschedule(seq, now + RETRY_AFTER[attempts])

    async def _deliver(self, http: aiohttp.ClientSession, provider: str, body: str) -> bool:
        endpoints = self._store.setting("webhooks")
        url = endpoints.get(provider)
        if not url:
            return True
        event = json.loads(body)
        # Resend sends the id in a header only.
        sent = {n: value for n, value in event.items() if provider != "resend" or n != "id"}
        payload = json.dumps(sent, indent=2)
        secret = endpoints.get(f"{provider}_secret", "")
        headers = {
            "Content-Type": "application/json; charset=utf-8",
            **_headers(provider, event, payload, secret, int(self._clock())),
        }
        request = http.post(url, data=payload.encode(), headers=headers, allow_redirects=False)
        with suppress(aiohttp.ClientError, TimeoutError, OSError):
            async with request as response:
                return 200 <= response.status < 300
        return False
