"""The plan of a run: which orders come when, and which faults happen when, all from one seed.

Nothing here runs anything. Times are seconds from the start of the run.
"""

from __future__ import annotations

import hashlib
import random
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from enum import StrEnum
from itertools import count
from typing import Final


class Capture(StrEnum):
    """When the workers capture; with ``BOTH``, each second worker in the other way."""

    AT_CHECKOUT = "at_checkout"
    AT_FULFILLMENT = "at_fulfillment"
    BOTH = "both"


class OrderKind(StrEnum):
    """What happens to an order besides the faults."""

    ORDINARY = "ordinary"
    CHECKED_OUT_THRICE = "checked out thrice"  # placed thrice as well, all at once
    RACING = "racing for the last units"
    OUT_OF_STOCK = "out of stock"
    CANCELLED = "cancelled"  # at any moment
    CANCELLED_UNSTARTED = "cancelled before checkout"
    APPROVED = "approved"
    DISAPPROVED = "disapproved"
    APPROVAL_FORGOTTEN = "approval forgotten"
    AUTHENTICATED = "3-D Secure"
    AUTHENTICATION_FAILED = "3-D Secure failed, another card"
    AUTHENTICATION_FORGOTTEN = "3-D Secure forgotten"
    DECLINED = "declined"
    SECOND_CARD = "declined, second card"
    SAVED_CARD = "saved card, customer away"
    CARD_SAVED = "card saved for later"
    ASKED_BY_MAIL = "asked by mail, pays in the browser"
    SOFT_DECLINE = "soft decline"
    REFUNDED_IN_PART = "refunded in part"
    RACING_REFUNDS = "racing refunds"
    REFUND_PENDING = "refund pending at the bank"
    DISPUTE_LOST = "dispute lost"
    DISPUTE_WON = "dispute won"
    DISPUTED_AT_ONCE = "disputed before it leaves"
    FRAUD_WARNING = "fraud warning"
    SHORT = "short at the warehouse"
    TWO_PARCELS = "two parcels"
    NOT_FULFILLABLE = "refused by the warehouse"
    PARCEL_LOST = "parcel lost, sent again"
    HOLD_LAPSED = "hold lapsed"  # only where the money is captured later


#: How many of a hundred orders, about.
_SHARES: Final = {
    OrderKind.ORDINARY: 17,
    OrderKind.CHECKED_OUT_THRICE: 5,
    OrderKind.RACING: 10,
    OrderKind.OUT_OF_STOCK: 1,
    OrderKind.CANCELLED: 12,
    OrderKind.CANCELLED_UNSTARTED: 1,
    OrderKind.APPROVED: 3,
    OrderKind.DISAPPROVED: 2,
    OrderKind.APPROVAL_FORGOTTEN: 1,
    OrderKind.AUTHENTICATED: 5,
    OrderKind.AUTHENTICATION_FAILED: 3,
    OrderKind.AUTHENTICATION_FORGOTTEN: 1,
    OrderKind.DECLINED: 3,
    OrderKind.SECOND_CARD: 4,
    OrderKind.SAVED_CARD: 3,
    OrderKind.CARD_SAVED: 2,
    OrderKind.ASKED_BY_MAIL: 3,
    OrderKind.SOFT_DECLINE: 1,
    OrderKind.REFUNDED_IN_PART: 5,
    OrderKind.RACING_REFUNDS: 4,
    OrderKind.REFUND_PENDING: 2,
    OrderKind.DISPUTE_LOST: 2,
    OrderKind.DISPUTE_WON: 2,
    OrderKind.DISPUTED_AT_ONCE: 1,
    OrderKind.FRAUD_WARNING: 2,
    OrderKind.SHORT: 2,
    OrderKind.TWO_PARCELS: 2,
    OrderKind.NOT_FULFILLABLE: 3,
    OrderKind.PARCEL_LOST: 2,
    OrderKind.HOLD_LAPSED: 1,
}
#: Of one product; there are pieces for half of them.
_BUYERS: Final = 6
#: The longest that a customer thinks before what they do next.
_LONGEST_PAUSE: Final = 6.0

