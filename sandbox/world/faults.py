"""Fault injection: faults that make the stand-in's endpoints fail on purpose.

In the HTTP API a fault is called a dial. Faults are kept in memory only, so a restart of the
stand-in removes them, as if the service had been repaired.
"""

import asyncio
import itertools
from collections.abc import Iterator
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from typing import Final

from sandbox.world.state_store import JsonObject

ENDPOINTS: Final = (
    "stripe.payment_intents.create",
    "stripe.payment_intents.confirm",
    "stripe.payment_intents.capture",
    "stripe.payment_intents.cancel",
    "stripe.payment_intents.retrieve",
    "stripe.payment_intents.list",
    "stripe.charges.retrieve",
    "stripe.charges.list",
    "stripe.refunds.create",
    "stripe.refunds.retrieve",
    "stripe.refunds.list",
    "stripe.payment_methods.create",
    "stripe.payment_methods.retrieve",
    "stripe.account.retrieve",
    "stripe.payment_methods.list",
    "stripe.payment_methods.attach",
    "stripe.payment_methods.detach",
    "stripe.customers.create",
    "stripe.customers.retrieve",
    "stripe.customers.update",
    "stripe.customers.delete",
    "stripe.customers.list",
    "stripe.customers.payment_methods",
    "stripe.disputes.retrieve",
    "stripe.disputes.update",
    "stripe.disputes.close",
    "stripe.disputes.list",
    "stripe.reviews.retrieve",
    "stripe.reviews.approve",
    "stripe.reviews.list",
    "stripe.early_fraud_warnings.retrieve",
    "stripe.early_fraud_warnings.list",
    "resend.emails.send",
    "resend.emails.retrieve",
    "warehouse.fulfillments.create",
    "warehouse.fulfillments.cancel",
    "warehouse.fulfillments.retrieve",
    "warehouse.parcels.resend",
    # Not requests to a provider, but its own to us: see DELIVERY.
    "stripe.webhooks",
    "resend.webhooks",
    "warehouse.webhooks",
)

BEFORE: Final = ("delay", "rate_limit", "lock_timeout", "restrict", "error", "html", "hang_up")
DURING: Final = ("refuse", "pending", "split", "short", "error_saved", "error_after")
AFTER: Final = ("delay_after", "html_after", "hang_up_after")
#: Of webhooks, whichever order they are about.
DELIVERY: Final = ("twice", "late")

MODES: Final = {
    "refuse": "a business refusal: `reason` is a decline code, the warehouse's message, …",
    "pending": "Stripe's balance is short: the refund is pending until it is settled",
    "split": "the warehouse packs the order in `parcels` parcels",
    "short": "the warehouse lacks the order's `sku`, or without one a piece of its last line",
    "delay": "wait `seconds`, then do the work",
    "delay_after": "do the work, then wait `seconds` before answering",
    "rate_limit": "429 with Retry-After: `seconds` (rounded up, at least 1); nothing is done",
    "lock_timeout": "another request is at the same object: 429 lock_timeout of Stripe's, of the "
    "others the 409 of a key in use; nothing is done",
    "restrict": "403: the account may not do this at the moment; with Resend, the domain of the "
    "sender is not verified; nothing is done",
    "error": "500; nothing is done and the idempotency key stays unused",
    "error_saved": "500; nothing is done, and Stripe keeps the 500 as the key's answer",
    "error_after": "the work is done, then 500; Stripe keeps the 500 as the key's answer",
    "html": "200 with a page instead of JSON, as a proxy answers; nothing is done",
    "html_after": "the work is done, then the page instead of the answer",
    "hang_up": "close the connection without an answer; nothing is done",
    "hang_up_after": "do the work, then close the connection without an answer",
    "twice": "a webhook is delivered a second time at once",
    "late": "a webhook is delivered `seconds` later, after those that follow it",
}

_FIELDS: Final = {"endpoint", "mode", "order_id", "sku", "times", "seconds", "reason", "parcels"}


class InvalidFaultError(ValueError):
    """The definition of a fault is wrong; the message lists what is allowed."""


