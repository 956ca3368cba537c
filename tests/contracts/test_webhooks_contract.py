"""Contract of `EventReader`: signatures are verified, events are parsed."""

from __future__ import annotations

import hashlib
import hmac
import json
import time
from dataclasses import replace
from datetime import UTC, datetime

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from standardwebhooks import Webhook

from durable_orders.domain import ids
from durable_orders.domain.installation import NAME_PATTERN
from durable_orders.domain.parcels import ParcelStatus
from durable_orders.domain.webhooks import (
    BadSignatureError,
    EventPayload,
    MailDeliveryFailure,
    MailNotDelivered,
    ParcelChanged,
    PaymentChanged,
    PaymentRiskChanged,
    RefundChanged,
    UnmarkedRefundChanged,
    UnreadableEventError,
    WebhookEvent,
    payload_from_json,
    payload_to_json,
)
from durable_orders.domain.workflow_messages import PaymentChange
from sandbox.webhook_endpoints import WAREHOUSE_SECRET
from tests.contracts.signing import (
    READERS,
    SignedRequest,
    a_body,
    mail_event,
    parcel_event,
    risk_event,
    signed,
    stripe_event,
)
from tests.support.keys import INSTALLATION, refund_key, undo_refund_key

SENDERS = sorted(READERS)
OTHER_SECRETS = {
    "stripe": "whsec_notOurSecretAtAll00",
    "warehouse": "whsec_YW5vdGhlciB3YXJlaG91c2UncyBzZWNyZXQ=",
    "resend": "whsec_bm90IG91ciBzZWNyZXQgYXQgYWxs",
}
#: Of the header with the signatures: its name, and what is between several of them.
SIGNATURES = {
    "stripe": ("stripe-signature", ","),
    "warehouse": ("webhook-signature", " "),
    "resend": ("svix-signature", " "),
}
senders = st.sampled_from(SENDERS)
#: No deadline: the time that an example takes depends on the load of the machine.
BUSY = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])


def read(sender: str, letter: SignedRequest) -> WebhookEvent:
    return READERS[sender].read(letter.headers, letter.body)


def refused(sender: str, letter: SignedRequest) -> str:
    with pytest.raises(BadSignatureError) as error:
        read(sender, letter)
    return str(error.value)


@pytest.mark.parametrize("sender", SENDERS)
def test_a_genuine_event_is_read(sender: str) -> None:
    event = read(sender, signed(sender, a_body(sender)))
    assert (event.source, event.event_id) == (
        sender,
        {"resend": "msg_1"}.get(sender, event.event_id),
    )
    assert event.news is not None
    assert event.installation == INSTALLATION


@pytest.mark.parametrize("sender", SENDERS)
@pytest.mark.parametrize("age", [290, -290])
def test_clocks_may_differ_by_less_than_five_minutes(sender: str, age: int) -> None:
    assert read(sender, signed(sender, a_body(sender), age=age)).news is not None


@pytest.mark.parametrize("sender", SENDERS)
@pytest.mark.parametrize("age", [310, 86_400, -310, -86_400])
def test_an_old_event_that_is_played_again_is_refused_and_one_of_the_future_too(
    sender: str, age: int
) -> None:
    sentence = refused(sender, signed(sender, a_body(sender), age=age))
    assert "300 s" in sentence


@pytest.mark.parametrize("sender", SENDERS)
def test_a_signature_with_another_secret_is_refused(sender: str) -> None:
    letter = signed(sender, a_body(sender), secret=OTHER_SECRETS[sender])
    assert "does not fit" in refused(sender, letter)


@pytest.mark.parametrize("sender", SENDERS)
def test_a_signature_without_a_key_is_refused(sender: str) -> None:
    """An attacker may sign with an empty secret, in case ours is not set."""
    empty = {"stripe": " "}.get(sender, "whsec_")
    refused(sender, signed(sender, a_body(sender), secret=empty))


@pytest.mark.parametrize("sender", SENDERS)
def test_a_request_without_a_signature_is_refused(sender: str) -> None:
    refused(sender, SignedRequest({}, a_body(sender)))


@pytest.mark.parametrize("sender", SENDERS)
@given(data=st.data())
@settings(BUSY)
def test_a_signature_fits_one_body_alone(sender: str, data: st.DataObject) -> None:
    letter = signed(sender, a_body(sender))
    at = data.draw(st.integers(0, len(letter.body)))
    put = data.draw(st.binary(max_size=20))
    out = data.draw(st.integers(0, 20))
    other = letter.body[:at] + put + letter.body[at + out :]
    if other != letter.body:
        refused(sender, replace(letter, body=other))


