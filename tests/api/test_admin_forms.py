"""A form changes something only when a page of this very session has sent it."""

from __future__ import annotations

import re

import pytest
from fastapi.routing import APIRoute

from durable_orders.api.app import ADMIN_ROUTERS
from durable_orders.domain.operators.sessions import SessionToken
from tests.api.admin_pages import (
    FROM_OUR_PAGE,
    HERE,
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

CHANGING = sorted(
    route.path
    for router in ADMIN_ROUTERS
    for route in router.routes
    if isinstance(route, APIRoute)
    and "POST" in (route.methods or ())
    and route.path != "/operator/login"
)


def test_no_get_changes_anything() -> None:
    """That is why the cookie may be sent along with a link that somebody follows."""
    methods = {
        frozenset(route.methods or ())
        for router in ADMIN_ROUTERS
        for route in router.routes
        if isinstance(route, APIRoute)
    }
    assert methods == {frozenset({"GET"}), frozenset({"POST"})}
    assert len(CHANGING) == 5


@pytest.mark.parametrize("path", CHANGING)
@pytest.mark.parametrize("wrong", ["missing", "made up", "of another session", "not ascii"])
async def test_a_form_without_the_token_of_its_session_changes_nothing(
    closed_premises: Premises, path: str, wrong: str
) -> None:
    order_id = await closed_premises.place(flagged=True)
    path = path.format(order_id=order_id, refund_id="r1", risk_id="du_1", name="approve")
    async with closed_premises.operator() as other, closed_premises.operator() as somebody:
        fields = {
            "missing": {"why": "because"},
            "made up": {"form_token": SessionToken(bytes(32)).form_token},
            "of another session": {"form_token": await other.form_token()},
            "not ascii": {"form_token": "é" * 64},
        }[wrong]
        answer = await somebody.http.post(path, data=fields, headers=FROM_OUR_PAGE)
        assert answer.status_code == 403
        assert "not of this session" in answer.text
        assert (await somebody.http.get("/operator")).status_code == 200


FOREIGN = [
    {"Origin": "https://evil.example"},
    {"Origin": "null"},
    {"Origin": "http://[", "Sec-Fetch-Site": "same-origin"},
    {"Origin": "http://[::1", "Sec-Fetch-Site": "same-origin"},
    {"Origin": HERE, "Sec-Fetch-Site": "cross-site"},
    {"Origin": HERE, "Sec-Fetch-Site": "same-site"},
    {"Origin": "http://127.0.0.1:9999", "Sec-Fetch-Site": "same-origin"},
    {},
]


@pytest.mark.parametrize("headers", FOREIGN)
@pytest.mark.parametrize("path", [*CHANGING, "/operator/login"])
async def test_a_form_from_another_page_is_refused_whatever_it_holds(
    closed_premises: Premises, path: str, headers: dict[str, str]
) -> None:
    path = path.format(order_id="1001", refund_id="r1", risk_id="du_1", name="approve")
    async with closed_premises.operator() as somebody:
        data = {"form_token": await somebody.form_token(), "key": str(somebody.token)}
        answer = await somebody.http.post(path, data=data, headers=headers)
    assert answer.status_code == 403
    assert "from another page" in answer.text
    assert "set-cookie" not in answer.headers


@pytest.mark.parametrize(
    ("content_type", "content"),
    [
        ("text/plain", b"form_token=x"),
        ("application/json", b"{}"),
        ("application/x-www-form-urlencoded", b"\xff\xfe"),
        ("application/x-www-form-urlencoded", b"&".join(b"a=1" for _ in range(2_000))),
    ],
)
async def test_what_is_no_form_of_ours_is_told_so(
    closed_premises: Premises, content_type: str, content: bytes
) -> None:
    async with closed_premises.operator() as somebody:
        headers = {**FROM_OUR_PAGE, "Content-Type": content_type}
        answer = await somebody.http.post("/operator/logout", content=content, headers=headers)
        assert (answer.status_code, answer.headers["content-type"]) == (
            422,
            "text/html; charset=utf-8",
        )
        large = await somebody.http.post(
            "/operator/logout", content=b"a" * 300_000, headers=headers
        )
        assert large.status_code == 413


async def test_pages_allow_no_script_and_no_other_host(closed_premises: Premises) -> None:
    async with closed_premises.operator() as somebody:
        for path in (
            "/operator",
            "/operator/login",
            "/operator/nowhere",
            "/operator/orders/nobody",
        ):
            answer = await somebody.http.get(path)
            policy = answer.headers["content-security-policy"]
            assert policy.startswith("default-src 'none'; style-src 'self'; img-src 'self'")
            assert "form-action 'self'" in policy
            assert "frame-ancestors 'none'" in policy
            assert "script" not in policy
            assert answer.headers["cache-control"] == "no-store"
            assert answer.headers["referrer-policy"] == "same-origin"
            assert not re.search(r"<script|<style|style=| on\w+=", answer.text)
        css = await somebody.http.get("/operator/files/operator.css")
        assert css.headers["content-type"].startswith("text/css")
        assert "url(" not in css.text
        assert (await somebody.http.get("/operator/files/operator.py")).status_code == 404


NASTY = "<script>alert(1)</script>\"'><img src=x onerror=alert(2)>&amp;{{7*7}}"


async def test_what_people_type_is_shown_as_text(operator: Operator, premises: Premises) -> None:
    order_id = await premises.start(
        until="waiting for approval", flagged=True, name=NASTY, customer=NASTY
    )
    page = await operator.decide(order_id, "reject", why=NASTY)
    pages = [page, await operator.http.get("/operator")]
    pages.append(await operator.http.get(f"/operator/orders/{order_id}"))
    pages.append(await operator.http.get("/operator", params={"customer": NASTY}))
    pages.append(await operator.http.get("/operator/find", params={"order": NASTY}))
    pages.append(await operator.http.get("/operator"))  # says what was not found
    pages.append(await operator.http.get("/operator/login", params={"then": NASTY}))
    wrong = {
        "form_token": await operator.form_token(),
        "what": NASTY,
        "amount": NASTY,
        "why": NASTY,
    }
    path = f"/operator/orders/{order_id}/refund"
    pages.append(await operator.http.post(path, data=wrong, headers=FROM_OUR_PAGE))
    for seen in pages:
        assert seen.status_code in {200, 303, 422}
        assert "<script" not in seen.text
        assert "<img" not in seen.text
        assert "&amp;49" not in seen.text
    assert NASTY in text_of(pages[2].text)  # the recipient, and the reason, as they were typed
    assert "&lt;script&gt;" in pages[2].text


async def test_names_and_addresses_are_on_the_order_s_page_alone(
    operator: Operator, premises: Premises
) -> None:
    order_id = await premises.completed()
    page = await operator.http.get(f"/operator/orders/{order_id}")
    assert "Ada Lovelace" in page.text
    assert "ada@example.com" in page.text
    assert "12 St James" not in page.text
    for path in ("/operator", f"/operator/orders/{order_id}/refund"):
        other = await operator.http.get(path)
        assert order_id in other.text
        assert not re.search(r"\bAda\b|Lovelace", other.text)  # a ticket may have any letters
        assert "ada@example" not in other.text


async def test_a_page_that_is_none_is_told_as_a_page(operator: Operator) -> None:
    for path in (
        "/operator/nowhere",
        "/operator/orders/nobody",
        "/operator/orders/nobody/approve",
        "/operator/orders/nobody/dance",
        "/operator/orders/nobody/refunds/r1/approve",
    ):
        answer = await operator.http.get(path)
        assert answer.status_code == 404
        assert answer.headers["content-type"].startswith("text/html")
    for path in ("/operator?status=lost", "/operator?after=nonsense", "/operator/orders/%20"):
        assert (await operator.http.get(path)).status_code == 422
