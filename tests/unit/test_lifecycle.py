"""What may follow which, and how an end is derived."""

from __future__ import annotations

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from orders.lifecycle import FOLLOWS, Facts, Reason, Status, Stop, UnsettledError, final_status
from orders.money import Money

stops = st.none() | st.builds(Stop, st.sampled_from(Reason), st.just("why"))


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
    assert status.is_end
    assert (status is Status.COMPLETED) == shipped == bool(kept)
    assert (status is Status.REFUNDED) == (not shipped and taken > 0)


def test_nobody_is_told_cancelled_who_did_not_ask_for_it() -> None:
    declined = Stop(Reason.CARD_DECLINED, "declined")
    asked = Stop(Reason.CANCELLED, "asked for")
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


def test_nothing_follows_an_end_and_nothing_leads_back() -> None:
    for status, following in FOLLOWS.items():
        assert status.is_end == (not following)
        assert status not in following
        assert Status.PLACED not in following