@given(sender=senders, body=st.binary(max_size=300), data=st.data())
@settings(BUSY, max_examples=300)
def test_whatever_is_put_into_the_headers_nothing_unsigned_is_believed(
    sender: str, body: bytes, data: st.DataObject
) -> None:
    genuine = signed(sender, a_body(sender)).headers
    anything = st.one_of(
        st.text(st.characters(max_codepoint=255), max_size=80),
        st.sampled_from(
            ["t=1", "t=1,v1=", "v1,", "v1=", "t=,v1=", "t=é,v1=ä", "0", "-1", "9" * 5000]
        ),
        st.integers().map(lambda moment: f"t={moment},v1={'0' * 64}"),
        st.sampled_from(sorted(genuine.values())),
    )
    headers = {name: data.draw(anything, label=name) for name in genuine}
    with pytest.raises(BadSignatureError):
        read(sender, SignedRequest(headers, body))


@given(data=st.data())
@settings(BUSY)
def test_a_flipped_bit_of_the_signature_is_refused(data: st.DataObject) -> None:
    sender = data.draw(senders)
    letter = signed(sender, a_body(sender))
    name, _ = SIGNATURES[sender]
    header = letter.headers[name]
    # The signature changes every second, so the drawn values must not depend on its text.
    # The last base64 character is left out, as some of its bits have no meaning.
    at = data.draw(st.integers(header.index("v1") + 3, len(header) - 3))
    other = data.draw(st.sampled_from("0123456789abcdef"))
    if other == header[at]:
        other = "1" if other == "0" else "0"
    forged = header[:at] + other + header[at + 1 :]
    refused(sender, replace(letter, headers={**letter.headers, name: forged}))


@pytest.mark.parametrize("sender", SENDERS)
def test_while_a_secret_is_changed_one_of_several_signatures_is_enough(sender: str) -> None:
    body = a_body(sender)
    good, other = signed(sender, body), signed(sender, body, secret=OTHER_SECRETS[sender])
    name, between = SIGNATURES[sender]
    old = "v1" + other.headers[name].partition("v1")[2]
    new = "v1" + good.headers[name].partition("v1")[2]
    before = good.headers[name].removesuffix(new)  # Stripe's time
    for both in (f"{new}{between}{old}", f"{old}{between}{new}"):
        letter = SignedRequest({**good.headers, name: before + both}, body)
        assert read(sender, letter).news is not None
    refused(sender, SignedRequest({**good.headers, name: before + f"{old}{between}{old}"}, body))


@pytest.mark.parametrize("sender", SENDERS)
@pytest.mark.parametrize(
    "body",
    [
        b"{",
        b"[]",
        b"null",
        b'"text"',
        b"{}",
        b'{"type": 7}',
        b"[" * 100_000,
        b"NaN",
        b'{"id": "evt\\u0000", "type": "a\\u0000", "data": {"object": {}}}',
        b'{"id": "a", "type": "a\\nb", "data": {"object": {}}}',
        b'{"id": "a", "type": "", "data": {"email_id": "x\\u0000y"}}',
    ],
)
def test_what_is_signed_and_is_no_event_is_said_to_be_none(sender: str, body: bytes) -> None:
    with pytest.raises(UnreadableEventError) as error:
        read(sender, signed(sender, body))
    assert str(error.value).startswith("this is no event of")


def test_words_of_an_unreadable_event_are_not_repeated() -> None:
    body = b'{"type": "parcel.left", "order_id": "1001", "parcel": {"id": {"name": "Ada"}}}'
    with pytest.raises(UnreadableEventError, match=r"wrong are parcel.id$"):
        read("warehouse", signed("warehouse", body))


# -- contents of events ----------------------------------------------------------------------------


def stripe_news(type_: str, **metadata: str) -> EventPayload | None:
    return read("stripe", signed("stripe", stripe_event(type_, metadata))).news


