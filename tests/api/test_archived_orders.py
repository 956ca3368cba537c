"""Orders whose histories are in the archive, over HTTP and on the operators' pages."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from durable_orders.domain.operators.api_keys import Scope
from durable_orders.store.archive import archive_histories
from tests.api.admin_pages import (
    Operator,
    Premises,
    cards,
    closed_premises,
    operator,
    premises,
    text_of,
    usual_edge,
    warehouse,
)

__all__ = ["cards", "closed_premises", "operator", "premises", "usual_edge", "warehouse"]


async def test_an_archived_order_is_answered_and_shown_as_before(
    premises: Premises, operator: Operator
) -> None:
    order_id = await premises.completed()
    _, token = await premises.key(Scope.SHOP)
    headers = {"Authorization": f"Bearer {token}"}
    paths = (f"/orders/{order_id}", f"/orders/{order_id}/events", "/orders?status=completed")

    async def shown() -> list[str]:
        answers = [await operator.http.get(path, headers=headers) for path in paths]
        page = await operator.http.get(f"/operator/orders/{order_id}")
        return [*(answer.raise_for_status().text for answer in answers), text_of(page.text)]

    before = await shown()
    later = datetime.now(UTC) + timedelta(days=1)
    moved = [batch.orders async for batch in archive_histories(premises.database, later, later)]

    assert sum(moved) == 1
    assert await shown() == before
    assert "order_completed" in before[0]
    assert "order_completed" in before[1]
