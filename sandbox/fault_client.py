"""Client for fault injection in the stand-in, for async and for blocking code.

    faults = FaultClient(stand_in.url)
    lost = await faults.inject("stripe.refunds.create", "hang_up_after", order_id="1001", times=1)
    await faults.wait_for_hits(lost)
    await faults.remove(lost)

In the HTTP API a fault is called a dial. Endpoints are `stripe.payment_intents.create`,
`resend.emails.send`, …, or globs of them such as `stripe.*`. `sandbox/world/faults.py` lists the
endpoints and the modes, and so does the 400 response to a wrong name.
"""

from dataclasses import dataclass
from types import TracebackType
from typing import Any, Literal, Self

import httpx

Mode = Literal[
    "refuse",
    "pending",
    "split",
    "short",
    "delay",
    "delay_after",
    "rate_limit",
    "lock_timeout",
    "restrict",
    "error",
    "error_saved",
    "error_after",
    "html",
    "html_after",
    "hang_up",
    "hang_up_after",
    "twice",
    "late",
]

_LONGEST_POLL = 60.0


class FaultRejectedError(Exception):
    """The stand-in rejected the fault; the message lists what it accepts."""


@dataclass(frozen=True)
class Fault:
    """An injected fault: `hits` requests were affected, `holding` are waiting in its delay now."""

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


def _body(endpoint: str, mode: Mode, more: dict[str, Any]) -> dict[str, Any]:
    return {"endpoint": endpoint, "mode": mode} | {
        name: value for name, value in more.items() if value is not None
    }


def _fault(response: httpx.Response) -> Fault:
    if response.is_error:
        raise FaultRejectedError(response.json()["error"]["message"])
    return Fault(**response.json())


def _require_hits(fault: Fault, times: int, timeout: float) -> Fault:
    if fault.hits < times:
        raise TimeoutError(
            f"{fault.endpoint} ({fault.mode}) was hit {fault.hits} times in {timeout} s, "
            f"not {times}."
        )
    return fault


class FaultClient:
    """Injects faults into the stand-in at `url`, from async code."""

    def __init__(self, url: str) -> None:
        self._http = httpx.AsyncClient(base_url=url, timeout=_LONGEST_POLL + 10)

    async def inject(
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
    ) -> Fault:
        """Make an endpoint fail, for one order or all, `times` times or until it is removed."""
        more = {
            "order_id": order_id,
            "times": times,
            "seconds": seconds,
            "reason": reason,
            "sku": sku,
            "parcels": parcels,
        }
        response = await self._http.post("/sandbox/dials", json=_body(endpoint, mode, more))
        return _fault(response)

    async def remove(self, fault: Fault) -> None:
        """Remove a fault; requests that are waiting in its delay continue at once."""
        await self._http.delete(f"/sandbox/dials/{fault.id}")

    async def clear(self, *, endpoint: str | None = None, order_id: str | None = None) -> None:
        """Remove all faults, or those of one endpoint or order."""
        params = {"endpoint": endpoint, "order_id": order_id}
        given = {name: value for name, value in params.items() if value is not None}
        await self._http.delete("/sandbox/dials", params=given)

    async def get(self, fault: Fault) -> Fault:
        """The fault with its current counts."""
        return _fault(await self._http.get(f"/sandbox/dials/{fault.id}"))

    async def wait_for_hits(self, fault: Fault, *, times: int = 1, timeout: float = 10) -> Fault:  # noqa: ASYNC109  the server's timeout
        """Wait until the fault was hit `times` times, or raise `TimeoutError`."""
        params = {"times": times, "seconds": timeout}
        response = await self._http.get(f"/sandbox/dials/{fault.id}/hit", params=params)
        return _require_hits(_fault(response), times, timeout)

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


class BlockingFaultClient:
    """The same for code without an event loop."""

    def __init__(self, url: str) -> None:
        self._http = httpx.Client(base_url=url, timeout=_LONGEST_POLL + 10)

    def inject(self, endpoint: str, mode: Mode, **more: Any) -> Fault:
        """As `FaultClient.inject`."""
        return _fault(self._http.post("/sandbox/dials", json=_body(endpoint, mode, more)))

    def remove(self, fault: Fault) -> None:
        self._http.delete(f"/sandbox/dials/{fault.id}")

    def clear(self) -> None:
        self._http.delete("/sandbox/dials")

    def get(self, fault: Fault) -> Fault:
        return _fault(self._http.get(f"/sandbox/dials/{fault.id}"))

    def wait_for_hits(self, fault: Fault, *, times: int = 1, timeout: float = 10) -> Fault:
        """As `FaultClient.wait_for_hits`."""
        params = {"times": times, "seconds": timeout}
        response = self._http.get(f"/sandbox/dials/{fault.id}/hit", params=params)
        return _require_hits(_fault(response), times, timeout)

    def close(self) -> None:
        self._http.close()
