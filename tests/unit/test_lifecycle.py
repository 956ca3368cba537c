"""What may follow which, and how an end is derived."""

from __future__ import annotations

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from durable_orders.domain.lifecycle import (
    FOLLOWS,
    Facts,
    Status,
    Stop,
    StopReason,
    UnsettledError,
    final_status,
)
from durable_orders.domain.money import Money

stops = st.none() | st.builds(Stop, st.sampled_from(StopReason), st.just("why"))


def facts(taken: int, given_back: int, *, shipped: bool, stop: Stop | None) -> Facts:
    return Facts(Money(taken, "EUR"), Money(given_back, "EUR"), shipped=shipped, stop=stop)


@given(st.integers(0, 10**9), st.integers(0, 10**9), st.booleans(), stops)
def test_an_end_always_agrees_with_the_facts(
    taken: int,
    given_back: int,
    shipped: bool,  # noqa: FBT001 - drawn by hypothesis
    stop: Stop | None,
) -> None:
    assume(given_back <= taken)
    kept = taken - given_back
    try:
        status = final_status(facts(taken, given_back, shipped=shipped, stop=stop))
    except UnsettledError:
        assert bool(kept) != shipped  # money for nothing, or goods for no money
        return
    assert status.is_final
    assert (status is Status.COMPLETED) == shipped == bool(kept)
    assert (status is Status.REFUNDED) == (not shipped and taken > 0)


def test_nobody_is_told_cancelled_who_did_not_ask_for_it() -> None:
    declined = Stop(StopReason.CARD_DECLINED, "declined")
    asked = Stop(StopReason.CANCELLED, "asked for")
    assert final_status(facts(0, 0, shipped=False, stop=declined)) is Status.REJECTED
    assert final_status(facts(0, 0, shipped=False, stop=asked)) is Status.CANCELLED


@pytest.mark.parametrize(("taken", "given_back", "shipped"), [(100, 40, False), (0, 0, True)])
def test_an_unsettled_order_has_no_end(
    taken: int,
    given_back: int,
    shipped: bool,  # noqa: FBT001 - a parameter of the test
) -> None:
    with pytest.raises(UnsettledError):
        final_status(facts(taken, given_back, shipped=shipped, stop=None))


def test_every_status_is_in_the_table_and_every_end_can_be_reached() -> None:
    assert set(FOLLOWS) == set(Status)
    reached, frontier = set(), {Status.PLACED}
    while frontier:
        reached |= frontier
        frontier = {after for status in frontier for after in FOLLOWS[status]} - reached
    assert reached == set(Status)


def after(status: Status) -> frozenset[Status]:
    """Everything that an order may still become."""
    following = FOLLOWS[status]
    return following.union(*(after(each) for each in following))  # the table has no way back


def test_nothing_follows_an_end() -> None:
    ends = {Status.COMPLETED, Status.REJECTED, Status.CANCELLED, Status.REFUNDED}
    assert {status for status in Status if status.is_final} == ends
    assert {status for status, following in FOLLOWS.items() if not following} == ends


@pytest.mark.parametrize("status", Status)
def test_nothing_leads_back(status: Status) -> None:
    assert status not in after(status)


@pytest.mark.parametrize("status", [Status.PAID, Status.FULFILLED, Status.SHIPPED])
def test_no_order_ends_as_if_nothing_had_been_taken_once_it_is_paid(status: Status) -> None:
    assert not after(status) & {Status.REJECTED, Status.CANCELLED}


@pytest.mark.parametrize("status", [Status.FULFILLED, Status.SHIPPED])
def test_no_order_is_undone_once_the_warehouse_has_it(status: Status) -> None:
    assert Status.REFUNDED not in after(status)
    assert Status.COMPLETED in after(status)


@pytest.mark.parametrize(
    "status", [Status.PLACED, Status.AWAITING_APPROVAL, Status.AWAITING_PAYMENT, Status.HELD]
)
def test_an_order_that_is_not_paid_can_end_in_any_way(status: Status) -> None:
    assert {each for each in after(status) if each.is_final} == {
        Status.COMPLETED,
        Status.REJECTED,
        Status.CANCELLED,
        Status.REFUNDED,
    }


def test_no_order_is_fulfilled_that_has_no_money_set_aside() -> None:
    before = {status for status, following in FOLLOWS.items() if Status.FULFILLED in following}
    assert before == {Status.PAID, Status.HELD}  # held: its parcel left before it was captured
