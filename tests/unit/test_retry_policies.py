"""How long steps are tried: what uses up a try of a charge, and times that fit each other."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from temporalio.workflow import ActivityConfig

from activities.error_types import BUSY, DATABASE_AWAY, LOCKED_OUT, NO_ANSWER
from workflows import retry_policies
from workflows.retry_policies import (
    CARD_REQUEST,
    CHARGE,
    GRACEFUL_SHUTDOWN,
    MONEY_REQUEST,
    Cause,
    Failure,
    Phase,
    Policy,
)

NOON = datetime(2026, 11, 30, 12, 0, tzinfo=UTC)
LIMIT = timedelta(minutes=30)
LOAD, OURS, SILENCE = Cause.LOAD, Cause.OURS, Cause.SILENCE


def play(*failures: Failure) -> list[Phase]:
    """The phases of a charge with these failures, as far as they go."""
    phases = CHARGE.waiting_out_load(LIMIT).phases("charging")
    found = [next(phases)]
    for failure in failures:
        try:
            found.append(phases.send(failure))
        except StopIteration:
            break
    return found


def kind(phase: Phase) -> str:
    """`3 tries`, `load` or `ours`."""
    policy = phase.normal["retry_policy"]
    assert policy is not None
    if policy.maximum_attempts:
        return f"{policy.maximum_attempts} tries"
    return "ours" if phase.patient else "load"


@pytest.mark.parametrize(
    ("failures", "expected"),
    [
        ([(SILENCE, 3)], ["3 tries"]),
        ([(LOAD, 1)], ["3 tries", "load"]),
        ([(OURS, 1)], ["3 tries", "ours"]),
        # Two tries without an answer, then load: one is left.
        ([(LOAD, 3), (SILENCE, 1)], ["3 tries", "load"]),
        ([(LOAD, 2), (SILENCE, 9)], ["3 tries", "load", "1 tries"]),
        # However long the load or the fault of ours lasted, it was no try.
        ([(LOAD, 1), (OURS, 40), (LOAD, 70)], ["3 tries", "load", "ours", "load"]),
        ([(OURS, 1), (SILENCE, 99)], ["3 tries", "ours", "2 tries"]),
        (
            [(OURS, 1), (SILENCE, 1), (LOAD, 2), (SILENCE, 5)],
            ["3 tries", "ours", "2 tries", "load"],
        ),
        ([(LOAD, 1), (Cause.GIVEN_UP, 60)], ["3 tries", "load"]),
        ([(OURS, 1), (Cause.GIVEN_UP, 60)], ["3 tries", "ours"]),
    ],
)
def test_only_what_gives_no_answer_uses_up_a_try(
    failures: list[tuple[Cause, int]], expected: list[str]
) -> None:
    found = play(*(Failure(cause, NOON, attempt) for cause, attempt in failures))
    assert [kind(phase) for phase in found] == expected


def test_each_phase_is_ended_by_what_it_is_not_for() -> None:
    counted, load, ours = play(Failure(LOAD, NOON), Failure(OURS, NOON))
    ended_by = [_ended_by(phase) for phase in (counted, load, ours)]
    assert ended_by == [
        {BUSY, LOCKED_OUT, DATABASE_AWAY},
        {NO_ANSWER, LOCKED_OUT, DATABASE_AWAY},
        {NO_ANSWER, BUSY},
    ]


def _ended_by(phase: Phase) -> set[str]:
    policy = phase.normal["retry_policy"]
    assert policy is not None
    return set(policy.non_retryable_error_types or ())


def test_load_is_waited_out_as_told_and_within_the_limit_altogether() -> None:
    told = timedelta(minutes=2)
    [_, first, _, again] = play(
        Failure(LOAD, NOON, retry_after=told),
        Failure(SILENCE, NOON + timedelta(minutes=10)),
        Failure(LOAD, NOON + timedelta(minutes=20), retry_after=told),
    )
    assert (first.pause, again.pause) == (told, told)
    assert first.normal["schedule_to_close_timeout"] == LIMIT - told
    assert again.normal["schedule_to_close_timeout"] == timedelta(minutes=8)


@pytest.mark.parametrize("minutes", [29.99, 30, 60])
def test_load_beyond_its_limit_is_given_up(minutes: float) -> None:
    late = NOON + timedelta(minutes=minutes)
    found = play(Failure(LOAD, NOON), Failure(SILENCE, NOON), Failure(LOAD, late))
    assert [kind(phase) for phase in found] == ["3 tries", "load", "2 tries"]


# -- times -----------------------------------------------------------------------------------------


def options_of(policy: Policy) -> list[ActivityConfig]:
    return [phase.normal for phase in policy.phases("x") if phase.local is None]


@pytest.mark.parametrize("name", ["CHARGE", "CAPTURE", "COMPENSATION"])
def test_an_activity_that_moves_money_outlasts_all_of_its_requests(name: str) -> None:
    policy: Policy = getattr(retry_policies, name)
    options = [next(policy.phases("x")).normal] if name == "CHARGE" else options_of(policy)
    assert options
    # A capture is sent twice, each followed by a reading; the database has a minute besides.
    longest = 2 * (MONEY_REQUEST + CARD_REQUEST) + timedelta(minutes=1)
    for each in options:
        assert each["start_to_close_timeout"] is not None
        assert each["start_to_close_timeout"] >= longest
        # A dead worker is noticed long before that.
        assert each["heartbeat_timeout"] == retry_policies.HEARTBEAT


@pytest.mark.parametrize("phase", play(Failure(LOAD, NOON), Failure(OURS, NOON)))
def test_every_phase_of_a_charge_does_so(phase: Phase) -> None:
    limit = phase.normal["start_to_close_timeout"]
    assert limit is not None
    assert limit >= 2 * (MONEY_REQUEST + CARD_REQUEST)


@pytest.mark.parametrize("name", ["CHARGE", "CAPTURE", "COMPENSATION"])
def test_nothing_that_moves_money_is_a_local_activity(name: str) -> None:
    policy: Policy = getattr(retry_policies, name)
    assert next(policy.phases("x")).local is None


def test_a_slow_bank_is_waited_for() -> None:
    assert timedelta(seconds=60) <= MONEY_REQUEST
    assert CARD_REQUEST < MONEY_REQUEST


def test_a_worker_that_stops_outlasts_a_request_for_money() -> None:
    assert GRACEFUL_SHUTDOWN > MONEY_REQUEST + CARD_REQUEST
