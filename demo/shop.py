"""The shop's web application: a client that uses the HTTP API only.

Each call is printed as a curl command. A shell runs it once it has the variables of ``variables``.
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

from demo.environment import DemoEnvironment
from demo.worker_process import ApiProcess
from durable_orders.domain.operators.api_keys import ID_BYTES, SECRET_BYTES, ApiKey, Scope, Token
from durable_orders.store.api_keys import PostgresApiKeyRepository

#: Seconds; longer than the API waits for a payment.
_TIMEOUT: Final = 30.0
_WIDTH: Final = 112
_ADA: Final = {
    "name": "Ada Lovelace",
    "email": "ada@example.com",
    "address": "12 St James's Square, London",
}


class ShopError(Exception):
    """The API returned an error or no response; the message is a sentence."""


class Shop:
    """Calls the API and prints requests and responses on ``console``."""

    def __init__(
        self, url: str, api_process: ApiProcess, keys: Mapping[Scope, Token], console: Console
    ) -> None:
        self.url = url
        self.api_process = api_process
        self._keys = keys
        self._console = console
        self._http = httpx.AsyncClient(base_url=url, timeout=_TIMEOUT)

    async def place(
        self, order_id: str, *, sku: str, quantity: int = 1, card: str = "pm_card_visa"
    ) -> None:
        """Place an order of Ada's, without checking it out."""
        basket = {
            "order_id": order_id,
            "payment_method": card,
            "lines": [{"sku": sku, "quantity": quantity}],
            "customer_id": "customer-1",
            "recipient": _ADA,
        }
        await self.post("/orders", basket)

    async def get(self, path: str) -> Any:
        """Send a GET request and return the JSON of the response."""
        return await self._request("GET", path, None, Scope.SHOP)

    async def post(
        self, path: str, body: Mapping[str, Any] | None = None, scope: Scope = Scope.SHOP
    ) -> Any:
        """Send a POST request with the key of ``scope``; return the JSON of the response."""
        return await self._request("POST", path, body, scope)

    async def _request(
        self, method: str, path: str, body: Mapping[str, Any] | None, scope: Scope
    ) -> Any:
        self._print(_curl(method, path, body, scope), "bold")
        headers = {"Authorization": f"Bearer {self._keys[scope]}"}
        while True:
            try:
                response = await self._http.request(method, path, json=body, headers=headers)
            except httpx.HTTPError as error:
                raise ShopError(f"{method} {path}: {str(error) or type(error).__name__}.") from None
            self._print(f"  {response.status_code} {_shortened(response.text)}", "dim")
            if response.status_code != httpx.codes.SERVICE_UNAVAILABLE:
                break
            # Every request is idempotent, so a retry is safe.
            await asyncio.sleep(float(response.headers.get("Retry-After", "1")))
        if response.is_error:
            raise ShopError(f"{method} {path} was answered {response.status_code}: {response.text}")
        return response.json()

    async def aclose(self) -> None:
        await self._http.aclose()

    def token(self, scope: Scope) -> str:
        """The API key of this scope."""
        return str(self._keys[scope])

    @property
    def variables(self) -> str:
        """The shell command that sets what the printed curl commands use."""
        keys = (f"{_variable(scope)}={token}" for scope, token in self._keys.items())
        return f"export API={self.url} {' '.join(keys)}"

    def _print(self, line: str, style: str) -> None:
        self._console.print(Text(line, style))


@contextlib.asynccontextmanager
async def open_shop(
    environment: DemoEnvironment, port: int, console: Console
) -> AsyncIterator[Shop]:
    """A shop and an API at this port, which is starting; both are stopped at the end."""
    settings = {"API_PORT": str(port)}
    sandbox = environment.sandbox
    api_process = environment.api_factory(sandbox.state / "edge", sandbox.settings | settings)
    try:
        await api_process.start()
        keys = {scope: await _new_key(environment, scope) for scope in (Scope.SHOP, Scope.OPERATOR)}
        shop = Shop(f"http://127.0.0.1:{port}", api_process, keys, console)
        async with contextlib.aclosing(shop):
            yield shop
    finally:
        await api_process.stop()


async def _new_key(environment: DemoEnvironment, scope: Scope) -> Token:
    token = Token.of(secrets.token_bytes(ID_BYTES), secrets.token_bytes(SECRET_BYTES))
    key = ApiKey(token.key_id, f"demo-{scope}", scope, datetime.now(UTC), token.digest)
    await PostgresApiKeyRepository(environment.database).add(key)
    return token


def _variable(scope: Scope) -> str:
    """The shell variable that holds the key of this scope."""
    return f"{scope.upper()}_KEY"


def _curl(method: str, path: str, body: Mapping[str, Any] | None, scope: Scope) -> str:
    curl = f'curl $API{path} -H "Authorization: Bearer ${_variable(scope)}"'
    if body is not None:
        # An apostrophe would end the shell's word.
        json_body = json.dumps(body).replace("'", "\\u0027")
        return f"{curl} --json '{json_body}'"
    return curl if method == "GET" else f"{curl} -X {method}"


def _shortened(text: str) -> str:
    return text if len(text) <= _WIDTH else f"{text[:_WIDTH]} …"
