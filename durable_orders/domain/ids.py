"""Ids and idempotency keys: the formats of those that others make, and how ours are made.

Keys name a *business* event (this order's second card), never a Temporal attempt or run: a retry
must find the first try's result, and a second run of the same order the first run's.

Each key begins with a ``prefix``, the name of the installation that placed the order: others may
use the same account of a provider, and have an order of the same id. An order's prefix is fixed
when it is placed (``Order.key_prefix``).
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Final

from durable_orders.domain.texts import CONTROL, UNSEEN, InvalidTextError, TextFormat

TASK_QUEUE: Final = "orders"

_WORKFLOW_PREFIX: Final = "order-"
_REFUND_PREFIX: Final = "refund-"
_PAYMENT_RISK_PREFIX: Final = "payment-risk-"
_PARCEL_REFUND_PREFIX: Final = "parcel."
#: Id of the refund of what the warehouse was short of.
SHORT_REFUND_ID: Final = "short"
_EXAMINATION_PREFIX: Final = "examine-"
#: Id of the refund that undoes an order: each order has one at most, and a shop cannot request it.
UNDO_REFUND_ID: Final = "undo"
_REFUND_KEY: Final = re.compile(r"[a-z0-9]+:order-([^:]+):refund:([^:]+):[0-9]+")
_UNDO_REFUND_KEY: Final = re.compile(r"[a-z0-9]+:order-([^:]+):charge:[^:]+:undo(?::[0-9]+)?")
_REFERENCE: Final = re.compile(r"([a-z0-9]+)-(.+)")
#: What every provider takes in a header: Stripe 255 characters at most, Resend 256.
_KEY: Final = re.compile(r"[\x21-\x7e]{1,255}")
_PLAIN_REFUND_ID: Final = re.compile(r"[A-Za-z0-9._]{1,50}")


class InvalidOrderIdError(InvalidTextError):
    """The text cannot be an order id."""


class InvalidRefundIdError(InvalidTextError):
    """The text cannot be a refund id."""


ORDER_ID: Final = TextFormat(
    "an order id",
    "1 to 64 letters, digits, dots, dashes or underscores, starting with a letter or digit",
    r"[A-Za-z0-9][A-Za-z0-9._-]*",
    max_length=64,
    error=InvalidOrderIdError,
)
# No dash: the last one in ``refund-{order}-{refund}`` is where the order's id ends.
REFUND_ID: Final = TextFormat(
    "a refund id",
    "1 to 64 letters, digits, dots or underscores, starting with a letter or digit",
    r"[A-Za-z0-9][A-Za-z0-9._]*",
    max_length=64,
    error=InvalidRefundIdError,
)
# An id is bounded, on one line, and holds nothing that controls a terminal or is not seen, which
# only makes two look alike.
_UNSHOWN: Final = rf"{CONTROL}{UNSEEN}"


def _has_no_tags(text: str) -> bool:
    """Whether it holds none of Unicode's tags, which no pattern of JSON Schema can name."""
    return not any("\U000e0000" <= character <= "\U000e0fff" for character in text)