SKUS: Final = ("CUP", "SHIRT", "PRINT", "STICKERS")
#: One piece costs more than an order may without approval.
EXPENSIVE: Final = "CABINET"
NOT_IN_STOCK: Final = "CALENDAR"


@dataclass(frozen=True)
class PlannedOrder:
    """One order: what is ordered when, and how long its customer thinks before each next act."""

    order_id: str
    at: float
    kind: OrderKind
    lines: tuple[tuple[str, int], ...]
    pauses: tuple[float, float, float]

    def __str__(self) -> str:
        lines = ", ".join(f"{quantity} {sku}" for sku, quantity in self.lines)
        return f"{self.at:7.1f}  order {self.order_id}: {self.kind} ({lines})"


class FaultKind(StrEnum):
    """What goes wrong."""

    KILL = "kill -9"  # a worker or an API process
    FREEZE = "freeze"  # the same, with SIGSTOP
    RESTART_TEMPORAL = "restart Temporal"
    RESTART_DATABASE = "restart PostgreSQL"
    END_CONNECTIONS = "end PostgreSQL's connections"
    FAIL_OVER = "fail over PostgreSQL"
    CUT = "cut"  # the connections of one process to one server, and refuse new ones
    STALL = "stall"  # the same connections: nothing passes, nothing is closed
    SLOW = "slow"  # the same: each packet takes a while
    NEIGHBOUR = "neighbour"  # Stripe, the mail service or the warehouse misbehaves
    WEBHOOKS = "webhooks"  # are sent twice, or late and so out of order


@dataclass(frozen=True)
class PlannedFault:
    """One fault, of this ``target``, for so many seconds; ``how`` is the stand-in's mode of it, of
    at most so many requests (``times``).
    """

    at: float
    kind: FaultKind
    target: str
    seconds: float
    how: str = ""
    times: int | None = None

    def __str__(self) -> str:
        how = f" {self.how}" if self.how else ""
        target = f" {self.target}" if self.target else ""
        times = f", {self.times} times at most" if self.times else ""
        return f"{self.at:7.1f}  {self.kind}{target}{how}, {self.seconds:.1f} s{times}"


