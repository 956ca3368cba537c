"""Ids that are none, at every door of the operator's pages: a page that says so, never a fault."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Final
from urllib.parse import quote

import pytest
from fastapi.routing import APIRoute

from durable_orders.api.app import ADMIN_ROUTERS
from tests.api.admin_pages import (
    FROM_OUR_PAGE,
    Premises,
    cards,
    closed_premises,
    said,
    usual_edge,
    warehouse,
)

__all__ = ["cards", "closed_premises", "usual_edge", "warehouse"]

BAD: Final = ["a/b", "a\x00b", "a\n", "..", "a b", "ä", "\x1b[31m", "x" * 60_000]
GOOD: Final = {"order_id": "1001", "refund_id": "r1", "risk_id": "du_1", "name": "approve"}


#: What an answer says of one that is none.
SENTENCES: Final = {
    "order_id": "an order id: 1 to 64 letters",
    "refund_id": "a refund id: 1 to 64 letters",
    "risk_id": "an id of a dispute, warning or review",
}


def id_paths() -> Iterator[tuple[str, str, str]]:
    """Every path of the pages with an id in it: its method, itself, the id's name."""
    for router in ADMIN_ROUTERS:
        for route in router.routes:
            assert isinstance(route, APIRoute)
            for name in re.findall(r"{(order_id|refund_id|risk_id)}", route.path):
                for method in sorted(route.methods or ()):
                    yield method, route.path, name


PATHS: Final = sorted(set(id_paths()))


def test_there_are_pages_of_orders_and_of_refunds() -> None:
    assert len(PATHS) >= 9
    assert {name for _, _, name in PATHS} == {"order_id", "refund_id", "risk_id"}


@pytest.mark.parametrize(("method", "path", "name"), PATHS)
async def test_an_id_in_a_path_that_is_none_is_told_as_a_page(
    closed_premises: Premises, method: str, path: str, name: str
) -> None:
    order_id = await closed_premises.place()
    async with closed_premises.operator() as somebody:
        data = {"form_token": await somebody.form_token(), "why": "x"}
        for text in BAD:
            ids = {**GOOD, "order_id": order_id, name: text}
            escaped = {k: quote(v, safe="").replace(".", "%2E") for k, v in ids.items()}
            answer = await somebody.http.request(
                method,
                path.format(**escaped),
                data=data if method == "POST" else None,
                headers=FROM_OUR_PAGE,
            )
            assert answer.status_code in ({404, 405} if "/" in text else {422}), text
            assert answer.headers["content-type"].startswith(("text/html", "application/problem"))
            if "/" not in text:
                assert f"is not {SENTENCES[name]}" in answer.text
            assert len(answer.text) < 5_000


@pytest.mark.parametrize("text", [*BAD, "ada@example.com", " cus_1"])
async def test_a_customer_id_that_is_none_is_told_as_a_page(
    closed_premises: Premises, text: str
) -> None:
    async with closed_premises.operator() as somebody:
        answer = await somebody.http.get("/operator", params={"customer": text})
    if text in {"a/b", "..", "a b", "ä"}:  # some shop's customers may be called so
        assert (answer.status_code, "No orders here" in answer.text) == (200, True)
    else:
        assert answer.status_code == 422
        assert "is not a customer id: 1 to 255 characters" in answer.text


@pytest.mark.parametrize("text", ["a/b", "a\x00b", "..", "a b", "ä", "\x1b[31m", "x" * 60_000])
async def test_looking_for_an_order_that_cannot_be_says_so(
    closed_premises: Premises, text: str
) -> None:
    async with closed_premises.operator() as somebody:
        answer = await somebody.http.get("/operator/find", params={"order": text})
        assert (answer.status_code, answer.headers["location"]) == (303, "/operator")
        assert "is not an order id" in said(await somebody.http.get("/operator"))


@pytest.mark.parametrize("text", ["", "a-b", "a b", "a\x00b", "r1\n", "x" * 65])
async def test_a_refund_id_in_a_form_that_is_none_moves_nothing(
    closed_premises: Premises, text: str
) -> None:
    order_id = await closed_premises.place()
    async with closed_premises.operator() as somebody:
        answer = await somebody.send_to(
            f"/operator/orders/{order_id}/refund",
            refund_id=text,
            what="everything",
            reason="other",
        )
    assert answer.status_code == 422
    assert "is not a refund id" in answer.text
    assert not (await closed_premises.orders.view(order_id)).refunds
