"""News of parcels, in any order."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from durable_orders.domain.parcels import Parcel, ParcelStatus

news = st.builds(
    Parcel, st.just("par_1"), st.sampled_from(ParcelStatus), st.sampled_from(["", "T1"])
)


@given(st.lists(news))
def test_the_order_of_the_news_does_not_matter(told: list[Parcel]) -> None:
    def after(order: list[Parcel]) -> ParcelStatus:
        parcel = Parcel("par_1")
        for item in order:
            parcel = parcel.merge(item)
        return parcel.status

    assert after(told) == after(sorted(told, key=str)) == after(told + told)


def test_a_lost_parcel_may_turn_up_and_a_delivered_one_is_never_lost() -> None:
    lost = Parcel("par_1", ParcelStatus.LOST)
    delivered = Parcel("par_1", ParcelStatus.DELIVERED)
    assert lost.merge(delivered).status is ParcelStatus.DELIVERED
    assert delivered.merge(lost).status is ParcelStatus.DELIVERED


def test_a_tracking_reference_is_not_forgotten_by_news_without_one() -> None:
    shipped = Parcel("par_1", ParcelStatus.SHIPPED, "T1")
    assert shipped.merge(Parcel("par_1", ParcelStatus.DELIVERED)).tracking == "T1"