@pytest.mark.parametrize(
    ("type_", "change"),
    [
        ("payment_intent.succeeded", PaymentChange.PAID),
        ("payment_intent.requires_action", PaymentChange.REQUIRES_ACTION),
        ("payment_intent.payment_failed", PaymentChange.DECLINED),
        ("payment_intent.amount_capturable_updated", PaymentChange.HELD),
        ("payment_intent.canceled", PaymentChange.CANCELLED),
        ("charge.refunded", None),
    ],
)
def test_a_payment_that_moved_is_for_its_order(type_: str, change: PaymentChange | None) -> None:
    payment_id = "pi_1" if type_.startswith("payment_intent.") else ""
    assert stripe_news(type_, order_id="1001") == PaymentChanged("1001", change, payment_id)


@pytest.mark.parametrize("type_", ["refund.updated", "refund.failed", "charge.refund.updated"])
def test_a_refund_that_moved_is_for_its_run_and_one_without_a_key_for_the_order(
    type_: str,
) -> None:
    ours = refund_key("1001", "r1", 2)
    assert stripe_news(type_, order_id="1001", refund_key=ours) == RefundChanged("1001", "r1")
    undo = undo_refund_key("1001", "pi_1")
    assert stripe_news(type_, order_id="1001", refund_key=undo) == RefundChanged("1001", "undo")
    assert stripe_news(type_, order_id="1001") == PaymentChanged("1001")


@pytest.mark.parametrize("type_", ["refund.updated", "refund.failed", "charge.refund.updated"])
def test_a_refund_that_was_made_by_hand_is_known_by_its_payment(type_: str) -> None:
    def news_of(payment_intent: object) -> EventPayload | None:
        body = json.loads(stripe_event(type_, {"installation": ""}))
        body["data"]["object"]["payment_intent"] = payment_intent
        event = read("stripe", signed("stripe", json.dumps(body).encode()))
        assert event.installation is None
        return event.news

    assert news_of("pi_1") == UnmarkedRefundChanged("pi_1")
    for other in (None, "", 7, {"id": "pi_1"}):
        assert news_of(other) is None


@pytest.mark.parametrize(
    "type_",
    [
        "payment_intent.created",
        "refund.created",
        "customer.created",
        "invoice.paid",
        "x.unheard_of",
    ],
)
def test_what_our_own_requests_cause_and_what_nobody_knows_is_for_nobody(type_: str) -> None:
    assert stripe_news(type_, order_id="1001", refund_key=refund_key("1001", "r1")) is None


@pytest.mark.parametrize(
    "metadata",
    [
        {},
        {"order_id": "not an id"},
        {"order": "1001"},
        {"order_id": "1001", "installation": ""},
    ],
)
def test_a_payment_of_another_application_is_for_nobody(metadata: dict[str, str]) -> None:
    assert stripe_news("payment_intent.succeeded", **metadata) is None


RISKS = [
    "charge.dispute.created",
    "charge.dispute.updated",
    "charge.dispute.closed",
    "charge.dispute.funds_withdrawn",
    "charge.dispute.funds_reinstated",
    "radar.early_fraud_warning.created",
    "radar.early_fraud_warning.updated",
    "review.opened",
    "review.closed",
]


@pytest.mark.parametrize("type_", RISKS)
def test_what_is_disputed_names_its_payment_and_nothing_else(type_: str) -> None:
    event = read("stripe", signed("stripe", risk_event(type_, "pi_1")))
    assert event.news == PaymentRiskChanged("pi_1")
    assert event.installation is None  # only our database knows whose payment it is
    assert payload_from_json(payload_to_json(event.news)) == event.news


@pytest.mark.parametrize("payment_id", [None, "", "ch_1", "pi_", "pi_\u00e9", "pi_a b"])
def test_a_dispute_of_a_charge_without_an_intent_is_for_nobody(payment_id: str | None) -> None:
    body = risk_event("charge.dispute.created", payment_id)
    assert read("stripe", signed("stripe", body)).news is None


def test_another_events_payment_is_no_dispute() -> None:
    body = risk_event("customer.created", "pi_1")
    assert read("stripe", signed("stripe", body)).news is None


def test_an_event_says_whose_it_is() -> None:
    theirs = {
        "stripe": stripe_event(
            "refund.failed",
            {
                "installation": "othershop",
                "refund_key": ids.refund_key("othershop", "1001", "r1"),
            },
        ),
        "warehouse": parcel_event("parcel.left", "1001", "par_1", installation="othershop"),
        "resend": mail_event("email.bounced", "mail_1", tags={"installation": "othershop"}),
    }
    for sender, body in theirs.items():
        event = read(sender, signed(sender, body))
        assert (event.installation, event.news is None) == ("othershop", False)