#: ``auth0|5f7c8ec7``, ``gid://shopify/Customer/7``, ``C 1042``. No mail address: Temporal keeps it
#: in plain text, in a search attribute, which takes 255 characters.
CUSTOMER_ID: Final = TextFormat(
    "a customer id",
    "1 to 255 characters, all of them visible, without @ or spaces at either end",
    rf"[^\s@{_UNSHOWN}](?:[^@{_UNSHOWN}]*[^\s@{_UNSHOWN}])?",
    max_length=255,
    is_good=_has_no_tags,
)
#: ``MUG``, ``T SHIRT (L)``, ``4006381333931``.
SKU: Final = TextFormat(
    "a SKU",
    "1 to 128 characters, all of them visible, without spaces at either end",
    rf"[^\s{_UNSHOWN}](?:[^{_UNSHOWN}]*[^\s{_UNSHOWN}])?",
    max_length=128,
    is_good=_has_no_tags,
)
#: An account id or a role, never a person's name: it is kept in workflow history.
ACTOR_ID: Final = TextFormat(
    "an account id or a role",
    "1 to 128 characters without spaces or @, all of them visible",
    rf"[^\s@{_UNSHOWN}]+",
    max_length=128,
    is_good=_has_no_tags,
)
#: The same; empty for nobody.
ACTOR: Final = replace(ACTOR_ID, pattern=rf"(?:{ACTOR_ID.pattern})?", min_length=0)
#: The card provider's token. A card number does not match, and is repeated nowhere.
PAYMENT_METHOD: Final = TextFormat(
    "a payment method",
    "the card provider's token, pm_ and letters, digits or underscores; never a card number",
    r"pm_[A-Za-z0-9_]+",
    max_length=253,
    is_private=True,
)
#: The card provider's id of a customer, for their saved cards: not the shop's ``CUSTOMER_ID``.
CARD_CUSTOMER: Final = TextFormat(
    "a customer id of the card provider",
    "cus_ and letters, digits or underscores; your own id of them is customer_id",
    r"cus_[A-Za-z0-9_]+",
    max_length=255,
)
IDEMPOTENCY_KEY: Final = TextFormat(
    "an idempotency key", "1 to 255 visible ASCII characters", r"[\x21-\x7e]+", max_length=255
)
# Ids that others give. Their alphabet is theirs, and may change: what they hold is not looked into.
# They are stored, logged, shown, and sent back. An answer with another one is no answer.
_OTHERS_ID: Final = rf"[^{_UNSHOWN}]*[^\s{_UNSHOWN}][^{_UNSHOWN}]*"
_OTHERS_RULE: Final = "1 to 255 characters on one line, all of them visible"
#: Part of an idempotency key, a URL and a search: no colon, slash, quote or space.
_PLAIN: Final = r"[A-Za-z0-9][A-Za-z0-9_.~-]*"
_PLAIN_RULE: Final = "1 to 255 letters, digits, dots, dashes or underscores"


def _others_id(noun: str) -> TextFormat:
    return TextFormat(noun, _OTHERS_RULE, _OTHERS_ID, max_length=255, is_good=_has_no_tags)


def _token(noun: str) -> TextFormat:
    return TextFormat(noun, _PLAIN_RULE, _PLAIN, max_length=255)


#: As the warehouse names it.
FULFILLMENT_ID: Final = _others_id("a fulfillment id")
#: The same. ``.`` and ``..`` would lead to another path of its API.
PARCEL_ID: Final = TextFormat(
    "a parcel id",
    _OTHERS_RULE,
    rf"(?!\.\.?$)(?:{_OTHERS_ID})",
    max_length=255,
    is_good=_has_no_tags,
)
#: As the carrier writes it, ``AB 1234 5678 9GB``; empty when there is none.
TRACKING: Final = TextFormat(
    "a tracking reference",
    "at most 255 characters on one line, all of them visible",
    rf"[^{_UNSHOWN}]*",
    min_length=0,
    max_length=255,
    is_good=_has_no_tags,
)
#: The card provider's, Stripe's: ``pi_…``, ``ch_…`` or ``py_…``, ``re_…`` or ``pyr_…``, ``du_…`` or
#: ``dp_…``, ``issfr_…``, ``prv_…``. Their beginnings are not looked at: there have been new ones.
PAYMENT_ID: Final = _token("a payment id")
CHARGE_ID: Final = _token("a charge id")
CARD_REFUND_ID: Final = _token("an id of a card refund")
DISPUTE_ID: Final = _token("a dispute id")
WARNING_ID: Final = _token("an id of an early fraud warning")
REVIEW_ID: Final = _token("a review id")
#: What a browser needs to finish a payment, ``pi_…_secret_…``. It is a secret: repeated nowhere.
CLIENT_SECRET: Final = TextFormat(
    "a client secret",
    "1 to 255 visible ASCII characters",
    r"[\x21-\x7e]+",
    max_length=255,
    is_private=True,
)
#: The mail service's id of a mail.
MAIL_ID: Final = _token("a mail id")
#: The id of a webhook's event, of each service.
EVENT_ID: Final = TextFormat(
    "an event id", "1 to 255 visible ASCII characters", r"[\x21-\x7e]+", max_length=255
)
#: The id of a request, for finding it in a log.
REQUEST_ID: Final = TextFormat(
    "a request id", "1 to 255 visible ASCII characters", r"[\x21-\x7e]+", max_length=255
)


