"""Checking out over HTTP, with the real Stripe SDK, and waiting for what becomes of the payment."""

import asyncio

import httpx
import pytest

from durable_orders.clients.orders import OrderClient
from durable_orders.domain.lifecycle import Status
from tests.api.api_clients import asking, is_problem
from tests.api.real import SHOP, RealShop, real
from tests.support.eventually import eventually
from tests.support.shop import Shop

__all__ = ["real"]

EUR_29 = {"amount": 2900, "currency": "EUR"}


async def checked_out(
    shop: RealShop | httpx.AsyncClient, order_id: str, wait: int = 15
) -> dict[str, object]:
    http = shop if isinstance(shop, httpx.AsyncClient) else shop.http
    answer = await http.post("/checkout", json={"order_id": order_id, "wait_seconds": wait})
    assert answer.status_code == 202, answer.text
    told = answer.json()
    assert told["workflow_id"] == f"order-{order_id}"
    assert told["status_url"] == f"/orders/{order_id}"
    return dict(told["payment"])


@pytest.mark.parametrize("wait", [0, 15])
async def test_fifty_at_once_are_one_run_and_one_charge(real: RealShop, wait: int) -> None:
    order_id = await real.place()

    body = {"order_id": order_id, "wait_seconds": wait}
    answers = await asyncio.gather(*(real.http.post("/checkout", json=body) for _ in range(50)))

    expected: dict[str, object] = {
        "workflow_id": f"order-{order_id}",
        "status_url": f"/orders/{order_id}",
    }
    if wait:
        expected["payment"] = {"state": "paid", "amount": EUR_29}
    assert {answer.status_code for answer in answers} == {202}
    assert all(answer.json() == expected for answer in answers)
    assert (await real.edge.orders.result(order_id)).status is Status.COMPLETED
    books = await real.books(order_id)
    assert [len(payment["charges"]) for payment in books["payments"]] == [1]
    assert books["captured"] == 2900
    # After its end: the same answer, and nothing happens again.
    again = await real.http.post("/checkout", json=body)
    assert (again.status_code, again.json()) == (202, expected)
    assert await real.books(order_id) == books


async def test_a_decline_is_told_and_another_card_pays(real: RealShop) -> None:
    order_id = await real.place("pm_card_visa_chargeDeclinedInsufficientFunds")

    declined = await checked_out(real, order_id)
    offered = await real.http.post(
        f"/orders/{order_id}/payment-method", json={"payment_method": "pm_card_visa"}
    )
    paid = await checked_out(real, order_id)

    assert declined == {"state": "declined", "code": "insufficient_funds", "another_card": True}
    assert (offered.status_code, offered.json()) == (202, {"kind": "card_accepted", "number": 2})
    assert paid == {"state": "paid", "amount": EUR_29}
    late = await real.http.post(
        f"/orders/{order_id}/payment-method", json={"payment_method": "pm_card_visa"}
    )
    assert late.status_code == 409


async def test_a_payment_method_that_nobody_has_is_told_like_a_decline(real: RealShop) -> None:
    order_id = await real.place("pm_nobodys")
    unusable = {"state": "declined", "code": "resource_missing", "another_card": True}

    for card in ("pm_nobodys_either", "pm_card_visa"):
        assert await checked_out(real, order_id) == unusable
        offered = await real.http.post(
            f"/orders/{order_id}/payment-method", json={"payment_method": card}
        )
        assert offered.status_code == 202
    paid = await checked_out(real, order_id)

    assert paid == {"state": "paid", "amount": EUR_29}
    books = await real.books(order_id)
    assert (len(books["payments"]), books["captured"]) == (1, 2900)
    history = (await real.http.get(f"/orders/{order_id}")).json()["history"]
    refused = [line["detail"] for line in history if line["event"] == "payment_unusable_card"]
    assert [(line["try"], line["code"]) for line in refused] == [
        ("1", "resource_missing"),
        ("2", "resource_missing"),
    ]


