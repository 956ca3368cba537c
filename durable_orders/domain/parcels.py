"""Parcels and their states, reported in any order."""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Final


class ParcelStatus(StrEnum):
    """Status of a parcel."""

    ACCEPTED = "accepted"  # the warehouse packs it
    SHIPPED = "shipped"
    LOST = "lost"  # the carrier says so; it may still turn up
    DELIVERED = "delivered"


#: An order has no more. Its parcels are in its run's history, which takes 2 MB at once.
MOST_PARCELS: Final = 200

# Carriers repeat their reports, and that of a delivery may overtake that of the departure.
_PROGRESS: Final = tuple(ParcelStatus)


@dataclass(frozen=True)
class Parcel:
    """One parcel, with its latest tracking reference (empty until there is one)."""

    parcel_id: str
    status: ParcelStatus = ParcelStatus.ACCEPTED
    tracking: str = ""

    def merge(self, news: Parcel) -> Parcel:
        """The parcel updated from ``news`` of it; unchanged by an old report."""
        tracking = news.tracking or self.tracking
        if _PROGRESS.index(news.status) <= _PROGRESS.index(self.status):
            return replace(self, tracking=tracking)
        return replace(self, status=news.status, tracking=tracking)

    @property
    def has_left(self) -> bool:
        return self.status is not ParcelStatus.ACCEPTED
