"""Webhooks out of the world: signed, tried again for a while, off unless an endpoint is set.

Stripe's are signed as "Verify webhook signatures manually" says; the warehouse's use the same
scheme under the header `Warehouse-Signature`. Resend's are signed as Svix does ("Verify Webhooks
Requests"). The outbox is in the ledger, so a world that was killed goes on delivering. Stripe tries
for three days; here it is a handful of times.
"""

import asyncio
import base64
import hashlib
import hmac
import json
from contextlib import suppress
from typing import Final

import httpx

from sandbox.world.request_pipeline import Clock
from sandbox.world.state_store import Doc, Ledger

RETRY_AFTER: Final = (0.2, 1.0, 5.0, 15.0, 60.0, 300.0)
"""Seconds before each further attempt; after the last one the event is dropped."""

_HEADERS: Final = {"stripe": "Stripe-Signature", "warehouse": "Warehouse-Signature"}


def signature(payload: str, secret: str, now: int) -> str:
    """The header's value: `t=…,v1=…` over `{t}.{payload}`."""
    signed = hmac.new(secret.encode(), f"{now}.{payload}".encode(), hashlib.sha256)
    return f"t={now},v1={signed.hexdigest()}"


def svix_signature(payload: str, secret: str, event_id: str, now: int) -> str:
    """The header's value: `v1,…` over `{id}.{t}.{payload}`."""
    key = base64.b64decode(secret.removeprefix("whsec_"))
    signed = hmac.new(key, f"{event_id}.{now}.{payload}".encode(), hashlib.sha256)
    return f"v1,{base64.b64encode(signed.digest()).decode()}"


def _headers(to_whom: str, event: Doc, payload: str, secret: str, now: int) -> dict[str, str]:
    if to_whom == "resend":
        return {
            "svix-id": event["id"],
            "svix-timestamp": str(now),
            "svix-signature": svix_signature(payload, secret, event["id"], now),
        }
    return {_HEADERS[to_whom]: signature(payload, secret, now)}


class Postman:
    """Delivers what is in the outbox, in the order it falls due."""

    def __init__(self, ledger: Ledger, clock: Clock) -> None:
        self._ledger = ledger
        self._clock = clock

    async def run(self) -> None:
        async with httpx.AsyncClient(timeout=10) as http:
            while True:
                wait = await self._round(http)
                await asyncio.sleep(wait)

    async def _round(self, http: httpx.AsyncClient) -> float:
        """Deliver what is due; the seconds until it is worth looking again."""
        for seq, to_whom, body, attempts, due in self._ledger.outbox():
            now = self._clock()
            if due > now:
                return min(due - now, 0.1)
            if await self._delivered(http, to_whom, body) or attempts >= len(RETRY_AFTER):
                self._ledger.delivered(seq)
            else:
                self._ledger.postpone(seq, now + RETRY_AFTER[attempts])
        return 0.05

    async def _delivered(self, http: httpx.AsyncClient, to_whom: str, body: str) -> bool:
        where = self._ledger.setting("webhooks")
        url = where.get(to_whom)
        if not url:
            return True
        event = json.loads(body)
        # The id of one of Resend's is in its headers only.
        shown = {n: value for n, value in event.items() if to_whom != "resend" or n != "id"}
        payload = json.dumps(shown, indent=2)
        secret = where.get(f"{to_whom}_secret", "")
        headers = {
            "Content-Type": "application/json; charset=utf-8",
            **_headers(to_whom, event, payload, secret, int(self._clock())),
        }
        with suppress(httpx.HTTPError):
            answer = await http.post(url, content=payload, headers=headers)
            return answer.is_success
        return False
