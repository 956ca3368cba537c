"""What an order tells a bank about a disputed payment, in Stripe's fields and within its limits."""

from __future__ import annotations

import inspect
import re
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
import stripe.params
from hypothesis import given
from hypothesis import strategies as st

from durable_orders.domain.disputes.dispute import Dispute, DisputeStatus
from durable_orders.domain.disputes.evidence import (
    DISPUTE_ID,
    FIELDS,
    MAX_FIELD,
    MAX_TOTAL,
    Evidence,
    InvalidEvidenceError,
    evidence_for,
    refusal_of,
)
from durable_orders.domain.lifecycle import Status
from durable_orders.domain.money import Money
from durable_orders.domain.order import Line, Order, Recipient
from durable_orders.domain.views import HistoryLine, OrderView, ParcelView, PaymentView

BEGIN = datetime(2026, 3, 1, 10, 0, tzinfo=UTC)
TOTAL = Money(49_00, "EUR")
NOTHING = Money(0, "EUR")
ORDER = Order(
    id="1001",
    customer_id="cus_1",
    recipient=Recipient("Ada Lovelace", "ada@example.com", "12 St James's Square\nLondon"),
    lines=(
        Line("MUG", "Mug", 2, Money(14_50, "EUR")),
        Line("TEE", "T-shirt", 1, Money(20_00, "EUR")),
    ),
    total=TOTAL,
    payment_method="pm_card_visa",
    status=Status.COMPLETED,
)
DISPUTE = Dispute(
    "du_1",
    "pi_1",
    TOTAL,
    TOTAL,
    Money(15_00, "EUR"),
    "product_not_received",
    DisputeStatus.NEEDS_RESPONSE,
    BEGIN + timedelta(days=20),
    BEGIN + timedelta(days=29),
)
#: Events of an order that was sent in two parcels, a day apart.
EVENTS: tuple[tuple[int, str, dict[str, str]], ...] = (
    (0, "order_placed", {"total": "49.00 EUR"}),
    (0, "stock_reserved", {}),
    (0, "payment_open", {"payment_id": "pi_1"}),
    (0, "payment_captured", {"payment_id": "pi_1", "charge": "ch_1", "try": "1"}),
    (0, "order_paid", {}),
    (1, "order_fulfilled", {}),
    (1, "confirmation_mailed", {"mail": "mail_1"}),
    (1, "approval_reminder_mailed", {"mail": "mail_7"}),
    (24, "parcel_shipped", {"parcel_id": "P1", "tracking": "AB 1"}),
    (24, "shipped-P1_mailed", {"mail": "mail_2"}),
    (48, "parcel_shipped", {"parcel_id": "P2", "tracking": "AB 2"}),
    (49, "shipped-P2_mail_bounced", {"mail": "mail_3", "why": "Permanent"}),
    (72, "parcel_delivered", {"parcel_id": "P1", "tracking": "AB 1"}),
    (96, "parcel_delivered", {"parcel_id": "P2", "tracking": "AB 2"}),
    (480, "dispute_opened", {"dispute_id": "du_1"}),
    (490, "dispute_reminder_du_1_mailed", {"mail": "mail_8"}),
)


def history(*events: tuple[int, str, dict[str, str]]) -> tuple[HistoryLine, ...]:
    return tuple(
        HistoryLine(BEGIN + timedelta(hours=hours), event, detail)
        for hours, event, detail in events
    )


VIEW = OrderView(
    ORDER,
    BEGIN,
    "committed",
    payments=(PaymentView("pi_1", "captured", TOTAL, TOTAL, NOTHING),),
    parcels=(ParcelView("P1", "delivered", "AB 1"), ParcelView("P2", "delivered", "AB 2")),
    history=history(*EVENTS),
)


def missing(evidence: Evidence) -> dict[str, str]:
    return {item.field.name: item.missing for item in evidence.items if item.missing}


def test_the_fields_are_those_of_stripes_sdk_and_files_are_told_apart() -> None:
    evidence = stripe.params.DisputeModifyParamsEvidence
    structured = {"appeal", "enhanced_evidence"}
    assert {field.name for field in FIELDS} == set(evidence.__annotations__) - structured
    described = dict(
        re.findall(r'(\w+): NotRequired.*?"""(.*?)"""', inspect.getsource(evidence), re.S)
    )
    files = {name for name, text in described.items() if "ID of a [file upload]" in text}
    assert {field.name for field in FIELDS if field.is_file} == files
    limits = {n.replace(",", "") for n in re.findall(r"count of ([\d,]+)", str(described))}
    assert limits == {str(MAX_FIELD)}
    whole = inspect.getsource(stripe.params.DisputeModifyParams)
    assert f"limited to {MAX_TOTAL:,}" in whole


