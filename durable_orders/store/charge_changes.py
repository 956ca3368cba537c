"""What a report of a charge changes in our books: charge, card try and a line of history."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from durable_orders.domain.charges import BookedCharge, answers_newest, merge_try
from durable_orders.domain.ports import CardCharge, CardTry, ChargeState, TryRefusal


@dataclass(frozen=True)
class Said:
    """An event for the order's history, with its detail."""

    event: str
    detail: dict[str, str]


@dataclass(frozen=True)
class ChargeChange:
    """The charge as it is ``booked`` from now on; the try that moves with it, as it was and as it
    becomes; what the history says of the two, if anything.
    """

    booked: BookedCharge
    try_before: CardTry | None
    try_after: CardTry | None
    said: Said | None


def change_of(
    known: BookedCharge,
    tries: Sequence[CardTry],
    charge: CardCharge,
    *,
    answers: int | None,
    fresh: bool,
) -> ChargeChange | None:
    """Merge a report of the charge by the rules of ``durable_orders.domain.charges``; None when it
    changes nothing. ``answers`` and ``fresh`` as in ``PaymentLedger.record``.
    """
    booked = known.merge(charge, fresh=fresh)
    before = _answered_try(tries, charge, answers, fresh=fresh)
    after = None if before is None else merge_try(before, charge)
    payment_id, newest = charge.payment_id, charge.latest_charge
    if after is not None and after != before:
        code, number = after.decline_code, after.number
        said = said_of_charge(payment_id, after.state, code, newest, number=number)
        return ChargeChange(booked, before, after, said)
    if booked == known:
        return None
    if not _has_moved(known, booked):
        return ChargeChange(booked, None, None, None)
    code, newest = booked.decline_code, booked.latest_charge
    said = said_of_charge(payment_id, booked.state, code, newest)
    return ChargeChange(booked, None, None, said)


def said_of_charge(
    payment_id: str,
    state: ChargeState | TryRefusal,
    code: str = "",
    charge: str = "",
    *,
    number: int | None = None,
) -> Said:
    """A line about the charge, or about try ``number`` of it; ``charge`` is the provider's newest
    one (``ch_…``): it says which try was charged.
    """
    detail = {"payment_id": payment_id}
    if number is not None:
        detail["try"] = str(number)
    if code:
        detail["code"] = code
    if charge:
        detail["charge"] = charge
    return Said(f"payment_{state}", detail)


def _answered_try(
    tries: Sequence[CardTry], charge: CardCharge, answers: int | None, *, fresh: bool
) -> CardTry | None:
    """The try that a report of the charge says something about."""
    if answers is not None:
        return next((one for one in tries if one.number == answers), None)
    if tries and answers_newest(tries[-1], charge, fresh=fresh):
        return tries[-1]
    return None


def _has_moved(known: BookedCharge, booked: BookedCharge) -> bool:
    """Whether more has changed than amounts."""
    return (known.state, known.decline_code, known.latest_charge) != (
        booked.state,
        booked.decline_code,
        booked.latest_charge,
    )
