"""The sandbox in this process, and a client of its control API.

After each test, every request that it sent to the sandbox's Stripe is checked against the types of
the pinned SDK: names, nesting, required fields and enumerations.
"""

from __future__ import annotations

import sys
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any
from uuid import uuid4

import httpx
import pytest
import pytest_asyncio

from sandbox.world import StandInServer
from tests.support.stripe_types import SentRequest, mistakes_of_request

Page = dict[str, Any]


@dataclass(frozen=True)
class SandboxControl:
    """Client of the sandbox's control API: sets faults, triggers events, reads its records."""

    url: str
    http: httpx.AsyncClient

    async def turn(self, endpoint: str, mode: str, order_id: str, **more: object) -> str:
        """Set a dial for one order, for one request unless said otherwise; returns its id."""
        wish = {"endpoint": endpoint, "mode": mode, "order_id": order_id, "times": 1, **more}
        return str((await self._post("/sandbox/dials", wish))["id"])

    async def wait_for_hit(self, dial_id: str) -> None:
        """Wait until a request hits the dial."""
        (await self.http.get(f"/sandbox/dials/{dial_id}/hit")).raise_for_status()

    async def remove(self, dial_id: str) -> None:
        (await self.http.delete(f"/sandbox/dials/{dial_id}")).raise_for_status()

    async def authenticate(self, payment_id: str, outcome: str) -> None:
        """The customer passes 3-D Secure (``succeed``) or does not (``fail``)."""
        path = f"/sandbox/payment_intents/{payment_id}/authenticate"
        await self._post(path, {"outcome": outcome})

    async def confirm(self, payment_id: str, card: str) -> None:
        """The customer confirms in the browser, with this card."""
        path = f"/sandbox/payment_intents/{payment_id}/confirm"
        await self._post(path, {"payment_method": card})

    async def settle(self, payment_id: str, outcome: str) -> None:
        """The bank decides on a payment that was processing: ``succeed`` or ``fail``."""
        await self._post(f"/sandbox/payment_intents/{payment_id}/settle", {"outcome": outcome})

    async def lapse(self, payment_id: str) -> None:
        """The hold expires before it is captured."""
        await self._post(f"/sandbox/payment_intents/{payment_id}/lapse", {})

    async def settle_refund(self, refund_id: str) -> None:
        """Let the bank's answer to a refund arrive."""
        await self._post(f"/sandbox/refunds/{refund_id}/settle", {})

    async def dispute(self, payment_id: str, **how: object) -> str:
        """The cardholder disputes; returns the dispute's id."""
        path = f"/sandbox/payment_intents/{payment_id}/dispute"
        return str((await self._post(path, how))["id"])

    async def warn(self, payment_id: str) -> str:
        """The card's issuer reports fraud; returns the warning's id."""
        return str((await self._post(f"/sandbox/payment_intents/{payment_id}/warn", {}))["id"])

    async def review(self, payment_id: str) -> str:
        """A person puts the payment into review; returns the review's id."""
        return str((await self._post(f"/sandbox/payment_intents/{payment_id}/review", {}))["id"])

    async def decide(self, dispute_id: str, how: str) -> None:
        """The bank decides: ``win``, ``lose``, ``withdraw`` or ``escalate``."""
        await self._post(f"/sandbox/disputes/{dispute_id}/{how}", {})

    async def dispatch(self, order_id: str) -> None:
        await self._post(f"/sandbox/warehouse/{order_id}/dispatch", {})

    async def page(self, order_id: str) -> Page:
        """The sandbox's records of one order."""
        reply = await self.http.get(f"/books/{order_id}")
        return dict(reply.raise_for_status().json())

    async def sent_to_stripe(self, after: int) -> list[SentRequest]:
        """The requests to Stripe after this one, in order."""
        return [
            SentRequest(logged["method"], logged["path"], logged["parameters"])
            for logged in (await self._requests(after))["requests"]
        ]

    async def newest_request(self) -> int:
        """The number of the newest request to Stripe."""
        return int((await self._requests(sys.maxsize))["newest"])

    async def _requests(self, after: int) -> Page:
        reply = await self.http.get("/sandbox/requests", params={"after": after})
        return dict(reply.raise_for_status().json())

    async def _post(self, path: str, body: Page) -> Page:
        reply = await self.http.post(path, json=body)
        return dict(reply.raise_for_status().json())


@pytest_asyncio.fixture(scope="session")
async def control(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[SandboxControl]:
    """A running sandbox."""
    async with (
        StandInServer(tmp_path_factory.mktemp("world")) as world,
        httpx.AsyncClient(base_url=world.url) as http,
    ):
        yield SandboxControl(world.url, http)


@pytest.fixture
def order_id() -> str:
    """An order id that no other test or earlier run has used."""
    return f"t-{uuid4().hex[:12]}"


@pytest.fixture
def sends_wrong_requests() -> None:
    """Requested by a test whose requests are wrong on purpose: they are not checked."""


@pytest_asyncio.fixture(autouse=True)
async def _requests_fit_the_sdk(request: pytest.FixtureRequest) -> AsyncIterator[None]:
    names = set(request.fixturenames)
    if "control" not in names or "sends_wrong_requests" in names:
        yield
        return
    control: SandboxControl = request.getfixturevalue("control")
    before = await control.newest_request()
    yield
    mistakes = {
        str(sent): found
        for sent in await control.sent_to_stripe(before)
        if (found := mistakes_of_request(sent))
    }
    assert mistakes == {}