def test_a_parcel_that_is_said_not_to_have_come_is_proved_with_its_way() -> None:
    evidence = evidence_for(VIEW, DISPUTE)
    texts = evidence.texts
    assert texts.pop("uncategorized_text") == (
        "Order 1001, paid with pi_1: 49.00 EUR. Disputed: 49.00 EUR.\n"
        "All times are UTC.\n"
        "1 March 2026, 10:00: the order was placed, 49.00 EUR.\n"
        "1 March 2026, 10:00: the payment was taken ch_1.\n"
        "1 March 2026, 11:00: the warehouse packed the order.\n"
        "1 March 2026, 11:00: the confirmation mail was sent to ada@example.com.\n"
        "2 March 2026, 10:00: parcel P1 was shipped, tracking number AB 1.\n"
        "2 March 2026, 10:00: the shipped (P1) mail was sent to ada@example.com.\n"
        "3 March 2026, 10:00: parcel P2 was shipped, tracking number AB 2.\n"
        "3 March 2026, 11:00: the shipped (P2) mail came back from ada@example.com.\n"
        "4 March 2026, 10:00: parcel P1 was delivered, tracking number AB 1.\n"
        "5 March 2026, 10:00: parcel P2 was delivered, tracking number AB 2."
    )
    assert texts == {
        "customer_name": "Ada Lovelace",
        "customer_email_address": "ada@example.com",
        "product_description": (
            "2 x Mug (MUG) at 14.50 EUR: 29.00 EUR\n1 x T-shirt (TEE) at 20.00 EUR: 20.00 EUR"
        ),
        "shipping_address": "Ada Lovelace\n12 St James's Square\nLondon",
        "shipping_date": "2 March 2026, 3 March 2026",
        "shipping_tracking_number": "AB 1, AB 2",
        "service_date": "4 March 2026, 5 March 2026",
    }
    assert missing(evidence) == {
        "shipping_carrier": "the warehouse does not report it",
        "receipt": "a file: upload it in Stripe's dashboard",
        "customer_communication": "a file: upload it in Stripe's dashboard",
        "shipping_documentation": "a file: upload it in Stripe's dashboard",
    }


def test_what_never_left_is_not_said_to_have_been_shipped() -> None:
    packed = replace(VIEW, parcels=(), history=history(*EVENTS[:7]))
    evidence = evidence_for(packed, DISPUTE)
    assert not {"shipping_address", "shipping_date", "service_date"} & set(evidence.texts)
    assert missing(evidence)["shipping_date"] == "no parcel was reported shipped"
    assert missing(evidence)["service_date"] == "no delivery was reported"


def test_a_delivery_counts_when_the_last_parcel_has_come() -> None:
    one_lost = (VIEW.parcels[0], ParcelView("P2", "lost", "AB 2"))
    lost = (97, "parcel_lost", {"parcel_id": "P2", "tracking": "AB 2"})
    view = replace(VIEW, parcels=one_lost, history=history(*EVENTS[:13], lost))
    evidence = evidence_for(view, DISPUTE)
    assert "service_date" not in evidence.texts
    assert "parcel P2 was reported lost by the carrier." in evidence.texts["uncategorized_text"]


@pytest.mark.parametrize(
    ("reason", "counts", "does_not"),
    [
        ("fraudulent", "customer_purchase_ip", "refund_refusal_explanation"),
        ("unrecognized", "billing_address", "duplicate_charge_id"),
        ("credit_not_processed", "refund_refusal_explanation", "customer_purchase_ip"),
        ("duplicate", "duplicate_charge_explanation", "cancellation_rebuttal"),
        ("product_unacceptable", "refund_policy_disclosure", "customer_purchase_ip"),
        ("subscription_canceled", "cancellation_rebuttal", "duplicate_charge_id"),
        ("product_not_received", "shipping_carrier", "refund_policy_disclosure"),
        ("general", "refund_refusal_explanation", "access_activity_log"),
        ("a_reason_of_tomorrow", "refund_refusal_explanation", "access_activity_log"),
    ],
)
def test_the_reason_decides_what_counts(reason: str, counts: str, does_not: str) -> None:
    evidence = evidence_for(VIEW, replace(DISPUTE, reason=reason))
    counted = {item.field.name for item in evidence.items if item.counts}
    assert counts in counted
    assert does_not not in counted
    assert {"customer_name", "product_description", "receipt", "uncategorized_text"} <= counted
    assert set(evidence.texts) <= counted


def test_a_refund_is_what_answers_that_none_was_made() -> None:
    given_back = replace(VIEW.payments[0], refunded=Money(14_50, "EUR"))
    events = (
        (100, "refund_requested", {"refund_id": "r1", "amount": "14.50 EUR"}),
        (101, "refund_pending", {"refund_id": "r1", "amount": "14.50 EUR"}),
        (150, "refund_succeeded", {"refund_id": "r1", "amount": "14.50 EUR"}),
    )
    view = replace(VIEW, payments=(given_back,), history=history(*EVENTS, *events))
    evidence = evidence_for(view, replace(DISPUTE, reason="credit_not_processed"))
    assert evidence.texts["refund_refusal_explanation"] == (
        "14.50 EUR of 49.00 EUR was refunded. "
        "5 March 2026: a refund of 14.50 EUR was sent to the card. "
        "7 March 2026: a refund of 14.50 EUR reached the card."
    )
    without = evidence_for(VIEW, replace(DISPUTE, reason="credit_not_processed"))
    assert missing(without)["refund_refusal_explanation"] == "yours to write"


