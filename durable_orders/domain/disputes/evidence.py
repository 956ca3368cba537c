"""Evidence for a dispute: Stripe's fields, filled in with what is known of the order.

Pure: the same order and dispute give the same texts. Only text fields are filled in; a field that
asks for a file (a receipt, say) takes the id of an upload, which is made in Stripe's dashboard.

Fields and limits: https://docs.stripe.com/api/disputes/update (``DisputeModifyParamsEvidence`` of
Stripe's SDK). Which fields count for which reason: https://docs.stripe.com/disputes/categories, for
physical products.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Final

from durable_orders.domain.disputes.dispute import Dispute
from durable_orders.domain.money import total
from durable_orders.domain.parcels import ParcelStatus
from durable_orders.domain.texts import TextFormat
from durable_orders.domain.views import HistoryLine, OrderView

#: Characters of one field, and of all together.
MAX_FIELD: Final = 20_000
MAX_TOTAL: Final = 150_000

DISPUTE_ID: Final = TextFormat(
    "a dispute id",
    "Stripe's, du_ or dp_ and letters, digits or underscores",
    r"d[up]_[A-Za-z0-9_]+",
    max_length=255,
)


class InvalidEvidenceError(ValueError):
    """The evidence is not what Stripe takes; the message says what to change."""


@dataclass(frozen=True)
class EvidenceField:
    """A field of Stripe's evidence. ``asks_for`` is what Stripe wants to see in it; ``source`` is
    where to find what the order does not tell.
    """

    name: str
    asks_for: str
    source: str = ""
    is_file: bool = False


@dataclass(frozen=True)
class EvidenceItem:
    """A field with its ``text``, empty when it is not known. ``counts``: Stripe asks for it in
    disputes of this reason.
    """

    field: EvidenceField
    text: str
    counts: bool

    @property
    def missing(self) -> str:
        """What to do about a field that counts and is empty; empty otherwise."""
        if self.text or not self.counts:
            return ""
        if self.field.is_file:
            return "a file: upload it in Stripe's dashboard"
        return self.field.source or "not known"


@dataclass(frozen=True)
class Evidence:
    """All fields of a dispute's evidence."""

    dispute: Dispute
    order_id: str
    items: tuple[EvidenceItem, ...]

    @property
    def texts(self) -> dict[str, str]:
        """What is sent: the texts of the fields that count, by field name."""
        return {item.field.name: item.text for item in self.items if item.text and item.counts}

    def with_texts(self, texts: Mapping[str, str]) -> Evidence:
        """The evidence with these texts in place of its own; an empty one leaves the field out.

        Raises ``InvalidEvidenceError``.
        """
        for name, text in texts.items():
            _check_text(name, text)
        items = tuple(
            replace(item, text=texts[item.field.name].strip(), counts=True)
            if item.field.name in texts
            else item
            for item in self.items
        )
        changed = replace(self, items=items)
        length = sum(map(len, changed.texts.values()))
        if length > MAX_TOTAL:
            raise InvalidEvidenceError(
                f"all texts together have {length} characters: Stripe takes {MAX_TOTAL}"
            )
        return changed


def _field(name: str, asks_for: str, source: str = "") -> EvidenceField:
    return EvidenceField(name, asks_for, source)


def _file(name: str, asks_for: str) -> EvidenceField:
    return EvidenceField(name, asks_for, is_file=True)


