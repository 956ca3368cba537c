"""The shop's web application, as far as we see it: it knows our HTTP API, and nothing else of ours.

Each of its calls is shown as one would type it, without the key that it carries.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import secrets
from collections.abc import AsyncIterator, Mapping
from datetime import UTC, datetime
from typing import Any, Final

import httpx
from rich.console import Console
from rich.text import Text

from demo.environment import Stage
from demo.worker_process import EdgeProcess
from orders.keys import ID_BYTES, SECRET_BYTES, ApiKey, Scope, Token
from store.keys import PostgresKeys

#: Longer than the API waits for an order's answer.
_PATIENCE: Final = 30.0
_WIDTH: Final = 112
_ADA: Final = {
    "name": "Ada Lovelace",
    "email": "ada@example.com",
    "address": "12 St James's Square, London",
}


class ShopError(Exception):
    """The API did not do what the shop asked for; the message is a sentence."""


class Shop:
    """Asks the API, and shows on ``console`` what it asked and what it heard."""

    def __init__(
        self, url: str, edge: EdgeProcess, keys: Mapping[Scope, Token], console: Console
    ) -> None:
        self.url = url
        self.edge = edge
        self._keys = keys
        self._console = console
        self._http = httpx.AsyncClient(base_url=url, timeout=_PATIENCE)

    async def place(
        self, order_id: str, *, sku: str, quantity: int = 1, card: str = "pm_card_visa"
    ) -> None:
        """Ada orders something; nothing happens yet."""
        basket = {
            "order_id": order_id,
            "payment_method": card,
            "lines": [{"sku": sku, "quantity": quantity}],
            "customer_id": "customer-1",
            "recipient": _ADA,
        }
        await self.post("/orders", basket)

    async def get(self, path: str) -> Any:
        """What is answered; shown."""
        return await self._ask("GET", path, None, Scope.SHOP)

    async def post(
        self, path: str, body: Mapping[str, Any] | None = None, scope: Scope = Scope.SHOP
    ) -> Any:
        """What is answered; shown. ``scope`` is that of the key: the operators have another."""
        return await self._ask("POST", path, body, scope)

    async def _ask(
        self, method: str, path: str, body: Mapping[str, Any] | None, scope: Scope
    ) -> Any:
        self._show(f"$ {_curl(method, path, body)}", "bold")
        headers = {"Authorization": f"Bearer {self._keys[scope]}"}
        while True:
            try:
                told = await self._http.request(method, path, json=body, headers=headers)
            except httpx.HTTPError as error:
                raise ShopError(f"{method} {path}: {str(error) or type(error).__name__}.") from None
            self._show(f"  {told.status_code} {_shortened(told.text)}", "dim")
            if told.status_code != httpx.codes.SERVICE_UNAVAILABLE:
                break
            # Whatever was asked, to ask it again is safe.
            await asyncio.sleep(float(told.headers.get("Retry-After", "1")))
        if told.is_error:
            raise ShopError(f"{method} {path} was answered {told.status_code}: {told.text}")
        return told.json()

    async def aclose(self) -> None:
        await self._http.aclose()

    def token(self, scope: Scope) -> str:
        """The key of this scope, for who wants to look around."""
        return str(self._keys[scope])

    def _show(self, line: str, style: str) -> None:
        self._console.print(Text(line, style))


@contextlib.asynccontextmanager
async def open_shop(stage: Stage, port: int, console: Console) -> AsyncIterator[Shop]:
    """A shop, and an API at this port that has begun to start; both are stopped at the end."""
    settings = {"API_PORT": str(port)}
    edge = stage.serve(stage.sandbox.state / "edge", stage.sandbox.settings | settings)
    try:
        await edge.start()
        keys = {scope: await _new_key(stage, scope) for scope in (Scope.SHOP, Scope.OPERATOR)}
        shop = Shop(f"http://127.0.0.1:{port}", edge, keys, console)
        async with contextlib.aclosing(shop):
            yield shop
    finally:
        await edge.stop()


async def _new_key(stage: Stage, scope: Scope) -> Token:
    token = Token.of(secrets.token_bytes(ID_BYTES), secrets.token_bytes(SECRET_BYTES))
    key = ApiKey(token.key_id, f"demo-{scope}", scope, datetime.now(UTC), token.digest)
    await PostgresKeys(stage.database).add(key)
    return token


def _curl(method: str, path: str, body: Mapping[str, Any] | None) -> str:
    if body is None:
        return f"curl $API{path}" if method == "GET" else f"curl -X {method} $API{path}"
    return f"curl $API{path} --json '{_shortened(json.dumps(body))}'"


def _shortened(text: str) -> str:
    return text if len(text) <= _WIDTH else f"{text[:_WIDTH]} …"
