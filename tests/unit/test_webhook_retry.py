"""How long an event is tried, and that a rollback does not lose one."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from hypothesis import given
from hypothesis import strategies as st

from durable_orders.domain.webhooks import (
    DELIVERED_WITHIN,
    is_past_deadline,
    payload_from_json,
    retry_delay,
)

NOW = datetime(2026, 3, 1, tzinfo=UTC)


def test_the_first_tries_are_quick_and_the_later_ones_a_minute_apart() -> None:
    pauses = [retry_delay(tries).total_seconds() for tries in range(1, 10)]
    assert pauses == [1, 2, 4, 8, 16, 32, 60, 60, 60]


@given(st.integers(1, 10**9))
def test_a_pause_is_never_longer_than_a_minute(tries: int) -> None:
    assert timedelta(seconds=1) <= retry_delay(tries) <= timedelta(minutes=1)


def test_after_three_days_an_event_is_given_up() -> None:
    assert not is_past_deadline(NOW - DELIVERED_WITHIN + timedelta(seconds=1), NOW)
    assert is_past_deadline(NOW - timedelta(days=3), NOW)


def test_news_of_a_kind_that_only_a_newer_version_knows_are_none() -> None:
    assert payload_from_json({"kind": "dispute", "dispute_id": "dp_1"}) is None
