"""The mails an order causes."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from html import escape

import pytest

from durable_orders.domain import emails
from durable_orders.domain.activity_messages import OrderSummary
from durable_orders.domain.disputes.messages import DisputeDue
from durable_orders.domain.lifecycle import Status, StopReason
from durable_orders.domain.money import Money
from durable_orders.domain.order import Line, Order, Recipient
from durable_orders.domain.parcels import Parcel
from durable_orders.domain.ports import Mail
from durable_orders.domain.refunds import emails as refund_emails
from durable_orders.domain.refunds.messages import RefundAwaitingApproval, RefundRef
from durable_orders.domain.refunds.refund import RefundEntry, RefundRequest

ORDER = Order(
    id="1001",
    customer_id="cus_1",
    recipient=Recipient("Ada <b>", "ada@example.com", "London"),
    lines=(Line("MUG", "Mug & saucer", 2, Money(1450, "EUR")),),
    total=Money(2900, "EUR"),
    payment_method="pm_card_visa",
)


def test_what_a_customer_typed_is_escaped_in_html_and_left_alone_in_text() -> None:
    mail = emails.confirmation(ORDER)
    assert "Ada &lt;b&gt;" in mail.html
    assert "Mug &amp; saucer" in mail.html
    assert "<b>," not in mail.html
    assert "Ada <b>" in mail.text


def test_a_confirmation_names_every_line_and_the_total() -> None:
    mail = emails.confirmation(ORDER)
    for part in (mail.text, mail.html):
        assert "29.00 EUR" in part
        assert "2" in part
    assert mail.to == "ada@example.com"
    assert mail == emails.confirmation(ORDER)


@pytest.mark.parametrize("reason", StopReason)
def test_a_closing_mail_gives_every_reason_a_sentence(reason: StopReason) -> None:
    mail = emails.closing(replace(ORDER, status=Status.REJECTED, reason=reason))
    assert "Nothing was taken from your card." in mail.text
    assert str(reason) not in mail.text or reason is StopReason.CANCELLED


def test_every_reason_is_told_in_words_of_its_own() -> None:
    rejected = replace(ORDER, status=Status.REJECTED)
    texts = {emails.closing(replace(rejected, reason=reason)).text for reason in StopReason}
    assert len(texts) == len(StopReason)


@pytest.mark.parametrize(
    ("reason", "words"),
    [
        (StopReason.NOT_APPROVED, "did not pass our checks"),
        (StopReason.APPROVAL_TIMED_OUT, "could not check it in time"),
        (StopReason.PAYMENT_TIMED_OUT, "the payment was not completed in time"),
        (StopReason.HOLD_LAPSED, "your bank no longer holds the money"),
    ],
)
def test_who_waited_in_vain_reads_for_what(reason: StopReason, words: str) -> None:
    mail = emails.closing(replace(ORDER, status=Status.REJECTED, reason=reason))
    assert words in mail.text


@pytest.mark.parametrize(
    ("page", "link"),
    [
        ("https://shop.example/orders/{order_id}/pay", "https://shop.example/orders/1001/pay"),
        ("https://shop.example/?o={order_id}&from=mail", "https://shop.example/?o=1001&from=mail"),
    ],
)
def test_who_is_away_reads_where_to_confirm_and_that_nothing_is_taken(page: str, link: str) -> None:
    mail = emails.payment_request(ORDER, payment_url=page)
    assert mail == emails.payment_request(ORDER, payment_url=page)
    assert mail.to == ORDER.recipient.email
    assert f"Please open {link} to confirm it" in mail.text
    assert f'<a href="{escape(link)}">{escape(link)}</a>' in mail.html
    for part in (mail.text, mail.html):
        assert "29.00 EUR" in part
        assert "Nothing has been taken from your card." in part


def test_who_is_away_is_sent_to_the_shop_where_it_has_no_page() -> None:
    mail = emails.payment_request(ORDER)
    assert "Please open the order in our shop" in mail.text
    assert "href" not in mail.html


def test_a_refunded_customer_reads_how_much_comes_back() -> None:
    mail = emails.closing(replace(ORDER, status=Status.REFUNDED, reason=StopReason.CANNOT_FULFILL))
    assert "We have given 29.00 EUR back" in mail.text


@pytest.mark.parametrize(
    ("on_its_way", "words"),
    [
        (29_00, ". 29.00 EUR is on its way back to you; we write again when it has arrived."),
        (
            19_00,
            ". We have given 10.00 EUR back to your card. 19.00 EUR is on its way back to you; we "
            "write again when it has arrived.",
        ),
    ],
)
def test_what_has_not_arrived_is_on_its_way_and_nobody_reads_that_it_was_given_back(
    on_its_way: int, words: str
) -> None:
    order = replace(ORDER, status=Status.REFUNDED, reason=StopReason.CANCELLED)
    mail = emails.closing(order, on_its_way=Money(on_its_way, "EUR"))
    assert words in mail.text
    assert words in mail.html
    assert "29.00 EUR back to your card" not in mail.text


def test_what_a_bank_has_taken_back_is_not_said_to_be_given_by_us() -> None:
    undone = replace(ORDER, status=Status.REFUNDED, reason=StopReason.DISPUTED)
    all_of_it = emails.closing(undone, disputed=ORDER.total)
    assert f"Your bank has taken {ORDER.total} back from us" in all_of_it.text
    assert "We have given" not in all_of_it.text
    part = Money(1_00, ORDER.total.currency)
    some = emails.closing(undone, disputed=part)
    assert f"Your bank has taken {part} back from us" in some.text
    assert f"We have given {ORDER.total - part} back to your card" in some.text
    assert emails.closing(undone, disputed=part * 0) == emails.closing(undone)


@pytest.mark.parametrize("more", [0, 1, 1_12])
def test_a_bank_that_takes_more_than_was_paid_leaves_nothing_to_give_back(more: int) -> None:
    undone = replace(ORDER, status=Status.REFUNDED, reason=StopReason.DISPUTED)
    taken_back = ORDER.total + Money(more, "EUR")
    mail = emails.closing(undone, taken=ORDER.total, disputed=taken_back, on_its_way=ORDER.total)
    assert f"Your bank has taken {taken_back} back from us" in mail.text
    for untrue in ("We have given", "on its way", "-"):
        assert untrue not in mail.text.split("Total")[0].split("Your bank")[1].split("\n")[0]


def test_what_a_bank_has_taken_meanwhile_is_not_on_its_way() -> None:
    undone = replace(ORDER, status=Status.REFUNDED, reason=StopReason.CANCELLED)
    part = Money(10_00, "EUR")
    mail = emails.closing(undone, taken=ORDER.total, disputed=part, on_its_way=ORDER.total)
    assert "19.00 EUR is on its way back to you" in mail.text
    assert "We have given" not in mail.text


def test_a_reminder_of_a_dispute_says_until_when_and_what_to_do() -> None:
    due = DisputeDue("1001", "du_1", datetime(2026, 3, 10, 12, 30, tzinfo=UTC))
    mail = emails.dispute_reminder(due, prefix="testshop", to="ops@example.com")
    assert (mail.to, "du_1" in mail.subject) == ("ops@example.com", True)
    assert "until 2026-03-10 12:30 UTC" in mail.text
    assert "python client.py disputes evidence du_1" in mail.text
    assert ("kind", "dispute_reminder") in mail.tags


def test_an_approver_reads_what_waits_and_how_to_answer_and_nothing_personal() -> None:
    summary = OrderSummary(ORDER.id, ORDER.customer_id, ORDER.total, Status.AWAITING_APPROVAL)
    mail = emails.approval_reminder(summary, to="approvals@example.com")
    assert mail.to == "approvals@example.com"
    assert mail == emails.approval_reminder(summary, to="approvals@example.com")
    for part in (mail.text, mail.html):
        assert "29.00 EUR" in part
        assert "approve 1001" in part
        assert "reject 1001" in part


def test_every_mail_about_an_order_carries_the_installations_mark() -> None:
    order = replace(ORDER, key_prefix="testshop")
    summary = OrderSummary(
        *(ORDER.id, ORDER.customer_id, ORDER.total, Status.AWAITING_APPROVAL),
        key_prefix="testshop",
    )
    ref = RefundRef(ORDER.id, "r1")
    refund = RefundEntry(RefundRequest(ORDER.id, "r1"), ORDER.total, (), 1, "pi_1")
    mails = [
        emails.confirmation(order),
        emails.closing(order),
        emails.shipped(order, Parcel("par_1")),
        emails.payment_request(order, payment_url="https://shop.example/{order_id}"),
        emails.approval_reminder(summary, to="approvals@example.com"),
        refund_emails.refunded(order, refund),
        refund_emails.approval_reminder(
            RefundAwaitingApproval(ref, ORDER.total), prefix="testshop", to="approvals@example.com"
        ),
    ]
    for mail in mails:
        assert mail.tags[:2] == (("installation", "testshop"), ("order", ORDER.id))


def test_a_cancelled_order_is_called_cancelled() -> None:
    mail = emails.closing(replace(ORDER, status=Status.CANCELLED, reason=StopReason.CANCELLED))
    assert mail.subject == "Order 1001 is cancelled"


# -- names that are none ---------------------------------------------------------------------------


def mails_to(name: str) -> list[Mail]:
    """Every mail that greets a customer."""
    order = replace(ORDER, recipient=replace(ORDER.recipient, name=name))
    refund = RefundEntry(RefundRequest("1001", "r1"), Money(100, "EUR"), (("MUG", 1),), 1, "pi_1")
    return [
        emails.confirmation(order),
        emails.closing(replace(order, status=Status.REJECTED, reason=StopReason.OUT_OF_STOCK)),
        emails.shipped(order, Parcel("par_1", tracking="AB 1234 5678 9GB")),
        refund_emails.refunded(order, refund),
        emails.payment_request(order),
    ]


@pytest.mark.parametrize(
    "name",
    [
        "https://evil.example/prize",
        "Ada, see HTTP://evil.example",
        "http://192.0.2.7",
        "www.evil.example",
        "You won: evil.example/prize",
        "Ada (evil.example)",
        "evil\N{FULLWIDTH FULL STOP}example",
        "evil。example",
        "evil\N{ONE DOT LEADER}example",
        "//evil",
        "\\\\evil\\share",
        "mailto:evil",
        "evil@example",
        "javascript:alert(1)",
        "tel:+19005551234",
        "Call +1 (900) 555-1234",
        '<a href="https://evil.example">Ada</a>',
        "[Ada](https://evil.example)",
        "<https://evil.example>",
        "xn--80ak6aa92e.com",
        "пример.рф",
    ],
)
def test_nothing_in_a_name_becomes_a_link(name: str) -> None:
    for mail in mails_to(name):
        assert mail.text.startswith("Hello,\n")
        assert "<p>Hello,</p>" in mail.html
        for part in (mail.text, mail.html, mail.subject):
            for word in ("evil", "Ada", "://", "555", "href", "рф", "com"):
                assert word not in part


@pytest.mark.parametrize(
    "name",
    [
        "Ada Lovelace",
        "J.R.R. Tolkien",
        "Dr. No, M.D.",
        "St. John: c/o Smith & Sons",
        "O'Neill-Müller",
        "Bravo 2 Zero, 3rd floor",
        "山田 太郎",
        "نور",
    ],
)
def test_a_name_that_is_one_is_greeted(name: str) -> None:
    for mail in mails_to(name):
        assert mail.text.startswith(f"Hello {name},\n")
        assert f"<p>{escape(f'Hello {name},')}</p>" in mail.html


@pytest.mark.parametrize("name", ["Ada <b>", "<script>alert(1)</script>", "<img src=x>", "\"&'"])
def test_markup_in_a_name_is_text(name: str) -> None:
    for mail in mails_to(name):
        assert f"Hello {name}," in mail.text
        assert escape(name) in mail.html
        assert name not in mail.html


def test_a_carriers_reference_is_told_as_it_is() -> None:
    shipped = mails_to("Ada")[2]
    assert "Track it as AB 1234 5678 9GB." in shipped.text
    assert "Track it as AB 1234 5678 9GB." in shipped.html
