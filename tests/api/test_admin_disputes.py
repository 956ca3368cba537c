"""Operators see what banks and Stripe question, and do about it what helps."""

from __future__ import annotations

import re
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from durable_orders.api.admin import refunds as admin_refunds
from durable_orders.clients.payment_risks import PaymentRiskClient
from durable_orders.domain.disputes.dispute import (
    Dispute,
    DisputeStatus,
    FraudWarning,
    PaymentRisks,
    Review,
)
from durable_orders.domain.ids import payment_risk_workflow_id, warning_refund_id
from durable_orders.domain.money import Money
from durable_orders.domain.ports import RefusedError
from tests.api.admin_pages import (
    Operator,
    Premises,
    cards,
    closed_premises,
    operator,
    premises,
    said,
    text_of,
    usual_edge,
    warehouse,
)
from tests.support.eventually import eventually

__all__ = ["cards", "closed_premises", "operator", "premises", "usual_edge", "warehouse"]

AT = datetime(2026, 3, 1, 10, 0, tzinfo=UTC)
EUROS = Money(29_00, "EUR")


@pytest.fixture(autouse=True)
def patient_pages(monkeypatch: pytest.MonkeyPatch) -> None:
    """A page tells how a refund ended, however busy this machine is."""
    monkeypatch.setattr(admin_refunds, "_WAIT_SECONDS", 20.0)


async def payment_of(premises: Premises, order_id: str) -> str:
    [payment] = (await premises.orders.view(order_id)).payments
    return payment.payment_id


async def disputed(premises: Premises, order_id: str, **changed: object) -> Dispute:
    """A chargeback of the order's payment, recorded."""
    payment_id = await payment_of(premises, order_id)
    dispute = Dispute(
        f"du_{order_id.removeprefix('op-')}",
        payment_id,
        EUROS,
        EUROS,
        Money(15_00, "EUR"),
        "product_not_received",
        DisputeStatus.NEEDS_RESPONSE,
        AT,
        AT + timedelta(days=9),
    )
    dispute = replace(dispute, **changed)  # type: ignore[arg-type] # the test's own
    risks = PaymentRisks(payment_id, disputes=(dispute,))
    await premises.dispute_book.record(order_id, risks, AT)
    return dispute


async def warned(premises: Premises, order_id: str, fraud_type: str = "misc") -> str:
    payment_id = await payment_of(premises, order_id)
    id_ = f"issfr_{order_id.removeprefix('op-')}"
    warning = FraudWarning(id_, payment_id, fraud_type, is_actionable=True, opened_at=AT)
    risks = PaymentRisks(payment_id, warnings=(warning,))
    await premises.dispute_book.record(order_id, risks, AT)
    return id_


async def test_the_overview_shows_what_is_open_with_its_deadline_and_amount(
    operator: Operator, premises: Premises
) -> None:
    over, order_id, suspect = [await premises.completed() for _ in range(3)]
    lost = await disputed(premises, over, status=DisputeStatus.LOST)
    dispute = await disputed(premises, order_id)
    warning_id = await warned(premises, suspect)
    page = await operator.http.get("/operator")
    assert page.status_code == 200
    [section] = re.findall(r'<h2 id="disputes">.*?</section>', page.text, re.S)
    words = text_of(section)
    assert (
        f"Chargeback of order {order_id} needs response 29.00 EUR Product not received, evidence "
        f"is due by 10 Mar 2026, 10:00:00 UTC . {dispute.dispute_id}"
    ) in words
    assert f"Fraud warning of order {suspect} actionable 29.00 EUR" in words
    assert words.index(dispute.dispute_id) < words.index(warning_id)
    assert lost.dispute_id not in words
    assert f'href="/operator/orders/{order_id}#disputes"' in section


async def test_a_dispute_is_on_its_orders_page_with_the_command_that_answers_it(
    operator: Operator, premises: Premises
) -> None:
    order_id = await premises.completed()
    dispute = await disputed(premises, order_id)
    words = text_of((await operator.http.get(f"/operator/orders/{order_id}")).text)
    assert "Chargeback needs response 29.00 EUR" in words
    assert "Evidence is due by 10 Mar 2026, 10:00:00 UTC" in words
    assert "It has taken 29.00 EUR from the balance, and 15.00 EUR as a fee." in words
    assert f"python client.py disputes evidence {dispute.dispute_id}" in words
    assert "dispute opened" in words  # what happened
    won = replace(dispute, status=DisputeStatus.WON, withdrawn=Money(0, "EUR"))
    risks = PaymentRisks(dispute.payment_id, disputes=(won,))
    await premises.dispute_book.record(order_id, risks, AT)
    words = text_of((await operator.http.get(f"/operator/orders/{order_id}")).text)
    assert "Chargeback won 29.00 EUR" in words
    assert "disputes evidence" not in words
    assert "Leave it at that" not in words