def checked_order_id(order_id: str) -> str:
    """Return ``order_id``, or raise ``InvalidOrderIdError``."""
    return ORDER_ID.check(order_id)


def checked_refund_id(refund_id: str) -> str:
    """Return ``refund_id``, or raise ``InvalidRefundIdError``."""
    return REFUND_ID.check(refund_id)


def workflow_id(order_id: str) -> str:
    """Workflow id of an order: one order, one workflow."""
    return f"{_WORKFLOW_PREFIX}{checked_order_id(order_id)}"


def refund_workflow_id(order_id: str, refund_id: str) -> str:
    """Workflow id of a refund: one refund, one open run at a time."""
    return f"{_REFUND_PREFIX}{checked_order_id(order_id)}-{checked_refund_id(refund_id)}"


def payment_risk_workflow_id(order_id: str) -> str:
    """Workflow id of the run that follows what is disputed of an order's payment."""
    return f"{_PAYMENT_RISK_PREFIX}{checked_order_id(order_id)}"


def examination_workflow_id(order_id: str) -> str:
    """Workflow id of the run that examines one order by the audit's rules."""
    return f"{_EXAMINATION_PREFIX}{checked_order_id(order_id)}"


def payment_risk_of(workflow_id: str) -> str | None:
    """Order id in the workflow id of ``payment_risk_workflow_id``; None for any other workflow."""
    order_id = workflow_id.removeprefix(_PAYMENT_RISK_PREFIX)
    is_risk = order_id != workflow_id and ORDER_ID.matches(order_id)
    return order_id if is_risk else None


def refund_of(workflow_id: str) -> tuple[str, str] | None:
    """Order id and refund id in the workflow id of a refund; None for any other workflow."""
    order_id, _, refund_id = workflow_id.removeprefix(_REFUND_PREFIX).rpartition("-")
    is_refund = workflow_id.startswith(_REFUND_PREFIX) and ORDER_ID.matches(order_id)
    return (order_id, refund_id) if is_refund and REFUND_ID.matches(refund_id) else None


def order_id_of(workflow_id: str) -> str | None:
    """Order id in the workflow id of an order or a refund; None for any other workflow."""
    if refund := refund_of(workflow_id):
        return refund[0]
    order_id = workflow_id.removeprefix(_WORKFLOW_PREFIX)
    is_order = order_id != workflow_id and ORDER_ID.matches(order_id)
    return order_id if is_order else None


def payment_key(prefix: str, order_id: str) -> str:
    """Idempotency key of creating this order's charge."""
    return _key(prefix, order_id, "payment")


def charge_key(prefix: str, order_id: str, number: int) -> str:
    """Idempotency key of try ``number`` (from 1) to charge this order."""
    return _key(prefix, order_id, f"charge:{number}")


def capture_key(prefix: str, order_id: str, payment_id: str) -> str:
    """Idempotency key of capturing what this charge holds."""
    return _key(prefix, order_id, f"charge:{payment_id}:capture")


def undo_refund_key(prefix: str, order_id: str, payment_id: str, attempt: int = 1) -> str:
    """Idempotency key of one attempt to refund what is left of this charge when the order is
    undone: of the refund ``UNDO_REFUND_ID``.
    """
    again = "" if attempt == 1 else f":{attempt}"
    return _key(prefix, order_id, f"charge:{payment_id}:undo{again}")


def refund_key(prefix: str, order_id: str, refund_id: str, attempt: int = 1) -> str:
    """Idempotency key of one attempt of a refund. A new ``attempt`` follows only on one that failed
    at the bank.
    """
    return _key(prefix, order_id, f"refund:{refund_id}:{attempt}")


def refund_of_key(key: str) -> tuple[str, str] | None:
    """Order id and refund id in a key of ``refund_key`` or ``undo_refund_key``; None for any other
    text.
    """
    if undo := _UNDO_REFUND_KEY.fullmatch(key):
        return (undo[1], UNDO_REFUND_ID) if ORDER_ID.matches(undo[1]) else None
    match = _REFUND_KEY.fullmatch(key)
    is_ours = match and ORDER_ID.matches(match[1]) and REFUND_ID.matches(match[2])
    return (match[1], match[2]) if match and is_ours else None


