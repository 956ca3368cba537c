"""The formats of texts that come from outside, and the keys and ids that are made of them."""

from __future__ import annotations

import re

import pytest
from hypothesis import assume, example, given
from hypothesis import strategies as st

from durable_orders.domain import ids, texts
from durable_orders.domain.ids import (
    IdempotencyKey,
    InvalidOrderIdError,
    InvalidRefundIdError,
    parcel_refund_id,
    refund_of_key,
)
from durable_orders.domain.installation import INSTALLATION_NAME
from durable_orders.domain.operators.api_keys import KEY_NAME, InvalidKeyNameError
from durable_orders.domain.texts import InvalidTextError, TextFormat
from tests.support.keys import mail_key, refund_key, resend_key

FORMATS = {
    name: value
    for module in (ids, texts)
    for name, value in vars(module).items()
    if isinstance(value, TextFormat)
} | {"KEY_NAME": KEY_NAME, "INSTALLATION_NAME": INSTALLATION_NAME}

ORDINARY = [
    ("ORDER_ID", "1001"),
    ("ORDER_ID", "2026.03-A_7"),
    ("REFUND_ID", "r1"),
    ("CUSTOMER_ID", "cus_1"),
    ("CUSTOMER_ID", "auth0|5f7c8ec7c33c6c004bbafe82"),
    ("CUSTOMER_ID", "google-oauth2|115015401343387192604"),
    ("CUSTOMER_ID", "gid://shopify/Customer/207119551"),
    ("CUSTOMER_ID", "{3F2504E0-4F89-11D3-9A0C-0305E82C3301}"),
    ("CUSTOMER_ID", "urn:shop:customer:7"),
    ("CUSTOMER_ID", "C 1042/7 (Köln)"),
    ("CUSTOMER_ID", "a'b"),
    ("SKU", "MUG"),
    ("SKU", "T SHIRT (L)"),
    ("SKU", "T-SHIRT/L+XL, blau"),
    ("SKU", "4006381333931"),
    ("SKU", "A=B"),
    ("SKU", 'Ø 12" ¾'),
    ("SKU", "茶碗"),
    ("ACTOR_ID", "ops-7"),
    ("ACTOR", "ops-7"),
    ("ACTOR", ""),
    ("CLIENT_SECRET", "pi_3MtwBwLkdIwHu7ix28a3tqPa_secret_YrKJUKribcBjcG8HVhfZluoGH"),
    ("ACTOR_ID", "auth0|5f7c8ec7c33c6c004bbafe82"),
    ("PAYMENT_METHOD", "pm_card_visa"),
    ("PAYMENT_METHOD", "pm_1MqLiJLkdIwHu7ixUEgbFdYF"),
    ("CARD_CUSTOMER", "cus_NffrFeUfNV2Hib"),
    ("CARD_CUSTOMER", "cus_4fdAW5ftNQow1a"),
    ("IDEMPOTENCY_KEY", "4c8b2f60-8f0d-4a53-9a0e-0d5b1c3e7f11"),
    ("PARCEL_ID", "par_7"),
    ("PARCEL_ID", "PAR 2026/00017"),
    ("PARCEL_ID", "Päckchen 1"),
    ("FULFILLMENT_ID", "ful 7/2026"),
    ("PAYMENT_ID", "pi_3MtwBwLkdIwHu7ix28a3tqPa"),
    ("CHARGE_ID", "py_3MtwBwLkdIwHu7ix28a3tqPa"),
    ("CARD_REFUND_ID", "pyr_1Nispe2eZvKYlo2Cd31jOCgZ"),
    ("DISPUTE_ID", "dp_1MtJUT2eZvKYlo2CNaw2HvEv"),
    ("WARNING_ID", "issfr_1NnrwHBw2dPENLoi9lnhV3RQ"),
    ("REVIEW_ID", "prv_1NVyFt2eZvKYlo2CjubqF1xm"),
    ("MAIL_ID", "49a3999c-0ce1-4ea6-ab68-afcd6dc2e794"),
    ("EVENT_ID", "msg_2KWPBgLlAfxdpx2AI54pPJ85f4W"),
    ("REQUEST_ID", "9f2c4e7a1b3d4c5e8f90a1b2c3d4e5f6"),
    ("TRACKING", ""),
    ("TRACKING", "AB 1234 5678 9GB"),
    ("TRACKING", "1Z 999 AA1 01 2345 6784"),
    ("TRACKING", "JD0146/00003.SE"),
    ("RECIPIENT_NAME", "Ada Lovelace"),
    ("RECIPIENT_NAME", "Zoë O'Neill-Müller, c/o J.R.R. Tolkien"),
    ("RECIPIENT_NAME", "नीलम \N{ZERO WIDTH JOINER}शर्मा"),
    ("RECIPIENT_NAME", "山田 太郎 様"),
    ("RECIPIENT_NAME", "Family \N{ROSE}"),
    ("EMAIL", "ada+orders@example.com"),
    ("EMAIL", "用户@例子.广告"),
    ("RECEIPT_EMAIL", "ada+orders@example.com"),
    ("RECEIPT_EMAIL", "a.b@mail.example.co.uk"),
    ("RECEIPT_EMAIL", "用户@例子.广告"),
    ("ADDRESS", "12 St James's Square, London"),
    ("ADDRESS", "12 St James's Square\nLondon SW1Y 4JH\nUnited Kingdom"),
    ("ADDRESS", "Musterstraße 1\r\n12345 Köln\r\n"),
    ("REMARK", ""),
    ("REMARK", "known customer: 50 % off & more"),
    ("KEY_NAME", "shop"),
    ("INSTALLATION_NAME", "shop1"),
]
CONTROLS = ["\x00", "\x07", "\t", "\n", "\r", "\x1b", "\x7f", "\x85", "\u2028", "\u2029"]