@pytest.mark.parametrize("order_id", ["1001", "-1001", "testshop-", "Testshop-1001", "test_shop-1"])
def test_a_parcel_of_an_order_that_no_installation_has_named_is_for_nobody(order_id: str) -> None:
    body = json.loads(parcel_event("parcel.left", "1001", "par_1")) | {"order_id": order_id}
    assert read("warehouse", signed("warehouse", json.dumps(body).encode())).news is None


@given(name=st.from_regex(NAME_PATTERN, fullmatch=True), data=st.data())
@settings(BUSY)
def test_a_reference_at_the_warehouse_is_of_one_order_of_one_installation(
    name: str, data: st.DataObject
) -> None:
    order_id = data.draw(st.from_regex(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}", fullmatch=True))
    reference = ids.warehouse_reference(name, order_id)
    assert ids.order_of_reference(reference) == (name, order_id)


def test_a_parcel_is_told_of_in_our_words() -> None:
    told = [
        read("warehouse", signed("warehouse", parcel_event(f"parcel.{word}", "1001", "par_1"))).news
        for word in ("left", "lost", "delivered", "admired")
    ]
    assert told == [
        ParcelChanged("1001", "par_1", ParcelStatus.SHIPPED, "trk_1"),
        ParcelChanged("1001", "par_1", ParcelStatus.LOST, "trk_1"),
        ParcelChanged("1001", "par_1", ParcelStatus.DELIVERED, "trk_1"),
        None,
    ]


@pytest.mark.parametrize(
    "tracking",
    [
        "AB 1234 5678 9GB",
        "1Z 999 AA1 01 2345 6784",
        "JD0146/00003.SE",
        "Päckchen 7",
        " AB 12 ",
        "x" * 255,
        "",
    ],
)
def test_a_carriers_reference_is_told_as_it_came(tracking: str) -> None:
    body = parcel_event("parcel.left", "1001", "par_1", tracking=tracking)
    told = read("warehouse", signed("warehouse", body)).news
    assert told == ParcelChanged("1001", "par_1", ParcelStatus.SHIPPED, tracking)


def test_a_parcel_without_a_reference_has_none() -> None:
    body = parcel_event("parcel.lost", "1001", "par_1", tracking=None)
    told = read("warehouse", signed("warehouse", body)).news
    assert told == ParcelChanged("1001", "par_1", ParcelStatus.LOST, "")


@pytest.mark.parametrize("tracking", ["A\x00B", "A\nB", "x" * 256, "\u2028"])
def test_a_reference_that_could_not_be_kept_is_refused(tracking: str) -> None:
    body = parcel_event("parcel.left", "1001", "par_1", tracking=tracking)
    with pytest.raises(UnreadableEventError, match=r"wrong are parcel.tracking$"):
        read("warehouse", signed("warehouse", body))


@pytest.mark.parametrize("order_id", ["", "order 7", "a/b", "ä", "x" * 65, "7\n"])
def test_a_parcel_of_another_shop_is_for_nobody(order_id: str) -> None:
    body = parcel_event("parcel.left", order_id, "par_1")
    assert read("warehouse", signed("warehouse", body)).news is None


@pytest.mark.parametrize(
    "body",
    [b'{"type": "stock.counted"}', b'{"type": "stock.counted", "order_id": 7, "parcel": "none"}'],
)
def test_an_event_of_another_kind_may_hold_anything(body: bytes) -> None:
    assert read("warehouse", signed("warehouse", body)).news is None


@pytest.mark.parametrize("missing", ["order_id", "parcel"])
def test_news_of_a_parcel_that_do_not_say_of_which_are_unreadable(missing: str) -> None:
    body = json.loads(parcel_event("parcel.left", "1001", "par_1"))
    del body[missing]
    with pytest.raises(UnreadableEventError, match=rf"wrong are {missing}$"):
        read("warehouse", signed("warehouse", json.dumps(body).encode()))


def test_the_warehouse_signs_as_standard_webhooks_do() -> None:
    """The example of the specification's own library, with the body's bytes as they came."""
    body = parcel_event("parcel.left", "1001", "par_1")
    now = datetime.now(UTC)
    signature = Webhook(WAREHOUSE_SECRET).sign("msg_7", now, body.decode())
    headers = {
        "webhook-id": "msg_7",
        "webhook-timestamp": str(int(now.timestamp())),
        "webhook-signature": signature,
    }
    assert read("warehouse", SignedRequest(headers, body)).event_id == "msg_7"
    # A signature of a kind that we do not know, an asymmetric one say, stands beside it.
    both = {**headers, "webhook-signature": f"v1a,{'A' * 88} {signature}"}
    assert read("warehouse", SignedRequest(both, body)).event_id == "msg_7"
    for name, value in (("webhook-id", "msg_8"), ("webhook-timestamp", "1767225600")):
        refused("warehouse", SignedRequest({**headers, name: value}, body))


def test_an_event_of_the_warehouse_is_the_one_that_its_header_names() -> None:
    """Whatever the body calls it, and whenever it is sent again."""
    body = parcel_event("parcel.left", "1001", "par_1", event_id="wev_1")
    for age in (0, 60):
        event = read("warehouse", signed("warehouse", body, age=age, event_id="msg_9"))
        assert event.event_id == "msg_9"


@pytest.mark.parametrize("event_id", ["a b", "é", "a\nb", "x" * 256])
def test_an_event_id_that_could_not_be_kept_is_refused(event_id: str) -> None:
    for sender in ("warehouse", "resend"):
        with pytest.raises(UnreadableEventError, match=r"wrong is (webhook|svix)-id$"):
            read(sender, signed(sender, a_body(sender), event_id=event_id))


def test_our_own_header_of_before_is_no_signature() -> None:
    body = a_body("warehouse")
    moment = int(time.time())
    digest = hmac.new(WAREHOUSE_SECRET.encode(), f"{moment}.".encode() + body, hashlib.sha256)
    headers = {"warehouse-signature": f"t={moment},v1={digest.hexdigest()}"}
    sentence = refused("warehouse", SignedRequest(headers, body))
    assert sentence == "there is no webhook-id, webhook-timestamp or webhook-signature"


def mail_news(type_: str, **more: object) -> EventPayload | None:
    return read("resend", signed("resend", mail_event(type_, "mail_1", **more))).news


def test_a_mail_that_came_back_is_told_of_with_a_code_and_without_the_address() -> None:
    bounce = {
        "type": "Permanent",
        "subType": "General",
        "message": "550 <ada@example.com> unknown",
        "diagnosticCode": ["smtp; 550 5.1.1 <ada@example.com> unknown"],
    }
    assert mail_news("email.bounced", bounce=bounce) == MailNotDelivered(
        "mail_1", MailDeliveryFailure.BOUNCED, "Permanent General"
    )
    assert mail_news("email.complained") == MailNotDelivered(
        "mail_1", MailDeliveryFailure.COMPLAINED
    )
    suppressed = {
        "type": "OnAccountSuppressionList",
        "reason": "previous_bounce",
        "message": "ada@example.com is on the suppression list",
        "diagnosticCode": [],
    }
    assert mail_news("email.suppressed", suppressed=suppressed) == MailNotDelivered(
        "mail_1", MailDeliveryFailure.SUPPRESSED, "OnAccountSuppressionList previous_bounce"
    )
    reason = {"reason": "reached_daily_quota"}
    assert mail_news("email.failed", failed=reason) == MailNotDelivered(
        "mail_1", MailDeliveryFailure.FAILED, "reached_daily_quota"
    )


@pytest.mark.parametrize("type_", ["email.sent", "email.delivered", "email.delivery_delayed"])
def test_a_mail_that_arrives_in_the_end_is_for_nobody(type_: str) -> None:
    assert mail_news(type_) is None


def test_a_mail_of_another_application_is_for_nobody_and_one_without_tags_may_be_ours() -> None:
    assert mail_news("email.bounced", tags={"campaign": "spring"}) is None
    assert mail_news("email.bounced", tags={"order": "1001", "kind": "confirmation"}) is None
    event = read("resend", signed("resend", mail_event("email.bounced", "mail_1", tags=None)))
    assert event.news is not None
    assert event.installation is None  # its id decides


@pytest.mark.parametrize("sender", SENDERS)
def test_what_is_kept_of_an_event_is_neither_an_amount_nor_a_secret_nor_an_address(
    sender: str,
) -> None:
    news = read(sender, signed(sender, a_body(sender))).news
    assert news is not None
    kept = payload_to_json(news)
    assert payload_from_json(kept) == news
    assert not any(word in str(kept) for word in ("2900", "secret", "ada@", "subject"))