def evidence_key(
    prefix: str, order_id: str, dispute_id: str, texts: Mapping[str, str], *, submit: bool
) -> str:
    """Idempotency key of sending these texts as a dispute's evidence, or only of saving them."""
    digest = _digest("\n".join(f"{name}={text!r}" for name, text in sorted(texts.items())))[:16]
    return _key(prefix, order_id, f"{dispute_id}:{'submit' if submit else 'save'}:{digest}")


def fulfillment_key(prefix: str, order_id: str) -> str:
    """Idempotency key of asking the warehouse to ship this order."""
    return _key(prefix, order_id, "fulfillment")


def warehouse_reference(prefix: str, order_id: str) -> str:
    """The order's id at the warehouse, which ships for other installations too."""
    return f"{prefix}-{order_id}"


def order_of_reference(reference: str) -> tuple[str, str] | None:
    """Prefix and order id in a reference of ``warehouse_reference``; None for any other text."""
    match = _REFERENCE.fullmatch(reference)
    return (match[1], match[2]) if match and ORDER_ID.matches(match[2]) else None


def parcel_refund_id(parcel_id: str) -> str:
    """Refund id for one parcel's contents: the parcel's id, or what a refund id can have of it and
    a digest, so that no two parcels share one.
    """
    return f"{_PARCEL_REFUND_PREFIX}{_within_refund_id(parcel_id)}"


def _within_refund_id(id_: str) -> str:
    """An id of others as a part of a refund id of ours."""
    if _PLAIN_REFUND_ID.fullmatch(id_):
        return id_
    return f"{re.sub(r'[^A-Za-z0-9._]', '_', id_)[:32]}.{_digest(id_)[:16]}"


def is_orders_own_refund(refund_id: str) -> bool:
    """Whether this is the id of a refund that an order starts by itself: a shop's has another."""
    return refund_id == SHORT_REFUND_ID or refund_id.startswith(_PARCEL_REFUND_PREFIX)


def warning_refund_id(warning_id: str) -> str:
    """Refund id for the refund that an early fraud warning (``issfr_…``) brings about: its own id,
    so that a person and the run that follows it ask for the same refund.
    """
    return checked_refund_id(_within_refund_id(warning_id))


def won_refund_id(dispute_id: str) -> str:
    """Refund id for what a dispute (``du_…``) put back that was won after the order was undone."""
    return checked_refund_id(f"won.{_within_refund_id(dispute_id)}")


def resend_key(prefix: str, order_id: str, parcel_id: str) -> str:
    """Idempotency key of resending one parcel's contents."""
    return _key(prefix, order_id, f"fulfillment:resend:{parcel_id}")


def mail_key(prefix: str, order_id: str, kind: str) -> str:
    """Idempotency key of the one email of this ``kind`` about an order."""
    return _key(prefix, order_id, f"mail:{kind}")


def _key(prefix: str, order_id: str, event: str) -> str:
    """The key of an event of this order. One that is too long, or not visible ASCII, becomes what a
    key can have of it and a digest of it all, so that no two events share one.
    """
    key = f"{prefix}:order-{order_id}:{event}"
    if _KEY.fullmatch(key):
        return key
    visible = re.sub(r"[^\x21-\x7e]", "_", key)
    return f"{visible[:190]}:{_digest(key)}"


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


@dataclass(frozen=True)
class IdempotencyKey:
    """Idempotency key of a request (``Idempotency-Key``). It belongs to the shop, not to the API
    key it came with: a request sent again after the API key was replaced is the same request.

    Raises ``InvalidTextError`` for a text that is not visible ASCII.
    """

    text: str

    def __post_init__(self) -> None:
        IDEMPOTENCY_KEY.check(self.text)

    @property
    def derived_id(self) -> str:
        """The id that this request's order or refund gets if the caller gives none: always the
        same one for the same key, and valid as either.
        """
        return f"k{_digest(self.text)[:31]}"


class IdempotencyKeyReusedError(Exception):
    """The key was used for a request with other contents; nothing was changed."""

    def __init__(self, key: IdempotencyKey) -> None:
        super().__init__(
            f"the key {key.text!r} was sent before with other contents: send the same again, or "
            "take a new key for a new order"
        )
