"""The fault matrix: what can go wrong in each activity, and how its order may end then.

A row for each activity that the worker has, a column for each fault. A cell without a reason why it
cannot happen is an order that is brought there and followed to its end.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Final

from durable_orders.domain.lifecycle import Status
from sandbox.fault_client import Mode


class FaultKind(StrEnum):
    """What goes wrong, once per cell. "done": the activity's effect is there, its answer is not."""

    KILLED_BEFORE = "killed_before"
    KILLED_DONE = "killed_done"
    KILLED_AFTER = "killed_after"
    ERROR_TWICE = "500_twice"
    RATE_LIMITED = "429"
    TIMEOUT = "timeout"
    ANSWER_DROPPED = "answer_dropped"
    PAGE = "html"
    PAGE_DONE = "html_done"
    ERROR_STORED = "500_stored"
    DATABASE_CUT = "database_cut"
    DATABASE_CUT_DONE = "database_cut_done"
    TEMPORAL_RESTARTED = "temporal_restarted"


KILLS: Final = (FaultKind.KILLED_BEFORE, FaultKind.KILLED_DONE, FaultKind.KILLED_AFTER)
DATABASE: Final = (FaultKind.DATABASE_CUT, FaultKind.DATABASE_CUT_DONE)

#: The stand-in's mode of each fault at a neighbour, and how often it strikes.
AT_NEIGHBOUR: Final[Mapping[FaultKind, tuple[Mode, int]]] = {
    FaultKind.ERROR_TWICE: ("error", 2),
    FaultKind.RATE_LIMITED: ("rate_limit", 1),
    FaultKind.TIMEOUT: ("delay_after", 1),
    FaultKind.ANSWER_DROPPED: ("hang_up_after", 1),
    FaultKind.PAGE: ("html", 1),
    FaultKind.PAGE_DONE: ("html_after", 1),
    FaultKind.ERROR_STORED: ("error_saved", 1),
}

CREATE, CONFIRM = "stripe.payment_intents.create", "stripe.payment_intents.confirm"
READ, CAPTURE = "stripe.payment_intents.retrieve", "stripe.payment_intents.capture"
REFUND, REFUNDS = "stripe.refunds.create", "stripe.refunds.list"
DISPUTES, CHARGES = "stripe.disputes.list", "stripe.payment_intents.list"
SHIP, RECALL = "warehouse.fulfillments.create", "warehouse.fulfillments.cancel"
LOOK, RESEND = "warehouse.fulfillments.retrieve", "warehouse.parcels.resend"
MAIL = "resend.emails.send"

#: Stripe's endpoints that are asked by an idempotency key, whose first answer it keeps.
KEYED: Final = frozenset({CREATE, CONFIRM, CAPTURE, REFUND})
#: Endpoints whose answer is waited for as long as a bank may take.
SLOW: Final = frozenset({CONFIRM, CAPTURE, REFUND})

NO_NEIGHBOUR: Final = "it asks the database only"
NOT_KEPT: Final = "only Stripe keeps an error as a key's answer, and only where there is a key"
NOTHING_FOLLOWS: Final = "its run does nothing more after it: it is over"


@dataclass(frozen=True)
class Row:
    """An activity: the ``course`` of an order that comes to it (a name in ``courses``), the
    neighbours' ``endpoints`` that it asks, and the status in which the order ends; ``ends_after``
    where another is legal after a fault at one of them.

    ``impossible``: faults that cannot be, with the reason.
    """

    activity: str
    course: str
    endpoints: tuple[str, ...] = ()
    ends: Status = Status.COMPLETED
    ends_after: Mapping[tuple[FaultKind, str], Status] = field(default_factory=dict, hash=False)
    impossible: Mapping[FaultKind, str] = field(default_factory=dict, hash=False)

    def reason_against(self, fault: FaultKind, endpoint: str = "") -> str | None:
        """Why there is no such cell; None when there is one."""
        if fault in self.impossible:
            return self.impossible[fault]
        if fault in AT_NEIGHBOUR and not self.endpoints:
            return NO_NEIGHBOUR
        if fault is FaultKind.ERROR_STORED and endpoint not in KEYED:
            return NOT_KEPT
        return None