async def test_a_warned_payment_is_refunded_with_the_form_that_is_filled_in(
    operator: Operator, premises: Premises
) -> None:
    order_id = await premises.completed(lines=(("STICKER", 1),))  # no person is asked
    warning_id = await warned(premises, order_id)
    page = (await operator.http.get(f"/operator/orders/{order_id}")).text
    [href] = re.findall(r'href="([^"]+)">Refund now</a>', page)
    assert href == f"/operator/orders/{order_id}/refund?warning={warning_id}"
    form = (await operator.http.get(href)).text
    filled = dict(re.findall(r'name="(\w+)"[^>]* value="([^"]*)"', form))
    assert filled["refund_id"] == warning_refund_id(warning_id)
    assert filled["why"] == "early fraud warning"
    assert re.search(r'value="everything" required checked', form)
    fields = {
        "refund_id": filled["refund_id"],
        "what": "everything",
        "reason": "other",
        "why": filled["why"],
    }
    for _ in range(2):  # sent twice, it is one refund
        told = said(await operator.send(f"/operator/orders/{order_id}/refund", **fields))
        assert told == f"Done. Refund {filled['refund_id']} of 3.50 EUR: succeeded."
    [payment] = (await premises.orders.view(order_id)).payments
    assert payment.refunded == payment.captured == Money(3_50, "EUR")


@pytest.mark.parametrize("warning", ["issfr_none", "", '"><script>', "du_1"])
async def test_for_no_open_warning_the_form_is_blank(
    operator: Operator, premises: Premises, warning: str
) -> None:
    order_id = await premises.completed()
    await warned(premises, order_id)
    query = {"warning": warning}
    form = await operator.http.get(f"/operator/orders/{order_id}/refund", params=query)
    assert form.status_code == 200
    assert "checked" not in form.text
    assert "<script>" not in form.text
    assert re.search(r'name="refund_id" value="op\w+"', form.text)


async def test_what_nobody_has_to_act_on_is_left_at_that(
    operator: Operator, premises: Premises
) -> None:
    order_id = await premises.completed()
    warning_id = await warned(premises, order_id)
    path = f"/operator/orders/{order_id}/disputes/{warning_id}/acknowledge"
    assert path in (await operator.http.get(f"/operator/orders/{order_id}")).text
    confirmation = text_of((await operator.http.get(path)).text)
    assert f"Fraud warning {warning_id} of order {order_id}" in confirmation
    done = await operator.send(path, why="a known customer")
    assert said(done) == f"Done. The fraud warning {warning_id} is left at that."
    words = text_of(done.text)
    assert f"Acknowledged by {operator.name}" in words
    assert "Refund now" not in words
    assert warning_id not in text_of((await operator.http.get("/operator")).text)
    noted = dict(await premises.history(order_id))["payment_risk_acknowledged"]
    assert noted["by"] == operator.name
    run = premises.temporal.get_workflow_handle(payment_risk_workflow_id(order_id))
    await run.result()  # it was told, and has nothing to follow any more


async def test_one_of_another_order_is_not_acknowledged_here(
    operator: Operator, premises: Premises
) -> None:
    order_id, other = await premises.completed(), await premises.completed()
    warning_id = await warned(premises, order_id)
    path = f"/operator/orders/{other}/disputes/{warning_id}/acknowledge"
    for answer in (await operator.http.get(path), await operator.send_to(path, why="")):
        assert answer.status_code == 404
        assert "no order has a dispute" in text_of(answer.text).lower()


async def test_what_stripe_says_is_shown_as_text(operator: Operator, premises: Premises) -> None:
    order_id = await premises.completed()
    payment_id = await payment_of(premises, order_id)
    markup = "<b>rule & 'more'</b>"
    review = Review(f"prv_{order_id[3:]}", payment_id, markup, is_open=True, opened_at=AT)
    risks = PaymentRisks(payment_id, reviews=(review,))
    await premises.dispute_book.record(order_id, risks, AT)
    for path in ("/operator", f"/operator/orders/{order_id}"):
        page = (await operator.http.get(path)).text
        assert "<b>rule" not in page
        assert markup in text_of(page).replace("<B>", "<b>")
    words = text_of((await operator.http.get(f"/operator/orders/{order_id}")).text)
    assert "approve or refund it there" in words


async def test_a_run_that_cannot_read_disputes_needs_a_person_too(
    operator: Operator, premises: Premises
) -> None:
    order_id = await premises.completed()
    premises.risks.fail_until_healed("risks_of", RefusedError("the key may not read disputes"))
    runs = PaymentRiskClient(premises.temporal, premises.dispute_book)
    await runs.risks_updated(order_id)

    async def shown() -> bool:
        words = text_of((await operator.http.get("/operator")).text)
        return f"Payment of order {order_id} Review payment risks since" in words

    await eventually(shown)
    assert "the key may not read disputes" in (await operator.http.get("/operator")).text
    premises.risks.heal("risks_of")
    run = premises.temporal.get_workflow_handle(payment_risk_workflow_id(order_id))
    await run.terminate()