@pytest.mark.parametrize(("name", "text"), ORDINARY)
def test_what_is_ordinary_is_taken_as_it_is(name: str, text: str) -> None:
    assert FORMATS[name].check(text) == text


def an_ordinary(name: str) -> str:
    return next(text for each, text in ORDINARY if each == name and text)


#: What is not seen, and what turns the direction of a text around. Of these, names, addresses and
#: remarks may hold what belongs to their script.
UNSEEN = list("\u00ad\u061c\u180e\u200b\u200c\u200d\u200e\u200f\u2060\u206a\ufeff\ufff9")
UNSEEN += list("\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069\U000e0041")


@pytest.mark.parametrize(
    "name", sorted(FORMATS.keys() - {"RECIPIENT_NAME", "ADDRESS", "REMARK", "EMAIL", "ACTOR"})
)
def test_no_id_holds_what_is_not_seen(name: str) -> None:
    good, format_ = an_ordinary(name), FORMATS[name]
    for character in UNSEEN:
        for text in (f"{good}{character}", f"{character}{good}", f"{good}{character}{good}"):
            assert not format_.matches(text), ascii(text)


@pytest.mark.parametrize("name", FORMATS)
def test_every_text_is_bounded_and_holds_no_control_characters(name: str) -> None:
    good, format_ = an_ordinary(name), FORMATS[name]
    allowed = {"\n", "\r"} if name == "ADDRESS" else set[str]()
    bad = [f"{good}\ud800", "x" * (format_.max_length + 1), "pm_" + "x" * 100_000]
    for control in set(CONTROLS) - allowed:
        bad += [f"{control}{good}", f"{good}{control}", f"{good}{control}{good}"]
    for text in bad:
        with pytest.raises(InvalidTextError):
            format_.check(text)


@pytest.mark.parametrize("name", sorted(FORMATS.keys() - {"TRACKING", "REMARK", "ACTOR"}))
@pytest.mark.parametrize("text", ["", " ", "   ", "\N{NO-BREAK SPACE}"])
def test_what_may_not_be_missing_is_not_blank_either(name: str, text: str) -> None:
    with pytest.raises(InvalidTextError):
        FORMATS[name].check(text)


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("ORDER_ID", "a/b"),
        ("ORDER_ID", ".."),
        ("ORDER_ID", "-1"),
        ("ORDER_ID", "ä"),
        ("REFUND_ID", "a-b"),
        ("CUSTOMER_ID", "ada@example.com"),
        ("CUSTOMER_ID", " cus_1"),
        ("CUSTOMER_ID", "cus_1 "),
        ("SKU", " MUG"),
        ("SKU", "MUG\N{NO-BREAK SPACE}"),
        ("ACTOR_ID", "Ada Lovelace"),
        ("ACTOR_ID", "ada@example.com"),
        ("PAYMENT_METHOD", "4242424242424242"),
        ("PAYMENT_METHOD", "pm_"),
        ("CARD_CUSTOMER", "customer-1"),
        ("CARD_CUSTOMER", "cus_"),
        ("CARD_CUSTOMER", "pm_card_visa"),
        ("CARD_CUSTOMER", "cus_1/../cus_2"),
        ("IDEMPOTENCY_KEY", "a b"),
        ("IDEMPOTENCY_KEY", "é"),
        ("PARCEL_ID", "."),
        ("PARCEL_ID", ".."),
        ("EMAIL", "nobody"),
        ("EMAIL", "a@b@c"),
        ("EMAIL", "a b@c"),
        ("EMAIL", "Bank<victim@example.com>"),
        ("EMAIL", "a,b@example.com"),
        ("EMAIL", "a@example.com,b@example.com"),
        ("EMAIL", "a..b@example.com"),
        ("EMAIL", "ada@localhost"),
        ("EMAIL", "ada@[127.0.0.1]"),
        ("EMAIL", "ada@exa\u202emple.com"),
        ("RECIPIENT_NAME", "Ada \u202egnp.exe"),
        ("ADDRESS", "1 Street\u2066\nTown"),
        ("REMARK", "approved \u202d"),
        ("SKU", "MUG\u2067"),
        ("PARCEL_ID", "p\u202b1"),
        ("RECEIPT_EMAIL", "nobody"),
        ("RECEIPT_EMAIL", "ada@localhost"),
        ("RECEIPT_EMAIL", "ada@.example.com"),
        ("RECEIPT_EMAIL", "ada@example."),
        ("RECEIPT_EMAIL", "ada@example..com"),
        ("RECEIPT_EMAIL", "ada@example.com, bob@example.com"),
        ("KEY_NAME", "a b"),
    ],
)
def test_what_is_none_is_refused(name: str, text: str) -> None:
    with pytest.raises(InvalidTextError):
        FORMATS[name].check(text)


