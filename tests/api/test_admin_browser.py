"""An operator's working day, clicked through in a real browser: the edge and its shop as they are
served, with cookies, forms and redirects as a browser understands them.
"""

from __future__ import annotations

import shutil
from collections.abc import AsyncIterator
from typing import Final

import pytest
from fastapi import FastAPI
from playwright.async_api import Page, async_playwright

from durable_orders.domain.lifecycle import Status
from tests.api.admin_pages import Premises, cards, closed_premises, premises, usual_edge, warehouse
from tests.support.http_server import listening

__all__ = ["cards", "closed_premises", "premises", "usual_edge", "warehouse"]

CHROMIUM: Final = next(
    filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None
)

pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="there is no Chromium on this machine")


@pytest.fixture
async def address(usual_edge: FastAPI) -> AsyncIterator[str]:
    """Where the edge of the shop is served."""
    async with listening(usual_edge) as address:
        yield address


@pytest.fixture
async def page() -> AsyncIterator[Page]:
    """A tab that is as narrow as a telephone, where a broken policy or a fault would be seen."""
    assert CHROMIUM is not None
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(executable_path=CHROMIUM)
        tab = await browser.new_page(viewport={"width": 400, "height": 800})
        complaints: list[str] = []
        tab.on("console", lambda message: complaints.append(message.text))
        tab.on("pageerror", lambda error: complaints.append(str(error)))
        yield tab
        await browser.close()
        assert complaints == []


async def fits(page: Page) -> bool:
    """Whether nothing sticks out to the right."""
    return bool(await page.evaluate("document.documentElement.scrollWidth <= innerWidth"))


async def test_from_the_login_to_an_approval_and_a_refund(
    premises: Premises, address: str, page: Page
) -> None:
    _, token = await premises.key()
    order_id = await premises.start(until="waiting for approval", flagged=True)

    await page.goto(f"{address}/operator")
    assert page.url.startswith(f"{address}/operator/login")
    await page.get_by_label("Key of scope operator").fill(str(token))
    await page.get_by_role("button", name="Log in").click()
    assert page.url == f"{address}/operator"
    assert await fits(page)

    await page.get_by_role("link", name=f"Order {order_id}").click()
    await page.get_by_role("link", name="Approve").click()
    await page.get_by_label("Note").fill("called the customer")
    await page.get_by_role("button", name="Approve").click()
    told = page.get_by_role("status")
    assert await told.inner_text() == f"Done. Order {order_id} is approved and goes on."
    assert await fits(page)
    await premises.ends(order_id, Status.COMPLETED)

    await page.get_by_role("link", name="Look again").click()
    await page.get_by_role("link", name="Give money back").click()
    assert await fits(page)
    await page.get_by_label("These pieces").check()
    await page.get_by_label("Pieces of Mug").fill("1")
    await page.get_by_label("Reason").select_option("damaged")
    await page.get_by_role("button", name="Give money back").click()
    assert "of 14.50 EUR: succeeded." in await told.inner_text()
    [payment] = (await premises.orders.view(order_id)).payments
    assert str(payment.refunded) == "14.50 EUR"

    await page.get_by_role("button", name="Log out").click()
    assert page.url == f"{address}/operator/login"
    await page.goto(f"{address}/operator/orders/{order_id}")
    assert "/operator/login" in page.url
