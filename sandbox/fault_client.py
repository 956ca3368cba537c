"""Turning the world's dials from a test or a demo: `Dials` for async code, `BlockingDials` else.

    dials = Dials(world.url)
    lost = await dials.turn("stripe.refunds.create", "hang_up_after", order_id="1001", times=1)
    await dials.wait_hit(lost)
    await dials.off(lost)

Endpoints are `stripe.payment_intents.create`, `resend.emails.send`, …, or globs of them such as
`stripe.*`; `sandbox/world/faults.py` lists them and the modes, and so does the 400 that a wrong
name gets.
"""

from dataclasses import dataclass
from types import TracebackType
from typing import Any, Literal, Self

import httpx

Mode = Literal[
    "refuse",
    "split",
    "short",
    "delay",
    "delay_after",
    "rate_limit",
    "error",
    "error_saved",
    "error_after",
    "hang_up",
    "hang_up_after",
]

_LONGEST_POLL = 60.0


class DialError(Exception):
    """The world did not take the dial; the message says what it takes."""


@dataclass(frozen=True)
class Dial:
    """A dial as the world reported it: `hits` requests ran into it, `holding` wait in its delay."""

    id: str
    endpoint: str
    mode: str
    order_id: str | None
    sku: str | None
    times: int | None
    seconds: float
    reason: str | None
    parcels: int
    hits: int
    holding: int


def _wish(endpoint: str, mode: Mode, more: dict[str, Any]) -> dict[str, Any]:
    return {"endpoint": endpoint, "mode": mode} | {
        name: value for name, value in more.items() if value is not None
    }


def _dial(answer: httpx.Response) -> Dial:
    if answer.is_error:
        raise DialError(answer.json()["error"]["message"])
    return Dial(**answer.json())


def _reached(dial: Dial, times: int, timeout: float) -> Dial:
    if dial.hits < times:
        raise TimeoutError(
            f"{dial.endpoint} ({dial.mode}) was hit {dial.hits} times in {timeout} s, not {times}."
        )
    return dial


class Dials:
    """The dials of the world at `url`, from async code."""

    def __init__(self, url: str) -> None:
        self._http = httpx.AsyncClient(base_url=url, timeout=_LONGEST_POLL + 10)

    async def turn(
        self,
        endpoint: str,
        mode: Mode,
        *,
        order_id: str | None = None,
        times: int | None = None,
        seconds: float | None = None,
        reason: str | None = None,
        sku: str | None = None,
        parcels: int | None = None,
    ) -> Dial:
        """Make an endpoint misbehave, for one order or all, `times` times or until `off`."""
        more = {
            "order_id": order_id,
            "times": times,
            "seconds": seconds,
            "reason": reason,
            "sku": sku,
            "parcels": parcels,
        }
        answer = await self._http.post("/sandbox/dials", json=_wish(endpoint, mode, more))
        return _dial(answer)

    async def off(self, dial: Dial) -> None:
        """Turn a dial off; requests that wait in its delay go on at once."""
        await self._http.delete(f"/sandbox/dials/{dial.id}")

    async def clear(self, *, endpoint: str | None = None, order_id: str | None = None) -> None:
        """Turn all dials off, or those of one endpoint or order."""
        params = {"endpoint": endpoint, "order_id": order_id}
        asked = {name: value for name, value in params.items() if value is not None}
        await self._http.delete("/sandbox/dials", params=asked)

    async def look(self, dial: Dial) -> Dial:
        """The dial as it is now."""
        return _dial(await self._http.get(f"/sandbox/dials/{dial.id}"))

    async def wait_hit(self, dial: Dial, *, times: int = 1, timeout: float = 10) -> Dial:  # noqa: ASYNC109  asked of the world, not of this loop
        """Wait until requests ran into the dial `times` times, or raise TimeoutError."""
        params = {"times": times, "seconds": timeout}
        answer = await self._http.get(f"/sandbox/dials/{dial.id}/hit", params=params)
        return _reached(_dial(answer), times, timeout)

    async def close(self) -> None:
        await self._http.aclose()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self.close()


class BlockingDials:
    """The same dials from code that has no event loop."""

    def __init__(self, url: str) -> None:
        self._http = httpx.Client(base_url=url, timeout=_LONGEST_POLL + 10)

    def turn(self, endpoint: str, mode: Mode, **more: Any) -> Dial:
        """As `Dials.turn`."""
        return _dial(self._http.post("/sandbox/dials", json=_wish(endpoint, mode, more)))

    def off(self, dial: Dial) -> None:
        self._http.delete(f"/sandbox/dials/{dial.id}")

    def clear(self) -> None:
        self._http.delete("/sandbox/dials")

    def look(self, dial: Dial) -> Dial:
        return _dial(self._http.get(f"/sandbox/dials/{dial.id}"))

    def wait_hit(self, dial: Dial, *, times: int = 1, timeout: float = 10) -> Dial:
        """As `Dials.wait_hit`."""
        params = {"times": times, "seconds": timeout}
        answer = self._http.get(f"/sandbox/dials/{dial.id}/hit", params=params)
        return _reached(_dial(answer), times, timeout)

    def close(self) -> None:
        self._http.close()
