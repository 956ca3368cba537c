"""The four steps of the yardsticks ``seed`` and ``dbos``: charge, fulfil, mail, take stock.

Stripe gets one request, which creates and confirms the payment; ours sends two, so that the
payment's id is stored before money moves. Each client keeps its connections: Resend's SDK would
open one per mail, which would make the yardstick slower.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any, Final

import asyncpg  # type: ignore[import-untyped]
import httpx
import resend
import stripe
from resend.http_client_async import AsyncHTTPClient

SKU: Final = "STICKER"

#: The tables of a yardstick, in a database of its own.
TABLES: Final = """
CREATE TABLE stock (sku text PRIMARY KEY, on_hand bigint NOT NULL CHECK (on_hand >= 0));
CREATE TABLE taken (order_id text PRIMARY KEY, sku text NOT NULL, quantity bigint NOT NULL);
INSERT INTO stock VALUES ('STICKER', 1000000);
"""


@dataclass(frozen=True)
class PlainOrder:
    """An order as the input of its workflow."""

    order_id: str
    name: str = "Ada Lovelace"
    email: str = "ada@example.com"
    address: str = "12 St James's Square, London"
    sku: str = SKU
    quantity: int = 1
    amount: int = 350
    currency: str = "eur"
    payment_method: str = "pm_card_visa"


class Steps:
    """The four steps, each safe to repeat."""

    def __init__(
        self, payments: stripe.StripeClient, warehouse: httpx.AsyncClient, pool: Any
    ) -> None:
        self._payments, self._warehouse, self._pool = payments, warehouse, pool

    async def charge_card(self, order: PlainOrder) -> str:
        intent = await self._payments.v1.payment_intents.create_async(
            {
                "amount": order.amount,
                "currency": order.currency,
                "payment_method": order.payment_method,
                "allowed_payment_method_types": ["card"],
                "confirm": True,
                "metadata": {"order_id": order.order_id},
            },
            {"idempotency_key": f"{order.order_id}:charge"},
        )
        if intent.status != "succeeded":
            raise ValueError(f"the payment of order {order.order_id} is {intent.status}")
        return intent.id

    async def fulfill_order(self, order: PlainOrder) -> str:
        reply = await self._warehouse.post(
            "/fulfillments",
            json={
                "order_id": order.order_id,
                "ship_to": {"name": order.name, "address": order.address},
                "lines": [{"sku": order.sku, "quantity": order.quantity}],
            },
            headers={"Idempotency-Key": f"{order.order_id}:fulfil"},
        )
        return str(reply.raise_for_status().json()["id"])

    async def send_confirmation_email(self, order: PlainOrder) -> str:
        sent = await resend.Emails.send_async(
            {
                "from": "Shop <orders@shop.example>",
                "to": [order.email],
                "subject": f"Your order {order.order_id}",
                "html": f"<p>Thank you, {order.name}! We pack it now.</p>",
                "tags": [
                    {"name": "order", "value": order.order_id},
                    {"name": "kind", "value": "confirmation"},
                ],
            },
            {"idempotency_key": f"{order.order_id}:confirmation"},
        )
        return sent["id"]

    async def update_inventory(self, order: PlainOrder) -> None:
        async with self._pool.acquire() as connection, connection.transaction():
            is_new = await connection.fetchval(
                "INSERT INTO taken VALUES ($1, $2, $3) ON CONFLICT DO NOTHING RETURNING true",
                order.order_id,
                order.sku,
                order.quantity,
            )
            if is_new:
                await connection.execute(
                    "UPDATE stock SET on_hand = on_hand - $2 WHERE sku = $1",
                    order.sku,
                    order.quantity,
                )


@asynccontextmanager
async def open_steps(database_url: str) -> AsyncIterator[Steps]:
    """The steps with the neighbours that the environment names."""
    stripe.enable_telemetry = False
    http = stripe.HTTPXClient()
    payments = stripe.StripeClient(
        os.environ["STRIPE_API_KEY"],
        base_addresses={"api": os.environ["STRIPE_API_BASE"]},
        http_client=http,
    )
    resend.api_key, resend.api_url = os.environ["RESEND_API_KEY"], os.environ["RESEND_API_URL"]
    async with (
        httpx.AsyncClient(base_url=os.environ["FULFILLMENT_URL"], timeout=30) as warehouse,
        httpx.AsyncClient(timeout=30) as mails,
        asyncpg.create_pool(database_url) as pool,
    ):
        resend.default_async_http_client = _KeptConnections(mails)
        yield Steps(payments, warehouse, pool)
    await asyncio.shield(http.close_async())  # type: ignore[no-untyped-call]  # the SDK's own gap


class _KeptConnections(AsyncHTTPClient):
    def __init__(self, http: httpx.AsyncClient) -> None:
        self._http = http

    async def request(  # noqa: PLR0917  the signature is the SDK's
        self,
        method: str,
        url: str,
        headers: Mapping[str, str],
        json: dict[str, object] | list[object] | None = None,
        files: dict[str, Any] | None = None,
        data: dict[str, str] | None = None,
    ) -> tuple[bytes, int, Mapping[str, str]]:
        """Send a request; return body, status and headers."""
        reply = await self._http.request(
            method, url, headers=headers, json=json, files=files, data=data
        )
        return reply.content, reply.status_code, reply.headers
