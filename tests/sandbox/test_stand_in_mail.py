"""Mail through the official Resend SDK, and the inbox that shows it."""

import asyncio
from typing import Any

import httpx
import pytest
import resend
from resend.exceptions import ResendError

from sandbox.books_client import BooksClient
from sandbox.fault_client import FaultClient

Mailer = type[resend.Emails]


def a_mail(**more: Any) -> Any:
    return {
        "from": "The Shop <orders@shop.example>",
        "to": ["ada@example.com"],
        "subject": "Order <1001> is on its way",
        "html": "<h1>Thank you</h1><script>alert(1)</script>",
        "text": "Thank you",
        **more,
    }


async def test_a_mail_is_sent_once_per_key(mailer: Mailer, books: BooksClient) -> None:
    tags = [{"name": "order_id", "value": "m1"}, {"name": "kind", "value": "confirmation"}]
    sent = [
        await mailer.send_async(a_mail(tags=tags), {"idempotency_key": "order-m1:confirmation"})
        for _ in range(2)
    ]
    assert sent[0]["id"] == sent[1]["id"]
    booked = await books.order("m1")
    assert booked.mails_by_key() == {"order-m1:confirmation": 1}
    assert booked.mails_of("confirmation")[0].to == ("ada@example.com",)
    found = await mailer.get_async(sent[0]["id"])
    assert found["subject"] == "Order <1001> is on its way"


async def test_without_a_key_every_send_is_a_mail(mailer: Mailer) -> None:
    first, second = [await mailer.send_async(a_mail()) for _ in range(2)]
    assert first["id"] != second["id"]


async def test_the_same_key_for_another_mail_is_refused(mailer: Mailer) -> None:
    await mailer.send_async(a_mail(), {"idempotency_key": "order-m2:refund"})
    with pytest.raises(ResendError) as refused:
        await mailer.send_async(a_mail(text="Other"), {"idempotency_key": "order-m2:refund"})
    assert (refused.value.code, refused.value.error_type) == (409, "invalid_idempotent_request")


async def test_the_same_key_in_flight_is_refused(mailer: Mailer, faults: FaultClient) -> None:
    slow = await faults.inject("resend.emails.send", "delay", order_id="m3", times=1)
    options: Any = {"idempotency_key": "order-m3:confirmation"}
    first = asyncio.create_task(mailer.send_async(a_mail(), options))
    await faults.wait_for_hits(slow)
    with pytest.raises(ResendError) as refused:
        await mailer.send_async(a_mail(), options)
    assert (refused.value.code, refused.value.error_type) == (409, "concurrent_idempotent_requests")
    await faults.remove(slow)
    assert (await first)["id"]


@pytest.mark.parametrize(
    ("wrong", "status", "name"),
    [
        ({"to": ["not an address"]}, 422, "validation_error"),
        ({"from": "shop"}, 422, "validation_error"),
        ({"subject": ""}, 422, "missing_required_field"),
        ({"html": "", "text": ""}, 422, "missing_required_field"),
        ({"subjekt": "x"}, 422, "validation_error"),
        ({"tags": [{"name": "order id", "value": "1"}]}, 422, "validation_error"),
    ],
)
async def test_a_wrong_mail_is_refused(
    mailer: Mailer, wrong: dict[str, Any], status: int, name: str
) -> None:
    with pytest.raises(ResendError) as refused:
        await mailer.send_async(a_mail(**wrong))
    assert (refused.value.code, refused.value.error_type) == (status, name)


async def test_a_wrong_key_is_refused(http: httpx.AsyncClient) -> None:
    none = await http.post("/emails", json=a_mail())
    wrong = await http.post("/emails", json=a_mail(), headers={"Authorization": "Bearer sk_1"})
    assert (none.status_code, none.json()["name"]) == (401, "missing_api_key")
    assert (wrong.status_code, wrong.json()["name"]) == (403, "invalid_api_key")


async def test_a_lost_answer_still_sent_one_mail(
    mailer: Mailer, faults: FaultClient, books: BooksClient
) -> None:
    options: Any = {"idempotency_key": "order-m4:confirmation"}
    await faults.inject("resend.emails.send", "hang_up_after", order_id="m4", times=1)
    with pytest.raises(ResendError) as lost:
        await mailer.send_async(a_mail(), options)
    assert lost.value.error_type == "HttpClientError"
    await mailer.send_async(a_mail(), options)
    assert len((await books.order("m4")).mails) == 1


async def test_the_inbox_shows_the_mail_and_runs_nothing_of_it(
    mailer: Mailer, http: httpx.AsyncClient
) -> None:
    sent = await mailer.send_async(a_mail())
    inbox = await http.get("/inbox")
    assert f'href="/inbox/{sent["id"]}"' in inbox.text
    assert "Order &lt;1001&gt;" in inbox.text
    mail = await http.get(f"/inbox/{sent['id']}")
    assert '<iframe sandbox="" srcdoc="&lt;h1&gt;Thank you' in mail.text
    assert "<script>" not in mail.text
    assert (await http.get("/inbox/none")).status_code == 404
