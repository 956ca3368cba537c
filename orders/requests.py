"""What people ask of a running order beside cancelling it: Updates, each with a validator."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from orders.parcels import ParcelStatus


@dataclass(frozen=True)
class Approve:
    """A person lets the order pass. ``by`` is an account id or a role."""

    by: str
    note: str = ""


@dataclass(frozen=True)
class Reject:
    """A person stops the order. ``reason`` holds no personal data."""

    by: str
    reason: str = ""


@dataclass(frozen=True)
class NewCard:
    """Another card for an order whose card was declined: the provider's token (``pm_…``)."""

    payment_method: str


@dataclass(frozen=True)
class CardAccepted:
    """The card will be tried as business attempt ``attempt``."""

    attempt: int
    kind: Literal["card_accepted"] = "card_accepted"


@dataclass(frozen=True)
class ParcelUpdate:
    """The warehouse says where a parcel is: ``parcel_updated`` signal, in any order, repeated."""

    parcel_id: str
    status: ParcelStatus
    tracking: str = ""


@dataclass(frozen=True)
class ResendParcel:
    """An operator has the contents of a lost or late parcel sent again."""

    parcel_id: str
    by: str = "operator"


@dataclass(frozen=True)
class RefundParcel:
    """An operator has the contents of a lost or late parcel refunded."""

    parcel_id: str
    by: str = "operator"


@dataclass(frozen=True)
class SettleParcel:
    """An operator's decision on a parcel that is lost or late: nothing more is waited for.

    ``outcome`` says what was agreed with the customer ("resent as par_7", "refunded as r1").
    """

    parcel_id: str
    outcome: str
    by: str = "operator"


@dataclass(frozen=True)
class RetryNow:
    """Try what keeps failing again at once."""

    by: str = "operator"
    kind: Literal["retry_now"] = "retry_now"

    @property
    def why(self) -> str:
        return ""


@dataclass(frozen=True)
class SkipStep:
    """Give up what keeps failing: the order goes on as after a failure of that step."""

    reason: str
    by: str = "operator"
    kind: Literal["skip_step"] = "skip_step"

    @property
    def why(self) -> str:
        return self.reason


@dataclass(frozen=True)
class Resolve:
    """What keeps failing was settled by hand; ``note`` says how.

    ``given_back``: of the undo of a charge, what the customer was given back by hand, in minor
    units of the order's currency; by the rules of ``orders.by_hand.Stake``.
    """

    note: str
    by: str = "operator"
    given_back: int | None = None
    kind: Literal["resolve"] = "resolve"

    @property
    def why(self) -> str:
        return self.note


OperatorCommand = RetryNow | SkipStep | Resolve