#: Stripe's fields, in the order in which they are shown.
FIELDS: Final[tuple[EvidenceField, ...]] = (
    _field("customer_name", "the customer's name"),
    _field("customer_email_address", "the customer's mail address"),
    _field("customer_purchase_ip", "the IP address of the purchase", "your shop's log has it"),
    _field("billing_address", "the billing address", "the payment in Stripe's dashboard has it"),
    _field("product_description", "what was sold"),
    _field("shipping_address", "the address to which it was shipped", "no parcel was sent"),
    _field("shipping_date", "when it was handed to the carrier", "no parcel was reported shipped"),
    _field("shipping_carrier", "the carriers' names", "the warehouse does not report it"),
    _field("shipping_tracking_number", "the tracking numbers", "none was reported"),
    _field("service_date", "when the customer received it", "no delivery was reported"),
    _field("refund_refusal_explanation", "why there is no (other) refund", "yours to write"),
    _field(
        "refund_policy_disclosure",
        "how the customer was shown the refund policy before the purchase",
        "your shop's checkout",
    ),
    _field(
        "cancellation_policy_disclosure",
        "how the customer was shown the cancellation policy before the purchase",
        "your shop's checkout",
    ),
    _field("cancellation_rebuttal", "why it was not cancelled", "yours to write"),
    _field(
        "duplicate_charge_id",
        "the charge (ch_…) that this one seems to repeat",
        "the customer's other payment in Stripe's dashboard",
    ),
    _field("duplicate_charge_explanation", "how the two charges differ", "yours to write"),
    _field("access_activity_log", "logs of a digital product's use", "your shop's log"),
    _field("uncategorized_text", "anything else: here a dated chronicle of the order"),
    _file("receipt", "the receipt, or a message about the charge"),
    _file("customer_communication", "mails that show that the customer has, or wanted, the goods"),
    _file("customer_signature", "a document with the customer's signature"),
    _file("shipping_documentation", "the label or receipt of the shipment, with the full address"),
    _file("service_documentation", "proof that a service was provided"),
    _file("refund_policy", "the refund policy as the customer saw it"),
    _file("cancellation_policy", "the cancellation policy as the customer saw it"),
    _file("duplicate_charge_documentation", "a receipt or label of the other charge"),
    _file("uncategorized_file", "anything else"),
)
_BY_NAME: Final = {field.name: field for field in FIELDS}

_ALWAYS: Final = (
    "customer_name",
    "customer_email_address",
    "product_description",
    "customer_communication",
    "receipt",
    "uncategorized_text",
)
_SHIPPING: Final = (
    "shipping_address",
    "shipping_date",
    "shipping_carrier",
    "shipping_tracking_number",
    "service_date",
    "shipping_documentation",
)
_REFUND: Final = ("refund_policy", "refund_policy_disclosure", "refund_refusal_explanation")
_IDENTITY: Final = ("billing_address", "customer_purchase_ip", "customer_signature")
_DUPLICATE: Final = (
    "duplicate_charge_id",
    "duplicate_charge_explanation",
    "duplicate_charge_documentation",
)
_CANCELLATION: Final = (
    "cancellation_policy",
    "cancellation_policy_disclosure",
    "cancellation_rebuttal",
)
#: What counts for a reason, besides ``_ALWAYS``; for every other reason ``_GENERAL`` does.
_BY_REASON: Final[Mapping[str, tuple[str, ...]]] = {
    "credit_not_processed": (*_REFUND, *_SHIPPING),
    "duplicate": (*_DUPLICATE, *_SHIPPING),
    "fraudulent": (*_IDENTITY, *_SHIPPING),
    "product_not_received": _SHIPPING,
    "product_unacceptable": (*_REFUND, *_SHIPPING),
    "subscription_canceled": (*_CANCELLATION, *_SHIPPING),
    "unrecognized": (*_IDENTITY, *_SHIPPING),
}
_GENERAL: Final = (*_REFUND, *_SHIPPING, "uncategorized_file")


def evidence_for(view: OrderView, dispute: Dispute) -> Evidence:
    """The evidence that the order gives for the dispute."""
    counted = {*_ALWAYS, *_BY_REASON.get(dispute.reason, _GENERAL)}
    known = _known_texts(view, dispute)
    items = (
        EvidenceItem(field, _cut(known.get(field.name, "")), field.name in counted)
        for field in FIELDS
    )
    return Evidence(dispute, view.order.id, tuple(items))