@dataclass(frozen=True)
class Cell:
    """One fault in one activity, at one of the endpoints that it asks if that is where it is."""

    row: Row
    fault: FaultKind
    endpoint: str = ""

    def __str__(self) -> str:
        where = f"-{self.endpoint}" if len(self.row.endpoints) > 1 and self.endpoint else ""
        return f"{self.row.activity}{where}-{self.fault}"

    @property
    def status(self) -> Status:
        """The status in which the order has to end."""
        return self.row.ends_after.get((self.fault, self.endpoint), self.row.ends)


_LAST: Final = {FaultKind.KILLED_AFTER: NOTHING_FOLLOWS}
_REJECTED: Final = Status.REJECTED

ROWS: Final = (
    # An order that nothing is wrong with.
    Row("begin_order", "ordinary"),
    Row("read_order", "ordinary"),  # these two when that got no answer
    Row("reserve_inventory", "ordinary"),
    Row(
        "charge_card",
        "ordinary",
        (CREATE, CONFIRM),
        # The key's answer stays an error for a day, and a charge has three tries.
        ends_after={
            (FaultKind.ERROR_STORED, CREATE): _REJECTED,
            (FaultKind.ERROR_STORED, CONFIRM): _REJECTED,
        },
    ),
    Row("fulfill_order", "ordinary", (SHIP,)),
    Row("update_inventory", "ordinary"),
    Row("send_confirmation_email", "ordinary", (MAIL,), impossible=_LAST),
    # One that waits: for an approver, for its customer, for a bank.
    Row("record_status", "approved"),
    Row("record_note", "approved"),
    Row("send_approval_reminder", "approved_after_reminder", (MAIL,)),
    Row("send_payment_request_email", "paid_from_away", (MAIL,)),
    Row("check_payment", "confirmed_at_bank", (READ,)),
    # One that is undone.
    Row("begin_undo", "unshippable", ends=Status.REFUNDED),
    Row("cancel_fulfillment", "unshippable", (RECALL,), ends=Status.REFUNDED),
    Row("refund_card", "unshippable", (READ, REFUND), ends=Status.REFUNDED),
    Row("release_inventory", "unshippable", ends=Status.REFUNDED),
    Row("send_closing_email", "unshippable", (MAIL,), ends=Status.REFUNDED, impossible=_LAST),
    Row("record_given_back_by_hand", "given_back_by_hand", ends=Status.REFUNDED),
    Row("read_fulfillment", "left_unheard", (LOOK,)),
    # One whose money is held until the warehouse has accepted it, and whose parcels are followed.
    Row("capture_payment", "followed", (CAPTURE,)),
    Row("record_parcel", "followed"),
    Row("send_shipped_email", "followed", (MAIL,)),
    Row("resend_parcel", "resent", (RESEND,)),
    # One of which something is given back.
    Row("reserve_refund", "refunded"),
    Row("issue_refund", "refunded", (REFUND,)),
    Row("restock_refund", "refunded"),
    Row("send_refund_email", "refunded", (MAIL,), impossible=_LAST),
    Row("record_refund_state", "refund_approved"),
    Row("send_refund_approval_reminder", "refund_approved_after_reminder", (MAIL,)),
    Row("check_refund", "refund_pending", (REFUNDS,)),
    # One that is disputed.
    Row("review_payment_risks", "disputed", (DISPUTES,)),
    Row("send_dispute_reminder", "dispute_nearly_due", (MAIL,)),
    # One that the audit looks at.
    Row("review_page", "audited", (CHARGES,)),
    Row("examine_order", "examined", (READ,), ends=Status.REFUNDED),
    Row("settle_discrepancy", "examined", (READ,), ends=Status.REFUNDED, impossible=_LAST),
)


def cells(*faults: FaultKind) -> Iterator[Cell]:
    """The cells of these columns."""
    for row in ROWS:
        for fault in faults:
            endpoints = row.endpoints if fault in AT_NEIGHBOUR and row.endpoints else ("",)
            for endpoint in endpoints:
                if row.reason_against(fault, endpoint) is None:
                    yield Cell(row, fault, endpoint)