def test_a_refusal_says_what_would_be_right_and_names_its_kind() -> None:
    with pytest.raises(InvalidOrderIdError) as order:
        ids.ORDER_ID.check("a/b\n" + "x" * 100_000)
    assert str(order.value) == (
        f"'a/b\\n{'x' * 76}' is not an order id: 1 to 64 letters, digits, dots, dashes or "
        "underscores, starting with a letter or digit"
    )
    with pytest.raises(InvalidRefundIdError, match=r"^'a-b' is not a refund id: 1 to 64"):
        ids.REFUND_ID.check("a-b")
    with pytest.raises(InvalidKeyNameError, match=r"^'a b' is not a name for a key: 1 to 64"):
        KEY_NAME.check("a b")


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("PAYMENT_METHOD", "4242424242424242"),
        ("RECIPIENT_NAME", "Ada 4242\x00"),
        ("EMAIL", "ada.4242"),
        ("ADDRESS", "4242 St James's Square\x00"),
        ("REMARK", "4242\x00"),
    ],
)
def test_what_is_personal_or_a_card_is_not_repeated(name: str, text: str) -> None:
    with pytest.raises(InvalidTextError, match=r"^this is not a") as error:
        FORMATS[name].check(text)
    assert "4242" not in str(error.value)


def test_a_decision_can_be_made_in_the_name_of_every_key() -> None:
    assert KEY_NAME.max_length <= ids.ACTOR_ID.max_length
    assert ids.ACTOR_ID.matches("A.b_c-9")


@pytest.mark.parametrize("text", ["", "a b", "é", "x" * 256, "a\n"])
def test_an_idempotency_key_is_visible_ascii(text: str) -> None:
    with pytest.raises(InvalidTextError, match="is not an idempotency key"):
        IdempotencyKey(text)


def test_a_key_of_another_application_is_no_refund_of_ours() -> None:
    assert refund_of_key(refund_key("1001", "r1", 2)) == ("1001", "r1")
    for key in ("order-a b:refund:r1:1", "order-1001:refund:a-b:1", "order-\x00:refund:r1:1"):
        assert refund_of_key(f"testshop:{key}") is None


# -- what is made of a parcel's id -----------------------------------------------------------------

parcel_ids = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=255).filter(
    ids.PARCEL_ID.matches
)


def test_ids_of_ordinary_parcels_are_in_keys_and_refunds_as_they_are() -> None:
    assert parcel_refund_id("par_7") == "parcel.par_7"
    assert resend_key("1001", "par_7") == "testshop:order-1001:fulfillment:resend:par_7"
    assert mail_key("1001", "shipped-par_7") == "testshop:order-1001:mail:shipped-par_7"


@given(parcel_ids)
@example("PAR 2026/00017")
@example("x" * 255)
def test_keys_fit_into_a_header_whatever_the_warehouse_calls_a_parcel(parcel_id: str) -> None:
    for key in (
        resend_key("o" * 64, parcel_id),
        mail_key("o" * 64, f"shipped-{parcel_id}"),
    ):
        assert re.fullmatch(r"testshop:order-o{64}:[\x21-\x7e]{1,181}", key)
    assert ids.REFUND_ID.matches(parcel_refund_id(parcel_id))


@given(parcel_ids, parcel_ids)
@example("par/1", "par_1")
@example("par 1", "par/1")
@example("x" * 60 + "1", "x" * 60 + "2")
def test_no_two_parcels_share_a_refund_or_a_key(one: str, other: str) -> None:
    assume(one != other)
    assert parcel_refund_id(one) != parcel_refund_id(other)
    assert resend_key("1001", one) != resend_key("1001", other)
    assert mail_key("1001", f"shipped-{one}") != mail_key("1001", f"shipped-{other}")