def refusal_of(dispute: Dispute) -> str:
    """Why the dispute takes no evidence, now or any more; empty when it does."""
    if not dispute.is_open:
        return f"dispute {dispute.dispute_id} is over, it is {dispute.status}: it takes no evidence"
    if not dispute.needs_response:
        return (
            f"dispute {dispute.dispute_id} was answered already, it is {dispute.status}: evidence "
            "is sent once, and the bank decides now"
        )
    return ""


def _check_text(name: str, text: str) -> None:
    field = _BY_NAME.get(name)
    if field is None:
        names = ", ".join(one.name for one in FIELDS if not one.is_file)
        raise InvalidEvidenceError(f"{name!r} is no field of Stripe's evidence; there are {names}")
    if field.is_file:
        raise InvalidEvidenceError(
            f"{name} takes a file: upload it in Stripe's dashboard, this sends texts only"
        )
    if len(text) > MAX_FIELD:
        raise InvalidEvidenceError(
            f"{name} has {len(text)} characters: Stripe takes {MAX_FIELD} in a field"
        )
    if "\0" in text or any("\ud800" <= character <= "\udfff" for character in text):
        raise InvalidEvidenceError(f"{name} holds characters that are no text")


# -- what is known ---------------------------------------------------------------------------------


def _known_texts(view: OrderView, dispute: Dispute) -> dict[str, str]:
    order = view.order
    recipient = order.recipient
    tracking = dict.fromkeys(parcel.tracking for parcel in view.parcels if parcel.tracking)
    return {
        "customer_name": recipient.name,
        "customer_email_address": recipient.email,
        "product_description": _lines(view),
        "shipping_address": f"{recipient.name}\n{recipient.address}" if view.parcels else "",
        "shipping_date": _dates(view, "parcel_shipped"),
        "shipping_tracking_number": ", ".join(tracking),
        "service_date": _dates(view, "parcel_delivered") if _all_delivered(view) else "",
        "refund_refusal_explanation": _refund_sentence(view),
        "uncategorized_text": _chronicle(view, dispute),
    }


def _lines(view: OrderView) -> str:
    return "\n".join(
        f"{line.quantity} x {line.name} ({line.sku}) at {line.unit_price}: {line.price}"
        for line in view.order.lines
    )


def _all_delivered(view: OrderView) -> bool:
    return all(parcel.status == ParcelStatus.DELIVERED for parcel in view.parcels)


def _dates(view: OrderView, event: str) -> str:
    """The days on which it happened, each once."""
    days = dict.fromkeys(_day(line.at) for line in view.history if line.event == event)
    return ", ".join(days)


def _refund_sentence(view: OrderView) -> str:
    """What was given back, if anything was."""
    amount = view.order.total
    given_back = total((payment.refunded for payment in view.payments), amount.currency)
    if not given_back:
        return ""
    told = [
        f"{_day(line.at)}: {_event_text(line)}."
        for line in view.history
        if line.event in _REFUND_EVENTS
    ]
    return " ".join([f"{given_back} of {amount} was refunded.", *told])


# -- the chronicle ---------------------------------------------------------------------------------

#: What became of a mail, by the ending of its event.
_MAIL_OUTCOMES: Final = {
    "_mailed": "was sent to",
    "_mail_refused": "could not be sent to",
    "_mail_bounced": "came back from",
    "_mail_failed": "could not be delivered to",
    "_mail_suppressed": "could not be delivered to",
}
#: Mails to people of the shop.
_INTERNAL: Final = ("approval_reminder", "refund_approval_reminder", "dispute_reminder")


def _chronicle(view: OrderView, dispute: Dispute) -> str:
    """What happened to the order, a dated line each; events inside the shop are left out."""
    order = view.order
    head = [
        f"Order {order.id}, paid with {dispute.payment_id}: {order.total}. "
        f"Disputed: {dispute.amount}.",
        "All times are UTC.",
    ]
    lines = [
        f"{_moment(line.at)}: {text}."
        for line in view.history
        if (text := _event_text(line, order.recipient.email))
    ]
    return _joined([*head, *lines])