@dataclass(frozen=True)
class Plan:
    """A whole run."""

    seed: int
    capture: Capture
    workers: int
    apis: int
    rate: float
    orders: tuple[PlannedOrder, ...]
    faults: tuple[PlannedFault, ...]

    @property
    def seconds(self) -> float:
        """How long faults happen."""
        return max((fault.at + fault.seconds for fault in self.faults), default=0.0)

    @property
    def fails_over(self) -> bool:
        """Whether the database needs a standby."""
        return any(fault.kind is FaultKind.FAIL_OVER for fault in self.faults)

    @property
    def digest(self) -> str:
        """The same for the same schedule."""
        text = "\n".join(map(str, (*self.orders, *self.faults)))
        return hashlib.sha256(text.encode()).hexdigest()[:12]

    @property
    def last_units(self) -> dict[str, int]:
        """The pieces in stock of each product that buyers race for."""
        raced = Counter(o.lines[0][0] for o in self.orders if o.kind is OrderKind.RACING)
        return {sku: max(1, buyers // 2) for sku, buyers in raced.items()}

    def lines(self) -> Iterator[str]:
        """The schedule, a line per order and fault, by time; then how many of each kind."""
        entries = [(each.at, str(each)) for each in self.orders]
        entries += [(each.at, str(each)) for each in self.faults]
        yield from (text for _, text in sorted(entries))
        for what, kinds in (
            ("orders", Counter(order.kind.value for order in self.orders)),
            ("faults", Counter(fault.kind.value for fault in self.faults)),
        ):
            counted = ", ".join(f"{number} {kind}" for kind, number in sorted(kinds.items()))
            yield f"{sum(kinds.values())} {what}: {counted}"
        yield f"seed {self.seed}, schedule {self.digest}"


def plan(
    *,
    orders: int,
    seed: int,
    capture: Capture = Capture.BOTH,
    workers: int = 2,
    apis: int = 2,
    rate: float = 4.0,
    shortest: float = 45.0,
    kinds: frozenset[OrderKind] = frozenset(OrderKind),
    with_faults: bool = True,
) -> Plan:
    """Draw the plan of this seed: ``rate`` orders a second, for ``shortest`` seconds at least.

    Of the ``kinds`` of orders each comes up once, where there are orders enough, before the rest is
    drawn by their shares.
    """
    if capture is Capture.AT_CHECKOUT:
        kinds -= {OrderKind.HOLD_LAPSED}
    seconds = max(orders / rate, shortest)
    return Plan(
        seed,
        capture,
        workers,
        apis,
        rate,
        tuple(_orders(random.Random(f"{seed} orders"), orders, seconds, kinds)),  # noqa: S311
        tuple(_faults(random.Random(f"{seed} faults"), seconds, workers, apis))  # noqa: S311
        if with_faults
        else (),
    )


def _orders(
    chance: random.Random, number: int, seconds: float, kinds: frozenset[OrderKind]
) -> list[PlannedOrder]:
    known = [kind for kind in OrderKind if kind in kinds]
    drawn = chance.sample(known, len(known))
    shares = [_SHARES[kind] / (_BUYERS if kind is OrderKind.RACING else 1) for kind in known]
    numbers, races = count(1), count(1)
    planned: list[PlannedOrder] = []
    while len(planned) < number:
        kind = drawn.pop() if drawn else chance.choices(known, shares)[0]
        at, buyers = round(chance.uniform(0, seconds), 1), 1
        lines = _lines(chance, kind)
        if kind is OrderKind.RACING:
            buyers, lines = min(_BUYERS, number - len(planned)), ((f"RARE-{next(races)}", 1),)
        for _ in range(buyers):
            pauses = tuple(round(chance.uniform(0, _LONGEST_PAUSE) ** 2 / _LONGEST_PAUSE, 1)
                           for _ in range(3))  # fmt: skip
            planned.append(PlannedOrder(f"c{next(numbers)}", at, kind, lines, pauses))  # type: ignore[arg-type]
    return sorted(planned, key=lambda order: order.at)


def _lines(chance: random.Random, kind: OrderKind) -> tuple[tuple[str, int], ...]:
    match kind:
        case OrderKind.OUT_OF_STOCK:
            return (("CUP", 1), (NOT_IN_STOCK, 1))
        case OrderKind.APPROVED | OrderKind.DISAPPROVED | OrderKind.APPROVAL_FORGOTTEN:
            return ((EXPENSIVE, 1),)
        case (
            OrderKind.SHORT
            | OrderKind.TWO_PARCELS
            | OrderKind.REFUNDED_IN_PART
            | OrderKind.RACING_REFUNDS
        ):
            return ((chance.choice(SKUS[:2]), 2), ("STICKERS", chance.randint(1, 3)))
    skus = chance.sample(SKUS, chance.choice((1, 1, 1, 2)))
    return tuple((sku, chance.randint(1, 2)) for sku in skus)


#: Seconds of each fault of the neighbours, at least and at most, and its mode.
_MODES: Final = (
    ("hang_up_after", 0.5, 2.5),
    ("hang_up", 0.5, 2.5),
    ("error", 0.5, 2.5),
    ("error_after", 0.5, 4.0),
    ("error_saved", 0.5, 4.0),
    ("rate_limit", 1.0, 5.0),
    ("lock_timeout", 0.5, 3.0),
    ("delay", 1.0, 5.0),
    ("delay_after", 1.0, 5.0),
)
_NEIGHBOURS: Final = (
    "stripe.payment_intents.create",
    "stripe.payment_intents.confirm",
    "stripe.payment_intents.*",
    "stripe.refunds.*",
    "stripe.*",
    "warehouse.*",
    "warehouse.fulfillments.create",
    "resend.*",
)
#: Stripe keeps these as the answer of a key, so that its order is rejected: of a few requests each.
_STORED: Final = frozenset({"error_saved", "error_after"})
_MOST_STORED: Final = 3


_OF_SERVERS: Final = (
    FaultKind.RESTART_TEMPORAL,
    FaultKind.RESTART_DATABASE,
    FaultKind.END_CONNECTIONS,
    FaultKind.FAIL_OVER,
)


def _faults(chance: random.Random, seconds: float, workers: int, apis: int) -> list[PlannedFault]:
    processes = [f"worker {n + 1}" for n in range(workers)] + [f"api {n + 1}" for n in range(apis)]
    free_at = dict.fromkeys(processes, 3.0)  # they have just been started

    def of_process(at: float) -> PlannedFault | None:
        free = [name for name in processes if free_at[name] <= at]
        if not free:
            return None
        target = chance.choice(free)
        kind = chance.choice((FaultKind.KILL, FaultKind.KILL, FaultKind.FREEZE))
        lasts = chance.uniform(0.5, 3) if kind is FaultKind.KILL else chance.uniform(1, 9)
        free_at[target] = at + lasts + chance.uniform(6, 14)  # it is to do something, too
        return PlannedFault(at, kind, target, lasts)

    kinds_of_servers: list[FaultKind] = []

    def of_server(at: float) -> PlannedFault:
        if not kinds_of_servers:  # each of them once before one comes again
            kinds_of_servers.extend(chance.sample(_OF_SERVERS, len(_OF_SERVERS)))
        kind = kinds_of_servers.pop()
        how, lasts = chance.choice(("killed", "stopped")), chance.uniform(0.2, 3)
        if kind is FaultKind.END_CONNECTIONS:
            how, lasts = "", 0.0
        elif kind is FaultKind.FAIL_OVER:
            how, lasts = chance.choice(("killed", "frozen")), chance.uniform(3, 8)
        return PlannedFault(at, kind, "", lasts, how)

    def of_network(at: float) -> PlannedFault:
        kind = chance.choice((FaultKind.CUT, FaultKind.STALL, FaultKind.SLOW))
        server = chance.choice(("Temporal", "PostgreSQL"))
        longest = {FaultKind.CUT: 4, FaultKind.STALL: 8, FaultKind.SLOW: 8}[kind]
        return PlannedFault(
            at, kind, f"{chance.choice(processes)} from {server}", chance.uniform(0.2, longest)
        )

    def of_neighbour(at: float) -> PlannedFault:
        mode, shortest, longest = chance.choice(_MODES)
        target, lasts = chance.choice(_NEIGHBOURS), chance.uniform(shortest, longest)
        times = _MOST_STORED if mode in _STORED else None
        return PlannedFault(at, FaultKind.NEIGHBOUR, target, lasts, mode, times)

    def of_webhooks(at: float) -> PlannedFault:
        source, how = chance.choice(("stripe", "warehouse", "*")), chance.choice(("twice", "late"))
        return PlannedFault(at, FaultKind.WEBHOOKS, f"{source}.webhooks", chance.uniform(1, 8), how)

    tracks: tuple[tuple[Callable[[float], PlannedFault | None], float, float], ...] = (
        (of_process, 1.5, 5.0),
        (of_server, 8.0, 24.0),
        (of_network, 3.0, 8.0),
        (of_neighbour, 1.5, 4.0),
        (of_webhooks, 4.0, 10.0),
    )
    planned: list[PlannedFault] = []
    for draw, soonest, latest in tracks:
        at = chance.uniform(soonest, latest)
        while at < seconds:
            fault = draw(round(at, 1))
            if fault is not None:
                planned.append(fault)
            at += chance.uniform(soonest, latest)
    return sorted(planned, key=lambda fault: fault.at)
