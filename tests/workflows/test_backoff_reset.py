"""A step that waits out a long pause is tried at once when its neighbour answers another order."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import pytest

from activities.backoff_reset import NEIGHBOUR
from activities.origins import ORIGINS
from durable_orders.domain.lifecycle import Status
from durable_orders.domain.ports import DatabaseAwayError, NoAnswerError, ProviderError
from tests.support.eventually import eventually
from tests.support.shop import Shop, closed_shop, shop
from workflows import retry_policies

__all__ = ["closed_shop", "shop"]

HOUR = timedelta(hours=1)


@pytest.fixture
def long_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    """The warehouse is tried an hour apart from the first try on."""
    patient = retry_policies.FULFILL.patient
    assert patient is not None
    policy = patient["retry_policy"]
    assert policy is not None
    slow = {
        **patient,
        "retry_policy": replace(policy, initial_interval=HOUR, maximum_interval=HOUR),
    }
    monkeypatch.setattr(retry_policies, "FULFILL", retry_policies.Policy(patient=slow))  # type: ignore[arg-type]


async def until_it_waits(shop: Shop, order_id: str) -> None:
    """Return once a try of the warehouse has failed, and the next one is an hour away."""
    run = shop.temporal.get_workflow_handle(f"order-{order_id}")

    async def waits() -> bool:
        pending = (await run.describe()).raw_description.pending_activities
        return any(each.HasField("last_failure") for each in pending)

    await eventually(waits)


@pytest.mark.parametrize(
    "error",
    [NoAnswerError("the warehouse is silent"), DatabaseAwayError("the database gave no answer")],
    ids=["the neighbour", "the database"],
)
async def test_another_orders_answer_ends_the_pause(
    shop: Shop, long_pauses: None, error: ProviderError
) -> None:
    shop.warehouse.fail_next("fulfill", error)
    first = await shop.start()
    await until_it_waits(shop, first)

    second = await shop.start()

    assert (await shop.orders.result(second)).status is Status.COMPLETED

    async def over() -> bool:
        return (await shop.orders.status(first)).status is Status.COMPLETED

    await eventually(over)
    assert (await shop.orders.result(first)).status is Status.COMPLETED


#: Activities that ask the database alone, or belong to the audit, which has a pace of its own.
OTHERS = {
    *("read_order", "begin_order", "begin_undo", "record_status", "record_note", "record_parcel"),
    *("reserve_inventory", "release_inventory", "update_inventory", "record_given_back_by_hand"),
    *("reserve_refund", "record_refund_state", "restock_refund"),
}


def test_of_every_activity_it_is_known_whom_it_asks() -> None:
    rest = {name for name in ORIGINS if name not in NEIGHBOUR} - OTHERS

    assert NEIGHBOUR.keys() <= ORIGINS.keys()
    assert {origin.workflow_type for name in rest for origin in ORIGINS[name]} <= {
        "Reconcile",
        "Examine",
    }
