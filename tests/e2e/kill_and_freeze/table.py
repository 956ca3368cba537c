"""The kill-and-freeze table: where an ordinary order loses its worker, what its run hears before
the lost step is repeated, and how the order ends then.

A row for each moment of each step; a cell for each blow and each piece of news.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum
from itertools import groupby
from typing import Final

from durable_orders.domain.lifecycle import Status
from tests.e2e.kill_and_freeze.holds import Running
from tests.e2e.moments import Asking, Committing, Moment

#: How an order may end.
Ends = frozenset[Status]


class Blow(StrEnum):
    """What befalls the worker. A frozen one goes on when another has carried the order to its end.

    Of a healthy one the news come while it runs the step.
    """

    KILLED = "killed"
    FROZEN = "frozen"
    HEALTHY = "healthy"


class News(StrEnum):
    """What comes while the order is held, so that it is heard before the step is repeated."""

    NOTHING = "nothing"
    CANCELLATION = "cancellation"
    PAYMENT = "payment_news"
    PARCEL = "parcel_news"


class Way(StrEnum):
    """How a step is run."""

    LOCAL = "local"
    NORMAL = "normal"
    HANDED_OVER = "handed over"


class Part(StrEnum):
    """The workflow task that a local step is run in. Outside of one, a held step is in no hurry."""

    FIRST_TASK = "first task"
    BETWEEN = "between"
    CLOSING_TASK = "closing task"

    @property
    def tasks_before(self) -> int | None:
        """How many workflow tasks are complete while the order is held in this one."""
        return {Part.FIRST_TASK: 0, Part.CLOSING_TASK: 1}.get(self)


@dataclass(frozen=True)
class Row:
    """A moment of a step, and how the order may end when a cancellation is heard before the step is
    repeated; ``ends_later`` when a healthy worker hears it after its task. Whatever else is heard,
    it is completed.
    """

    activity: str
    way: Way
    part: Part
    at: str
    moment: Moment
    ends_first: Ends
    ends_later: Ends

    def __str__(self) -> str:
        where = "" if self.way is Way.LOCAL else f"{self.way.replace(' ', '_')}-"
        return f"{where}{self.activity}-{self.at.replace(' ', '_')}"

    @property
    def is_local(self) -> bool:
        """Whether it is held within a workflow task."""
        return self.part is not Part.BETWEEN

    @property
    def blows(self) -> tuple[Blow, ...]:
        """Whether a healthy worker interrupts a normal charge in time is a race."""
        is_normal_charge = self.activity == "charge_card" and self.way is Way.NORMAL
        return (Blow.KILLED, Blow.FROZEN) if is_normal_charge else tuple(Blow)


@dataclass(frozen=True)
class Cell:
    row: Row
    blow: Blow
    news: News

    def __str__(self) -> str:
        return f"{self.row}-{self.blow}-{self.news}"

    @property
    def ends(self) -> frozenset[Status]:
        """The statuses in which the order may end."""
        if self.news is not News.CANCELLATION:
            return _COMPLETED
        return self.row.ends_later if self.blow is Blow.HEALTHY else self.row.ends_first

    @property
    def is_late(self) -> bool:
        """Whether a request that is under way arrives only when the order has ended. One that the
        order still needs is asked for by the same key, so it comes first.
        """
        if self.ends == _COMPLETED or not isinstance(self.row.moment, Asking):
            return False
        return self.blow is not Blow.HEALTHY or not self.row.is_local


CREATE, CONFIRM = "stripe.payment_intents.create", "stripe.payment_intents.confirm"
SHIP, MAIL = "warehouse.fulfillments.create", "resend.emails.send"

_CANCELLED: Final[Ends] = frozenset({Status.CANCELLED})
_REFUNDED: Final[Ends] = frozenset({Status.REFUNDED})
_COMPLETED: Final[Ends] = frozenset({Status.COMPLETED})
#: The next try of a normal activity and the cancellation come to the next worker at once.
_EITHER: Final = _CANCELLED | _REFUNDED


def _rows(
    activity: str,
    way: Way,
    part: Part,
    moments: tuple[tuple[str, Moment, Ends], ...],
    ends_later: Ends | None = None,
) -> Iterator[Row]:
    for at, moment, ends_first in moments:
        yield Row(activity, way, part, at, moment, ends_first, ends_later or ends_first)


_CHARGE: Final[tuple[tuple[str, Moment, Ends], ...]] = (
    ("not begun", Running("charge_card", "before"), _CANCELLED),
    ("creation asked for", Asking(CREATE, "delay"), _CANCELLED),
    ("created", Asking(CREATE, "delay_after"), _CANCELLED),
    ("announced", Committing("payment_open"), _CANCELLED),
    ("confirmation asked for", Asking(CONFIRM, "delay"), _CANCELLED),
    ("confirmed", Asking(CONFIRM, "delay_after"), _REFUNDED),
    ("recorded", Committing("payment_captured"), _REFUNDED),
    ("not answered", Running("charge_card", "done"), _REFUNDED),
)

ROWS: Final = (
    *_rows(
        "begin_order",
        Way.LOCAL,
        Part.FIRST_TASK,
        (
            ("not begun", Running("begin_order", "before"), _CANCELLED),
            ("committed", Committing("stock_reserved"), _CANCELLED),
            ("not answered", Running("begin_order", "done"), _CANCELLED),
        ),
        ends_later=_REFUNDED,  # the charge follows in the same task
    ),
    *_rows("charge_card", Way.LOCAL, Part.FIRST_TASK, _CHARGE, ends_later=_REFUNDED),
    *_rows(
        "charge_card",
        Way.HANDED_OVER,
        Part.BETWEEN,
        tuple(one for one in _CHARGE if one[0] in {"confirmation asked for", "confirmed"}),
    ),
    *_rows(
        "charge_card",
        Way.NORMAL,
        Part.BETWEEN,
        tuple(
            (at, moment, _EITHER if at in {"not begun", "announced"} else ends)
            for at, moment, ends in _CHARGE
        ),
    ),
    *_rows(
        "fulfill_order",
        Way.NORMAL,
        Part.BETWEEN,
        (
            ("not begun", Running("fulfill_order", "before"), _REFUNDED),
            ("asked for", Asking(SHIP, "delay"), _REFUNDED),
            ("accepted", Asking(SHIP, "delay_after"), _REFUNDED),
            ("recorded", Committing("parcel_named"), _REFUNDED),
            ("not answered", Running("fulfill_order", "done"), _REFUNDED),
        ),
    ),
    *_rows(
        "update_inventory",
        Way.LOCAL,
        Part.CLOSING_TASK,
        (
            ("not begun", Running("update_inventory", "before"), _REFUNDED),
            ("committed", Committing("order_completed"), _COMPLETED),
            ("not answered", Running("update_inventory", "done"), _COMPLETED),
        ),
        ends_later=_COMPLETED,  # the task that is refused has committed it
    ),
    *_rows(
        "send_confirmation_email",
        Way.LOCAL,
        Part.CLOSING_TASK,
        (
            ("not begun", Running("send_confirmation_email", "before"), _COMPLETED),
            ("asked for", Asking(MAIL, "delay"), _COMPLETED),
            ("sent", Asking(MAIL, "delay_after"), _COMPLETED),
            ("recorded", Committing("confirmation_mailed"), _COMPLETED),
            ("not answered", Running("send_confirmation_email", "done"), _COMPLETED),
        ),
    ),
)


def cells() -> tuple[Cell, ...]:
    """All cells. Of a healthy worker's order of which nothing is heard there is nothing to see."""
    return tuple(
        Cell(row, blow, news)
        for blow in Blow
        for row in ROWS
        for news in News
        if blow in row.blows and (blow, news) != (Blow.HEALTHY, News.NOTHING)
    )


def markdown() -> str:
    """The table for people: moments of a step with the same ends share a line, and so do pieces of
    news.
    """

    def words(ends: Ends) -> str:
        return " or ".join(sorted(ends))

    def alike(row: Row) -> tuple[str, str, str, str]:
        later = words(row.ends_later) if Blow.HEALTHY in row.blows else ""
        return row.activity, row.way, words(row.ends_first), later

    lines = [
        "| step | killed or frozen when it is | nothing, payment news, parcel news "
        "| cancellation | healthy, and cancelled meanwhile |",
        "| --- | --- | --- | --- | --- |",
    ]
    for (activity, way, first, later), rows in groupby(ROWS, alike):
        moments = ", ".join(row.at for row in rows)
        cells = (f"`{activity}`, {way}", moments, words(_COMPLETED), first, later)
        lines.append(f"| {' | '.join(cells)} |".replace("  ", " "))
    return "\n".join(lines)
