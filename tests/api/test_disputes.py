"""Disputes, early fraud warnings and reviews over HTTP."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta

import httpx
import pytest

from durable_orders.domain.disputes.dispute import (
    Dispute,
    DisputeStatus,
    FraudWarning,
    PaymentRisks,
    Review,
)
from durable_orders.domain.money import Money
from durable_orders.domain.operators.api_keys import Scope, Token
from tests.api.api_clients import a_key, asking_edge, edge_of, is_problem
from tests.fakes.disputes import InMemoryDisputeRepository
from tests.fakes.keys import InMemoryKeys
from tests.support.shop import Shop

AT = datetime(2026, 3, 1, 10, 0, tzinfo=UTC)
DAY = timedelta(days=1)
EUROS, NOTHING = Money(29_00, "EUR"), Money(0, "EUR")


async def paid(shop: Shop) -> tuple[str, str]:
    """A completed order and its payment."""
    order_id = await shop.start()
    await shop.orders.result(order_id)
    [payment] = (await shop.orders.view(order_id)).payments
    return order_id, payment.payment_id


async def record(shop: Shop, order_id: str, risks: PaymentRisks) -> None:
    await InMemoryDisputeRepository(shop.database).record(order_id, risks, AT)


async def questioned(shop: Shop) -> tuple[str, PaymentRisks]:
    """An order with a dispute, a warning, a review, and a dispute that was lost."""
    order_id, payment_id = await paid(shop)
    number = payment_id.removeprefix("pi_").replace("-", "")
    risks = PaymentRisks(
        payment_id,
        disputes=(
            Dispute(
                f"du_A{number}", payment_id, EUROS, EUROS, Money(15_00, "EUR"), "fraudulent",
                DisputeStatus.NEEDS_RESPONSE, AT + DAY, AT + 9 * DAY,
            ),
            Dispute(
                f"du_B{number}", payment_id, EUROS, EUROS, NOTHING, "general",
                DisputeStatus.LOST, AT,
            ),
        ),
        warnings=(
            FraudWarning(f"issfr_{number}", payment_id, "misc", is_actionable=True, opened_at=AT),
        ),
        reviews=(Review(f"prv_{number}", payment_id, "rule", is_open=True, opened_at=AT + DAY),),
    )  # fmt: skip
    await record(shop, order_id, risks)
    return order_id, risks


async def test_what_is_open_is_listed_by_deadline_and_all_newest_first_page_by_page(
    shop: Shop, http: httpx.AsyncClient
) -> None:
    _, risks = await questioned(shop)
    disputed, lost = risks.disputes
    [warning], [review] = risks.warnings, risks.reviews
    by_deadline = [disputed.dispute_id, warning.warning_id, review.review_id]
    newest = [review.review_id, disputed.dispute_id, warning.warning_id, lost.dispute_id]
    for closed, wanted in ((False, by_deadline), (True, newest)):
        found: list[str] = []
        query: dict[str, str] = {"limit": "1", "closed": str(closed).lower()}
        while True:
            answer = (await http.get("/disputes", params=query)).raise_for_status().json()
            found += [one["risk"]["risk_id"] for one in answer["disputes"]]
            if answer["next_cursor"] is None:
                break
            query["cursor"] = answer["next_cursor"]
        assert found == wanted
        other = query | {"closed": str(not closed).lower()}
        is_problem(await http.get("/disputes", params=other), 422, "this is no cursor of ours")


async def test_each_is_read_with_its_order_and_what_helps(
    shop: Shop, http: httpx.AsyncClient
) -> None:
    order_id, risks = await questioned(shop)
    disputed = risks.disputes[0].dispute_id
    assert (await http.get(f"/disputes/{disputed}")).raise_for_status().json() == {
        "order_id": order_id,
        "order_status": "completed",
        "risk": {
            "risk_id": disputed,
            "kind": "chargeback",
            "state": "needs_response",
            "reason": "fraudulent",
            "payment_id": risks.payment_id,
            "amount": {"amount": 29_00, "currency": "EUR"},
            "is_open": True,
            "opened_at": "2026-03-02T10:00:00Z",
            "due_by": "2026-03-10T10:00:00Z",
            "needs_response": True,
            "withdrawn": {"amount": 29_00, "currency": "EUR"},
            "fee": {"amount": 15_00, "currency": "EUR"},
            "submissions": 0,
            "acknowledged_by": "",
        },
        "action": "send_evidence",
        "advice": "send evidence before the deadline, or the money is lost; do not refund it, the "
        "bank has taken it already",
    }
    warned = (await http.get(f"/disputes/{risks.warnings[0].warning_id}")).json()
    assert (warned["action"], warned["risk"]["due_by"]) == ("refund", None)
    assert warned["risk"]["withdrawn"] is None
    reviewed = (await http.get(f"/disputes/{risks.reviews[0].review_id}")).json()
    assert (reviewed["action"], reviewed["risk"]["state"]) == ("review", "open")


async def test_the_order_and_its_events_show_them(shop: Shop, http: httpx.AsyncClient) -> None:
    order_id, risks = await questioned(shop)
    view = (await http.get(f"/orders/{order_id}")).raise_for_status().json()
    assert {risk["risk_id"] for risk in view["risks"]} == risks.ids
    told = (await http.get(f"/orders/{order_id}/events")).text
    lines = [json.loads(line[6:]) for line in told.splitlines() if line.startswith("data: {")]
    opened = [line["detail"] for line in lines if line.get("event") == "dispute_opened"]
    assert [one["dispute_id"] for one in opened] == [d.dispute_id for d in risks.disputes]
    assert "Lovelace" not in f"{view}{told}"


async def test_an_unknown_one_and_what_is_no_id_are_problems(http: httpx.AsyncClient) -> None:
    unknown = await http.get("/disputes/du_none")
    is_problem(unknown, 404, "no order has a dispute, warning or review du_none")
    assert unknown.json()["type"] == "/problems/unknown-dispute"
    is_problem(await http.get("/disputes/1001"), 422, "is not an id of a dispute")
    is_problem(await http.get("/disputes?limit=0"), 422, "limit")
    is_problem(await http.get("/disputes?close=true"), 422, "close: Extra inputs")


@pytest.mark.parametrize("path", ["/disputes", "/disputes/du_none"])
async def test_a_key_that_reads_may_see_them_and_nobody_without_one(shop: Shop, path: str) -> None:
    reader = Token.of(b"reader", bytes(range(7, 39)))
    edge = edge_of(shop)
    assert isinstance(edge.keys, InMemoryKeys)
    await edge.keys.add(a_key(reader, "reader", Scope.READ))
    async with asking_edge(edge, reader) as http:
        assert (await http.get(path)).status_code in {200, 404}
    async with asking_edge(edge, None) as http:
        is_problem(await http.get(path), 401, "Authorization: Bearer do_")