async def test_three_d_secure_hands_the_browser_what_it_needs(real: RealShop) -> None:
    order_id = await real.place("pm_card_authenticationRequired")

    asked, again = await checked_out(real, order_id), await checked_out(real, order_id)
    await real.world.post(
        f"/sandbox/payment_intents/{asked['payment_id']}/authenticate", json={"outcome": "succeed"}
    )
    await real.edge.orders.payment_updated(order_id)
    await real.edge.orders.result(order_id)

    assert asked == again
    assert asked["state"] == "needs_customer"
    assert str(asked["client_secret"]).startswith(f"{asked['payment_id']}_secret_")
    assert await checked_out(real, order_id) == {"state": "paid", "amount": EUR_29}
    # The secret is told to whoever checks out, and to nobody else.
    assert "secret" not in (await real.http.get(f"/orders/{order_id}")).text


async def saved_card(real: RealShop, card: str) -> tuple[str, dict[str, object]]:
    """A card that a new customer, who is away, has saved; and what their order says of them."""
    made = await real.world.post("/sandbox/customers", json={"payment_method": card})
    customer, saved = made.raise_for_status().json().values()
    return saved, {"customer": customer, "off_session": True}


async def test_a_saved_card_pays_while_its_customer_is_away(real: RealShop) -> None:
    saved, away = await saved_card(real, "pm_card_visa")
    order_id = await real.place(saved, **away)
    assert await checked_out(real, order_id) == {"state": "paid", "amount": EUR_29}


async def test_a_customer_who_was_away_is_asked_and_handed_what_their_browser_needs(
    real: RealShop,
) -> None:
    saved, away = await saved_card(real, "pm_card_authenticationRequired")
    order_id = await real.place(saved, **away)

    asked, again = await checked_out(real, order_id), await checked_out(real, order_id)
    mail = await request_mailed(real, order_id)
    intent = f"/sandbox/payment_intents/{asked['payment_id']}"
    confirmed = await real.world.post(f"{intent}/confirm", json={"payment_method": saved})
    await real.edge.orders.payment_updated(order_id)
    at_the_bank = await told_once(real, order_id, needs_payment_method=False)
    await real.world.post(f"{intent}/authenticate", json={"outcome": "succeed"})
    await real.edge.orders.payment_updated(order_id)
    await real.edge.orders.result(order_id)

    assert asked == again
    assert (asked["state"], asked["needs_payment_method"]) == ("needs_customer", True)
    secret = asked["client_secret"]
    assert str(secret).startswith(f"{asked['payment_id']}_secret_")
    assert confirmed.json()["status"] == "requires_action"
    assert at_the_bank == {**asked, "needs_payment_method": False}
    assert await checked_out(real, order_id) == {"state": "paid", "amount": EUR_29}
    books = await real.books(order_id)
    assert (len(books["payments"]), books["captured"]) == (1, 2900)
    assert f"/sandbox/orders/{order_id}/pay to confirm it" in mail


async def request_mailed(real: RealShop, order_id: str) -> str:
    """The page of the one mail that asks the customer, once it is there."""
    mails: list[str] = []

    async def there() -> bool:
        nonlocal mails
        sent = (await real.books(order_id))["mails"]
        mails = [mail["id"] for mail in sent if "confirm the payment" in mail["subject"]]
        return bool(mails)

    await eventually(there)
    [mail] = mails
    return (await real.world.get(f"/inbox/{mail}")).text


async def told_once(
    real: RealShop, order_id: str, *, needs_payment_method: bool
) -> dict[str, object]:
    """What checking out answers, once it says so of the payment method."""
    answer: dict[str, object] = {}

    async def there() -> bool:
        nonlocal answer
        answer = await checked_out(real, order_id)
        return answer.get("needs_payment_method") is needs_payment_method

    await eventually(there)
    return answer


async def test_a_customer_whom_stripe_does_not_know_stops_the_order(real: RealShop) -> None:
    order_id = await real.place(customer="cus_nobodys")
    assert await checked_out(real, order_id) == {"state": "stopped", "reason": "customer_unknown"}


