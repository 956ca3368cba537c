"""The shop's web application: calls the HTTP API, and calls again until it has an answer."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

import httpx

from durable_orders.domain.operators.api_keys import Scope, Token

#: Seconds for one request, above what ``wait_seconds`` may ask for.
#: Longer than the API waits for a worker before it says that none has answered.
_TIMEOUT: Final = 15.0
_PAUSE: Final = 0.5
_LONGEST_PAUSE: Final = 5.0
#: How long a request is repeated before its customer gives up.
PATIENCE: Final = 180.0
_ASK_AGAIN: Final = frozenset({429, 503})


class NobodyAnsweredError(Exception):
    """The API gave no answer for longer than a customer waits; the message is a sentence."""


@dataclass(frozen=True)
class Answer:
    """An answer that says what became of the request: a 2xx, or a problem below 500."""

    status: int
    body: Any

    @property
    def is_success(self) -> bool:
        return self.status < 300

    @property
    def problem(self) -> str:
        """The name of the problem, ``too-late``; empty for a success."""
        return "" if self.is_success else str(self.body.get("type", "")).rpartition("/")[2]


@dataclass
class Shop:
    """Sends each request to one of the API processes, and again to the next when it has no answer.

    ``surprises`` are answers that no client should ever get, a sentence each.
    """

    urls: Sequence[str]
    keys: Mapping[Scope, Token]
    second_operator: Token
    surprises: list[str] = field(default_factory=list)
    requests: int = 0
    repeated: int = 0

    def __post_init__(self) -> None:
        self._http = httpx.AsyncClient(
            timeout=_TIMEOUT, limits=httpx.Limits(max_connections=None, keepalive_expiry=5)
        )
        self._next = itertools.count()

    async def place(self, basket: Mapping[str, Any]) -> Answer:
        return await self.post("/orders", basket)

    async def checkout(self, order_id: str, wait_seconds: int = 0) -> Answer:
        body: dict[str, Any] = {"order_id": order_id}
        if wait_seconds:
            body["wait_seconds"] = wait_seconds
        return await self.post("/checkout", body, timeout=_TIMEOUT + wait_seconds)

    async def post(
        self,
        path: str,
        body: Mapping[str, Any] | None = None,
        *,
        key: Token | None = None,
        timeout: float = _TIMEOUT,  # noqa: ASYNC109 - httpx's
    ) -> Answer:
        """Send a POST request, until it has an answer. Raises ``NobodyAnsweredError``."""
        headers = {"Authorization": f"Bearer {key or self.keys[Scope.SHOP]}"}
        loop = asyncio.get_running_loop()
        until, last, pause = loop.time() + PATIENCE, "", _PAUSE
        while loop.time() < until:
            url = self.urls[next(self._next) % len(self.urls)]
            self.requests += 1
            try:
                response = await self._http.post(
                    f"{url}{path}", json=body, headers=headers, timeout=timeout
                )
            except httpx.HTTPError as error:
                last = str(error) or type(error).__name__
            else:
                if response.status_code < 500 and response.status_code not in _ASK_AGAIN:
                    return Answer(response.status_code, response.json())
                last = f"{response.status_code} {response.text}"
                if response.status_code not in _ASK_AGAIN:
                    self.surprises.append(f"POST {path} was answered {last}")
            self.repeated += 1
            await asyncio.sleep(pause)
            pause = min(pause * 1.5, _LONGEST_PAUSE)
        raise NobodyAnsweredError(f"POST {path} had no answer for {PATIENCE:.0f} s: {last}")

    async def as_operator(
        self, path: str, body: Mapping[str, Any] | None = None, *, second: bool = False
    ) -> Answer:
        """Send a POST request of an operator's, or of a ``second`` one's."""
        key = self.second_operator if second else self.keys[Scope.OPERATOR]
        return await self.post(path, body, key=key)

    async def aclose(self) -> None:
        await self._http.aclose()
