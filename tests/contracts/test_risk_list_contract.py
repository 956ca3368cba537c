"""Contract of `RiskListRepository`: PostgreSQL and the fake, over the books of disputes."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from itertools import count

import pytest

from durable_orders.domain.disputes.dispute import (
    ConcernKind,
    Dispute,
    DisputeStatus,
    FraudWarning,
    Review,
)
from durable_orders.domain.disputes.listing import (
    RiskCursor,
    RiskListRepository,
    RiskPage,
    RiskView,
)
from durable_orders.domain.lifecycle import Status
from durable_orders.domain.listing import InvalidCursorError
from durable_orders.domain.order import Order
from durable_orders.store.disputes import PostgresDisputeRepository
from durable_orders.store.risk_list import PostgresRiskListRepository
from tests.contracts.test_dispute_repository_contract import (
    DUE,
    FEE,
    NOW,
    TOTAL,
    Store,
    chargeback,
    fraud_warning,
    inquiry,
    review,
    store,
)
from tests.fakes.disputes import InMemoryDisputeRepository
from tests.fakes.risk_list import InMemoryRiskListRepository

__all__ = ["store"]

_numbers = count(1)


@pytest.fixture
def risks(store: Store) -> RiskListRepository:
    match store.disputes:
        case InMemoryDisputeRepository(_database=memory):
            return InMemoryRiskListRepository(memory)
        case PostgresDisputeRepository(_database=database):
            return PostgresRiskListRepository(database)
    raise AssertionError(store.disputes)


def dispute(order: Order, **changed: object) -> Dispute:
    return replace(chargeback(order), dispute_id=f"du_L{next(_numbers)}", **changed)  # type: ignore[arg-type] # the test's own


def warning(order: Order, **changed: object) -> FraudWarning:
    return replace(fraud_warning(order), warning_id=f"issfr_L{next(_numbers)}", **changed)  # type: ignore[arg-type] # as above


def reviewed(order: Order, **changed: object) -> Review:
    return replace(review(order), review_id=f"prv_L{next(_numbers)}", **changed)  # type: ignore[arg-type] # as above


async def ids(risks: RiskListRepository, *, closed: bool, ours: set[str]) -> list[str]:
    """Those of ``ours`` in the order of the list, read three at a time."""
    found: list[str] = []
    after: RiskCursor | None = None
    while True:
        page = await risks.page(3, after, closed=closed)
        assert len(page.risks) <= 3
        found += [one.risk.risk_id for one in page.risks]
        if page.next is None:
            break
        assert len(page.risks) == 3
        after = RiskCursor.read(str(page.next), closed=closed)
        assert after == page.next
    assert len(found) == len(set(found))
    return [risk_id for risk_id in found if risk_id in ours]


async def test_what_is_open_comes_by_deadline_then_by_age_page_by_page(
    store: Store, risks: RiskListRepository
) -> None:
    order = await store.order()
    day = timedelta(days=1)
    soon, later = dispute(order, due_by=DUE), dispute(order, due_by=DUE + day)
    same = dispute(order, due_by=DUE)
    undated = dispute(order, due_by=None, opened_at=NOW + day)
    warned, looked_at = warning(order), reviewed(order, opened_at=NOW + 2 * day)
    over = dispute(order, status=DisputeStatus.LOST)
    settled, approved = warning(order, is_actionable=False), reviewed(order, is_open=False)
    every = (later, looked_at, warned, undated, soon, same, over, settled, approved)
    recorded = await store.hears(order, *every)
    ours = set(recorded.ids)
    assert await ids(risks, closed=False, ours=ours) == [
        *sorted([soon.dispute_id, same.dispute_id]),
        later.dispute_id,
        warned.warning_id,
        undated.dispute_id,
        looked_at.review_id,
    ]
    everything = await ids(risks, closed=True, ours=ours)
    assert set(everything) == ours
    assert everything[:2] == [looked_at.review_id, undated.dispute_id]  # newest first


async def test_what_an_operator_has_acknowledged_is_not_open(
    store: Store, risks: RiskListRepository
) -> None:
    order = await store.order()
    warned, looked_at, disputed = warning(order), reviewed(order), dispute(order)
    ours = set((await store.hears(order, warned, looked_at, disputed)).ids)
    for risk_id in ours:
        await store.disputes.acknowledge(order.id, risk_id, "ops-7", "", NOW)
    assert await ids(risks, closed=False, ours=ours) == [disputed.dispute_id]
    found = await risks.find(warned.warning_id)
    assert found
    assert (found.risk.is_open, found.risk.acknowledged_by) == (False, "ops-7")


async def test_each_is_found_with_its_order(store: Store, risks: RiskListRepository) -> None:
    order = await store.order()
    disputed, warned, looked_at = dispute(order), warning(order), reviewed(order)
    await store.hears(order, disputed, warned, looked_at)

    found = await risks.find(disputed.dispute_id)
    assert found
    assert (found.order_id, found.status) == (order.id, Status.PLACED)
    assert found.risk == RiskView(
        disputed.dispute_id,
        ConcernKind.CHARGEBACK,
        "needs_response",
        "fraudulent",
        f"pi_{order.id}",
        TOTAL,
        is_open=True,
        opened_at=NOW,
        due_by=DUE,
        needs_response=True,
        withdrawn=TOTAL,
        fee=FEE,
    )
    for risk_id, kind, state in (
        (warned.warning_id, ConcernKind.FRAUD_WARNING, "actionable"),
        (looked_at.review_id, ConcernKind.REVIEW, "open"),
    ):
        found = await risks.find(risk_id)
        assert found
        assert (found.risk.kind, found.risk.state, found.risk.amount) == (kind, state, TOTAL)
    assert await risks.find("du_nobodys") is None


async def test_the_order_shows_all_of_them_oldest_first(store: Store) -> None:
    order = await store.order()
    later = timedelta(hours=1)
    asked = replace(inquiry(order), dispute_id=f"du_L{next(_numbers)}", opened_at=NOW + 2 * later)
    warned = warning(order)
    looked_at = reviewed(order, is_open=False, closed_reason="approved", opened_at=NOW + later)
    await store.hears(order, asked, warned, looked_at)
    shown = (await store.orders.view(order.id)).risks
    assert [(risk.risk_id, risk.kind, risk.state) for risk in shown] == [
        (warned.warning_id, "fraud_warning", "actionable"),
        (looked_at.review_id, "review", "approved"),
        (asked.dispute_id, "inquiry", "warning_needs_response"),
    ]


@pytest.mark.parametrize(
    "changed",
    [
        lambda text: text[:-1],
        lambda text: f"{text}A",
        lambda text: text.upper(),
        lambda _: "",
        lambda _: "bm8",
        lambda _: "é",
    ],
)
def test_other_texts_are_no_cursor(changed: Callable[[str], str]) -> None:
    risk = RiskView(
        "du_1", ConcernKind.CHARGEBACK, "lost", "general", "pi_1", TOTAL, is_open=False,
        opened_at=NOW,
    )  # fmt: skip
    cursor = RiskCursor.after(risk, closed=True)
    assert RiskCursor.read(str(cursor), closed=True) == cursor
    with pytest.raises(InvalidCursorError):
        RiskCursor.read(changed(str(cursor)), closed=True)
    with pytest.raises(InvalidCursorError):
        RiskCursor.read(str(cursor), closed=False)


def test_a_page_knows_whether_there_are_more() -> None:
    assert RiskPage.of([], 3, closed=False) == RiskPage(())