@pytest.mark.parametrize("away", [True, False])
async def test_a_card_of_another_customer_is_told_like_a_decline(
    real: RealShop, *, away: bool
) -> None:
    theirs, _ = await saved_card(real, "pm_card_visa")
    ours, options = await saved_card(real, "pm_card_mastercard")
    order_id = await real.place(theirs, **options | {"off_session": away})
    unusable = {"state": "declined", "code": "resource_missing", "another_card": True}
    assert await checked_out(real, order_id) == unusable
    path = f"/orders/{order_id}/payment-method"
    assert (await real.http.post(path, json={"payment_method": ours})).status_code == 202
    assert await checked_out(real, order_id) == {"state": "paid", "amount": EUR_29}


async def test_an_edge_without_the_card_providers_key_still_says_who_is_needed(
    real: RealShop, shop: Shop
) -> None:
    order_id = await shop.place(card="pm_card_authenticationRequired")
    async with asking(shop, OrderClient(shop.temporal, shop.book)) as http:
        told = await checked_out(http, order_id)
    [charge] = shop.cards.charges_of(order_id)

    assert told == {
        "state": "needs_customer",
        "payment_id": charge.payment_id,
        "needs_payment_method": False,
        "client_secret": None,
    }
    await shop.orders.cancel(order_id)


async def test_an_order_that_waits_for_a_person_says_so_and_the_decision_is_the_keys(
    real: RealShop,
) -> None:
    order_id = await real.place(flagged=True)
    as_shop = {"Authorization": f"Bearer {SHOP}"}

    waiting = await checked_out(real, order_id)
    refused = await real.http.post(f"/orders/{order_id}/approve", headers=as_shop)
    approved = await real.http.post(f"/orders/{order_id}/approve", json={"note": "known"})
    twice = await real.http.post(f"/orders/{order_id}/approve", json={"by": "somebody-else"})

    assert waiting == {"state": "awaiting_approval"}
    is_problem(refused, 403, "scope operator")
    assert approved.json() == {
        "order_id": order_id,
        "decision": "approved",
        "by": "ops-desk",
        "actor": "ops-desk",
    }
    is_problem(twice, 409, "ops-desk has approved it")
    assert await checked_out(real, order_id) == {"state": "paid", "amount": EUR_29}


async def test_an_order_that_is_rejected_is_stopped(real: RealShop) -> None:
    order_id = await real.place(flagged=True)
    await checked_out(real, order_id)

    decided = await real.http.post(
        f"/orders/{order_id}/reject", json={"by": "ops-7", "reason": "too good to be true"}
    )

    assert decided.json() == {
        "order_id": order_id,
        "decision": "rejected",
        "by": "ops-7",
        "actor": "ops-desk",
    }
    await real.edge.orders.result(order_id)
    assert await checked_out(real, order_id) == {"state": "stopped", "reason": "not_approved"}


async def test_what_is_sold_out_stops_the_order(real: RealShop) -> None:
    order_id = await real.place(lines=[{"sku": "CALENDAR", "quantity": 1}])
    assert await checked_out(real, order_id) == {"state": "stopped", "reason": "out_of_stock"}


async def test_without_a_worker_the_order_is_accepted_after_that_time(
    closed_shop: Shop, closed: httpx.AsyncClient
) -> None:
    order_id = await closed_shop.place()
    now = asyncio.get_running_loop().time
    began = now()

    assert await checked_out(closed, order_id, wait=1) == {"state": "pending"}

    assert now() - began < 5
    async with closed_shop.worker():
        outcome = await closed_shop.orders.result(order_id)
        assert await checked_out(closed, order_id) == {"state": "paid", "amount": EUR_29}
    assert outcome.status is Status.COMPLETED


@pytest.mark.parametrize("wait", [-1, 16, 1.5, "3", True, None])
async def test_a_wait_that_makes_no_sense_is_refused(
    closed: httpx.AsyncClient, wait: object
) -> None:
    body = {"order_id": "1001", "wait_seconds": wait}
    is_problem(await closed.post("/checkout", json=body), 422, "wait_seconds")


async def test_waiting_for_an_order_nobody_placed_is_not_found(closed: httpx.AsyncClient) -> None:
    body = {"order_id": "nobody", "wait_seconds": 3}
    is_problem(await closed.post("/checkout", json=body), 404, "there is no order nobody")