def test_texts_can_be_added_replaced_and_left_out() -> None:
    changed = evidence_for(VIEW, DISPUTE).with_texts(
        {
            "shipping_carrier": " Royal Mail ",
            "customer_purchase_ip": "192.0.2.7",  # not asked for in such a dispute
            "uncategorized_text": "winning_evidence",
            "customer_name": "",
        }
    )
    assert changed.texts["shipping_carrier"] == "Royal Mail"
    assert changed.texts["customer_purchase_ip"] == "192.0.2.7"
    assert changed.texts["uncategorized_text"] == "winning_evidence"
    assert "customer_name" not in changed.texts
    assert "shipping_carrier" not in missing(changed)


@pytest.mark.parametrize(
    ("name", "text", "sentence"),
    [
        ("carrier", "Royal Mail", "no field of Stripe's evidence"),
        ("receipt", "paid", "receipt takes a file"),
        ("customer_signature", "x", "customer_signature takes a file"),
        ("uncategorized_text", "x" * (MAX_FIELD + 1), "20001 characters: Stripe takes 20000"),
        ("customer_name", "Ada\0", "characters that are no text"),
        ("customer_name", "Ada\ud800", "characters that are no text"),
    ],
)
def test_what_stripe_does_not_take_is_refused_with_a_sentence(
    name: str, text: str, sentence: str
) -> None:
    with pytest.raises(InvalidEvidenceError, match=re.escape(sentence)):
        evidence_for(VIEW, DISPUTE).with_texts({name: text})


def test_all_texts_together_have_a_limit_too() -> None:
    names = [field.name for field in FIELDS if not field.is_file][:8]
    with pytest.raises(InvalidEvidenceError, match="Stripe takes 150000"):
        evidence_for(VIEW, DISPUTE).with_texts(dict.fromkeys(names, "x" * MAX_FIELD))


@given(st.integers(0, 600), st.text(min_size=1, max_size=200))
def test_however_long_an_order_is_its_evidence_fits(parcels: int, name: str) -> None:
    events = [
        (n, "parcel_shipped", {"parcel_id": f"{name}{n}", "tracking": "T" * 255})
        for n in range(parcels)
    ]
    line = Line("S" * 128, name, 1, Money(1, "EUR"))
    view = replace(
        VIEW,
        order=replace(ORDER, lines=(line,) * min(parcels + 1, 100)),
        parcels=tuple(ParcelView(f"P{n}", "shipped", f"{n}{'T' * 250}") for n in range(parcels)),
        history=history(*events),
    )
    texts = evidence_for(view, DISPUTE).texts
    assert all(len(text) <= MAX_FIELD for text in texts.values())
    assert sum(map(len, texts.values())) <= MAX_TOTAL
    chronicle = texts["uncategorized_text"].splitlines()
    if not name.splitlines()[1:] and parcels > 100:
        assert re.fullmatch(r"… and \d+ more\.", chronicle[-1])


@pytest.mark.parametrize(
    ("status", "sentence"),
    [
        (DisputeStatus.NEEDS_RESPONSE, ""),
        (DisputeStatus.WARNING_NEEDS_RESPONSE, ""),
        (DisputeStatus.UNDER_REVIEW, "dispute du_1 was answered already, it is under_review"),
        (DisputeStatus.WARNING_UNDER_REVIEW, "was answered already"),
        (DisputeStatus.WON, "dispute du_1 is over, it is won"),
        (DisputeStatus.LOST, "dispute du_1 is over, it is lost"),
        (DisputeStatus.WARNING_CLOSED, "is over"),
        (DisputeStatus.PREVENTED, "is over"),
    ],
)
def test_evidence_is_taken_once_and_before_the_end(status: DisputeStatus, sentence: str) -> None:
    refusal = refusal_of(
        replace(DISPUTE, status=status, submissions=1)
    )  # of an inquiry before, say
    assert sentence in refusal
    assert bool(sentence) == bool(refusal)


@pytest.mark.parametrize("id_", ["du_1N", "dp_1", "du_a_b"])
def test_a_dispute_id_is_stripes(id_: str) -> None:
    assert DISPUTE_ID.matches(id_)


@pytest.mark.parametrize("id_", ["", "1001", "du_", "du_1/../x", "du_1 ", "pi_1"])
def test_other_texts_are_no_dispute_id(id_: str) -> None:
    assert not DISPUTE_ID.matches(id_)