def _event_text(line: HistoryLine, email: str = "") -> str:
    """The event as a bank should read it; empty for one that says nothing to a bank."""
    told = _EVENTS.get(line.event)
    if told is not None:
        return told(line.detail)
    for ending, outcome in _MAIL_OUTCOMES.items():
        kind = line.event.removesuffix(ending)
        if kind != line.event and not kind.startswith(_INTERNAL):
            return f"the {_mail_name(kind)} mail {outcome} {email}"
    return ""


def _mail_name(kind: str) -> str:
    """``shipped-P1`` becomes "shipped (P1)"."""
    name, dash, about = kind.partition("-")
    name = name.replace("_", " ")
    return f"{name} ({about})" if dash else name


def _tracked(detail: Mapping[str, str]) -> str:
    tracking = detail.get("tracking", "")
    return f", tracking number {tracking}" if tracking else ""


def _parcel(detail: Mapping[str, str]) -> str:
    return f"parcel {detail.get('parcel_id', '')}".strip()


def _amount(detail: Mapping[str, str]) -> str:
    return detail.get("amount", "the money")


_EVENTS: Final[Mapping[str, Callable[[Mapping[str, str]], str]]] = {
    "order_placed": lambda detail: f"the order was placed, {detail.get('total', '')}".rstrip(", "),
    "payment_needs_customer": lambda _: (
        "the bank asked the customer to confirm the payment (3-D Secure)"
    ),
    "payment_held": lambda detail: (
        f"the bank authorized the payment {detail.get('charge', '')}".rstrip()
    ),
    "payment_captured": lambda detail: f"the payment was taken {detail.get('charge', '')}".rstrip(),
    "order_fulfilled": lambda _: "the warehouse packed the order",
    "parcel_shipped": lambda detail: f"{_parcel(detail)} was shipped{_tracked(detail)}",
    "parcel_delivered": lambda detail: f"{_parcel(detail)} was delivered{_tracked(detail)}",
    "parcel_lost": lambda detail: f"{_parcel(detail)} was reported lost by the carrier",
    "payment_refunded": lambda detail: f"{_amount(detail)} was refunded to the card",
    "refund_pending": lambda detail: f"a refund of {_amount(detail)} was sent to the card",
    "refund_succeeded": lambda detail: f"a refund of {_amount(detail)} reached the card",
    "refund_failed": lambda detail: f"the bank returned a refund of {_amount(detail)}",
    "refund_settled": lambda detail: f"{_amount(detail)} was given back another way",
    "given_back_by_hand": lambda detail: f"{_amount(detail)} was given back another way",
}


#: The events of money given back.
_REFUND_EVENTS: Final = frozenset(
    {
        "payment_refunded",
        "refund_pending",
        "refund_succeeded",
        "refund_failed",
        "refund_settled",
        "given_back_by_hand",
    }
)


def _moment(at: datetime) -> str:
    return f"{_day(at)}, {at.astimezone(UTC):%H:%M}"


def _day(at: datetime) -> str:
    at = at.astimezone(UTC)
    return f"{at.day} {at:%B %Y}"


def _joined(lines: Iterable[str]) -> str:
    """As many whole lines as a field takes, with a word about the others."""
    return "\n".join(_fitting(list(lines)))


def _fitting(lines: list[str]) -> Iterator[str]:
    length = 0
    for number, line in enumerate(lines):
        left = f"… and {len(lines) - number} more."
        length += len(line) + 1
        if length > MAX_FIELD - len(left) - 1 and number < len(lines) - 1:
            yield left
            return
        yield line


def _cut(text: str) -> str:
    return text if len(text) <= MAX_FIELD else f"{text[: MAX_FIELD - 1]}…"