@dataclass(eq=False)
class Fault:
    """One fault: at which endpoint, for which order, how often.

    `hits` requests were affected, `holding` are waiting in its delay now.
    """

    id: str
    endpoint: str
    mode: str
    order_id: str | None = None
    sku: str | None = None
    times: int | None = None
    seconds: float = 60.0
    reason: str | None = None
    parcels: int = 2
    hits: int = 0
    holding: int = 0
    removed: asyncio.Event = field(default_factory=asyncio.Event)

    def to_json(self) -> JsonObject:
        names = ("id", "endpoint", "mode", "order_id", "sku", "times", "seconds", "reason")
        rest = ("parcels", "hits", "holding")
        return {name: getattr(self, name) for name in names + rest}

    def matches(self, endpoint: str, order_id: str | None, skus: tuple[str, ...]) -> bool:
        return (
            (self.times is None or self.hits < self.times)
            and fnmatchcase(endpoint, self.endpoint)
            and self.order_id in {None, order_id}
            and (self.sku is None or self.sku in skus)
        )


class FaultRegistry:
    """All faults, in the order in which they were set."""

    def __init__(self) -> None:
        self._faults: dict[str, Fault] = {}
        self._numbers = itertools.count(1)
        self._changed = asyncio.Condition()

    def all(self) -> list[Fault]:
        return list(self._faults.values())

    def find(self, fault_id: str) -> Fault | None:
        return self._faults.get(fault_id)

    def set(self, definition: JsonObject, fault_id: str | None = None) -> Fault:
        fault = _validated(definition, fault_id or f"dial_{next(self._numbers)}")
        self.remove(fault.id)
        self._faults[fault.id] = fault
        return fault

    def remove(self, fault_id: str) -> bool:
        """Remove a fault. Requests that are waiting in its delay continue at once."""
        fault = self._faults.pop(fault_id, None)
        if fault is not None:
            fault.removed.set()
        return fault is not None

    def clear(self, endpoint: str | None = None, order_id: str | None = None) -> None:
        for fault in self.all():
            if endpoint in {None, fault.endpoint} and order_id in {None, fault.order_id}:
                self.remove(fault.id)

    async def hit(
        self, modes: tuple[str, ...], endpoint: str, order_id: str | None, skus: tuple[str, ...]
    ) -> list[Fault]:
        """Count a hit for every fault of these modes that matches the request; return those."""
        found = list(self._matching(modes, endpoint, order_id, skus))
        if found:
            async with self._changed:
                self._changed.notify_all()
        return found

    def _matching(
        self, modes: tuple[str, ...], endpoint: str, order_id: str | None, skus: tuple[str, ...]
    ) -> Iterator[Fault]:
        for fault in self._faults.values():
            if fault.mode in modes and fault.matches(endpoint, order_id, skus):
                fault.hits += 1
                yield fault

    async def delay(self, fault: Fault) -> None:
        """Delay a request until the fault's time is over or the fault is removed."""
        fault.holding += 1
        try:
            async with asyncio.timeout(fault.seconds):
                await fault.removed.wait()
        except TimeoutError:
            pass
        finally:
            fault.holding -= 1

    async def wait_for_hits(self, fault: Fault, times: int, seconds: float) -> bool:
        """Wait until the fault was hit `times` times; False on timeout."""
        try:
            async with asyncio.timeout(seconds), self._changed:
                await self._changed.wait_for(lambda: fault.hits >= times)
        except TimeoutError:
            return False
        return True


def _validated(definition: JsonObject, fault_id: str) -> Fault:
    if unknown := set(definition) - _FIELDS:
        raise InvalidFaultError(f"A dial has no {sorted(unknown)}; it has {sorted(_FIELDS)}.")
    endpoint, mode = definition.get("endpoint"), definition.get("mode")
    if not isinstance(endpoint, str) or not any(fnmatchcase(n, endpoint) for n in ENDPOINTS):
        raise InvalidFaultError(
            f"No endpoint is called {endpoint!r}. The endpoints, or a glob of them: "
            + ", ".join(ENDPOINTS)
        )
    if mode not in MODES:
        raise InvalidFaultError(f"No mode is called {mode!r}. The modes: " + ", ".join(MODES))
    for name, kinds in (("times", int), ("seconds", (int, float)), ("parcels", int)):
        value = definition.get(name)
        if value is not None and (not isinstance(value, kinds) or value < 0):
            raise InvalidFaultError(f"{name} must be a number of at least 0, not {value!r}.")
    for name in ("order_id", "sku", "reason"):
        if not isinstance(definition.get(name), str | None):
            raise InvalidFaultError(f"{name} must be a text, not {definition[name]!r}.")
    return Fault(
        fault_id, **{name: value for name, value in definition.items() if value is not None}
    )
