"""The dials that make the world fail on purpose, and the endpoints they can be set for.

A dial lives in memory only: a world that is started again works, as a repaired service would.
"""

import asyncio
import itertools
from collections.abc import Iterator
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from typing import Final

from sandbox.world.state_store import Doc

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
    "stripe.payment_methods.retrieve",
    "resend.emails.send",
    "resend.emails.retrieve",
    "warehouse.fulfillments.create",
    "warehouse.fulfillments.cancel",
    "warehouse.fulfillments.retrieve",
    "warehouse.parcels.resend",
)

BEFORE: Final = ("delay", "rate_limit", "error", "hang_up")
DURING: Final = ("refuse", "split", "short", "error_saved", "error_after")
AFTER: Final = ("delay_after", "hang_up_after")

MODES: Final = {
    "refuse": "a business refusal: `reason` is a decline code, the warehouse's message, …",
    "split": "the warehouse packs the order in `parcels` parcels",
    "short": "the warehouse lacks the order's `sku`, or without one a piece of its last line",
    "delay": "wait `seconds`, then do the work",
    "delay_after": "do the work, then wait `seconds` before answering",
    "rate_limit": "429 with Retry-After: `seconds` (rounded up, at least 1); nothing is done",
    "error": "500; nothing is done and the idempotency key stays unused",
    "error_saved": "500; nothing is done, and Stripe keeps the 500 as the key's answer",
    "error_after": "the work is done, then 500; Stripe keeps the 500 as the key's answer",
    "hang_up": "close the connection without an answer; nothing is done",
    "hang_up_after": "do the work, then close the connection without an answer",
}

_FIELDS: Final = {"endpoint", "mode", "order_id", "sku", "times", "seconds", "reason", "parcels"}


class BadDialError(ValueError):
    """A dial that cannot be set; the message lists what can."""


@dataclass(eq=False)
class Dial:
    """One thing that goes wrong, where, for whom and how often."""

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
    off: asyncio.Event = field(default_factory=asyncio.Event)

    def shown(self) -> Doc:
        names = ("id", "endpoint", "mode", "order_id", "sku", "times", "seconds", "reason")
        rest = ("parcels", "hits", "holding")
        return {name: getattr(self, name) for name in names + rest}

    def applies(self, endpoint: str, order_id: str | None, skus: tuple[str, ...]) -> bool:
        return (
            (self.times is None or self.hits < self.times)
            and fnmatchcase(endpoint, self.endpoint)
            and self.order_id in {None, order_id}
            and (self.sku is None or self.sku in skus)
        )


class DialBoard:
    """All dials, in the order they were set."""

    def __init__(self) -> None:
        self._dials: dict[str, Dial] = {}
        self._numbers = itertools.count(1)
        self._turned = asyncio.Condition()

    def all(self) -> list[Dial]:
        return list(self._dials.values())

    def find(self, dial_id: str) -> Dial | None:
        return self._dials.get(dial_id)

    def set(self, wish: Doc, dial_id: str | None = None) -> Dial:
        dial = _checked(wish, dial_id or f"dial_{next(self._numbers)}")
        self.remove(dial.id)
        self._dials[dial.id] = dial
        return dial

    def remove(self, dial_id: str) -> bool:
        """Turn a dial off. Requests waiting in its delay go on at once."""
        dial = self._dials.pop(dial_id, None)
        if dial is not None:
            dial.off.set()
        return dial is not None

    def clear(self, endpoint: str | None = None, order_id: str | None = None) -> None:
        for dial in self.all():
            if endpoint in {None, dial.endpoint} and order_id in {None, dial.order_id}:
                self.remove(dial.id)

    async def hits(
        self, modes: tuple[str, ...], endpoint: str, order_id: str | None, skus: tuple[str, ...]
    ) -> list[Dial]:
        """The dials of these modes that this request runs into; each is counted."""
        found = list(self._matching(modes, endpoint, order_id, skus))
        if found:
            async with self._turned:
                self._turned.notify_all()
        return found

    def _matching(
        self, modes: tuple[str, ...], endpoint: str, order_id: str | None, skus: tuple[str, ...]
    ) -> Iterator[Dial]:
        for dial in self._dials.values():
            if dial.mode in modes and dial.applies(endpoint, order_id, skus):
                dial.hits += 1
                yield dial

    async def hold(self, dial: Dial) -> None:
        """Keep a request waiting until the time is up or the dial is turned off."""
        dial.holding += 1
        try:
            async with asyncio.timeout(dial.seconds):
                await dial.off.wait()
        except TimeoutError:
            pass
        finally:
            dial.holding -= 1

    async def wait_for_hits(self, dial: Dial, times: int, seconds: float) -> bool:
        """Wait until a dial was run into `times` times; False when it was not in time."""
        try:
            async with asyncio.timeout(seconds), self._turned:
                await self._turned.wait_for(lambda: dial.hits >= times)
        except TimeoutError:
            return False
        return True


def _checked(wish: Doc, dial_id: str) -> Dial:
    if unknown := set(wish) - _FIELDS:
        raise BadDialError(f"A dial has no {sorted(unknown)}; it has {sorted(_FIELDS)}.")
    endpoint, mode = wish.get("endpoint"), wish.get("mode")
    if not isinstance(endpoint, str) or not any(fnmatchcase(n, endpoint) for n in ENDPOINTS):
        raise BadDialError(
            f"No endpoint is called {endpoint!r}. The endpoints, or a glob of them: "
            + ", ".join(ENDPOINTS)
        )
    if mode not in MODES:
        raise BadDialError(f"No mode is called {mode!r}. The modes: " + ", ".join(MODES))
    for name, kinds in (("times", int), ("seconds", (int, float)), ("parcels", int)):
        value = wish.get(name)
        if value is not None and (not isinstance(value, kinds) or value < 0):
            raise BadDialError(f"{name} must be a number of at least 0, not {value!r}.")
    for name in ("order_id", "sku", "reason"):
        if not isinstance(wish.get(name), str | None):
            raise BadDialError(f"{name} must be a text, not {wish[name]!r}.")
    return Dial(dial_id, **{name: value for name, value in wish.items() if value is not None})
