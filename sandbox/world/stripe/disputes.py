"""Disputes: inquiries, chargebacks, evidence ("Disputes" in the API reference, "Testing").

    inquiry     warning_needs_response → warning_under_review → warning_closed, or it is escalated
    chargeback  needs_response → under_review → won or lost

An inquiry moves no money. A chargeback takes the amount and a fee at once; the amount comes back
when it is won. A dispute carries no metadata of the payment: it is found by `payment_intent`. The
charge and its refunds stay as they were, except for `disputed`.
"""

from typing import Final

from sandbox.world.state_store import JsonObject, new_id
from sandbox.world.stripe.cards import card_of
from sandbox.world.stripe.context import OperationContext
from sandbox.world.stripe.errors import not_possible
from sandbox.world.stripe.parameters import EXPAND, PAGE, ParameterSchema
from sandbox.world.stripe.radar import close_review, settle_warnings

REASONS: Final = (
    "credit_not_processed",
    "duplicate",
    "fraudulent",
    "general",
    "noncompliant",
    "product_not_received",
    "product_unacceptable",
    "subscription_canceled",
    "unrecognized",
)

_EVIDENCE: Final = (
    "access_activity_log",
    "billing_address",
    "cancellation_policy",
    "cancellation_policy_disclosure",
    "cancellation_rebuttal",
    "customer_communication",
    "customer_email_address",
    "customer_name",
    "customer_purchase_ip",
    "customer_signature",
    "duplicate_charge_documentation",
    "duplicate_charge_explanation",
    "duplicate_charge_id",
    "product_description",
    "receipt",
    "refund_policy",
    "refund_policy_disclosure",
    "refund_refusal_explanation",
    "service_date",
    "service_documentation",
    "shipping_address",
    "shipping_carrier",
    "shipping_date",
    "shipping_documentation",
    "shipping_tracking_number",
    "uncategorized_file",
    "uncategorized_text",
)
UPDATE: Final[ParameterSchema] = {
    **EXPAND,
    "evidence": dict.fromkeys(_EVIDENCE, "text"),
    "metadata": "map",
    "submit": "boolean",
}
LIST: Final[ParameterSchema] = {**PAGE, "charge": "text", "payment_intent": "text"}

RESPONSE_SECONDS: Final = 9 * 24 * 3600
FEE: Final = 1500
"""In the smallest unit of the dispute's currency; what it really is depends on the country."""

_OPEN: Final = {"warning_needs_response", "warning_under_review", "needs_response", "under_review"}
_NETWORK_CODES: Final = {"fraudulent": "10.4", "product_not_received": "13.1"}


def open_dispute(
    context: OperationContext,
    charge: JsonObject,
    reason: str,
    *,
    amount: int,
    is_inquiry: bool = False,
    due_in: int = RESPONSE_SECONDS,
) -> JsonObject:
    """Open an inquiry or a chargeback over a captured charge; evidence is due in ``due_in`` s."""
    network_code = "10" if is_inquiry else _NETWORK_CODES.get(reason)
    card = card_of(context.load("payment_method", charge["payment_method"], "payment_method"))
    dispute: JsonObject = {
        "id": new_id("du"),
        "object": "dispute",
        "amount": amount,
        "balance_transactions": [],
        "charge": charge["id"],
        "created": context.now,
        "currency": charge["currency"],
        "enhanced_eligibility_types": [],
        "evidence": dict.fromkeys(_EVIDENCE) | {"enhanced_evidence": {}},
        "evidence_details": {
            "due_by": context.now + due_in,
            "enhanced_eligibility": {},
            "has_evidence": False,
            "past_due": False,
            "submission_count": 0,
        },
        "is_charge_refundable": is_inquiry,
        "livemode": False,
        "metadata": {},
        "network_reason_code": network_code,
        "payment_intent": charge["payment_intent"],
        "payment_method_details": {
            "card": {
                "brand": card.brand,
                "case_type": "inquiry" if is_inquiry else "chargeback",
                "network_reason_code": network_code,
            },
            "type": "card",
        },
        "reason": reason,
        "status": "warning_needs_response" if is_inquiry else "needs_response",
    }
    context.store.add(
        "dispute",
        dispute,
        order_id=context.order_id,
        created=context.now,
        parent=charge["payment_intent"],
    )
    charge["disputed"] = True
    context.store.save("charge", charge)
    context.emit("charge.dispute.created", dispute)
    if not is_inquiry:
        _withdraw_funds(context, dispute)
        settle_warnings(context, charge)
    close_review(context, charge, "disputed")
    return dispute


def update_dispute(
    context: OperationContext, dispute: JsonObject, params: JsonObject
) -> JsonObject:
    """Stage or submit evidence; some texts decide the dispute ("Testing", "Evidence")."""
    _expect_open(dispute)
    dispute["evidence"] |= params.get("evidence", {})
    dispute["metadata"] |= params.get("metadata", {})
    details = dispute["evidence_details"]
    details["has_evidence"] = any(dispute["evidence"][name] for name in _EVIDENCE)
    if "evidence" in params and params.get("submit", True):
        details["submission_count"] += 1
        is_inquiry = dispute["status"].startswith("warning")
        dispute["status"] = "warning_under_review" if is_inquiry else "under_review"
    context.store.save("dispute", dispute)
    context.emit("charge.dispute.updated", dispute)
    match dispute["evidence"]["uncategorized_text"] if params.get("submit", True) else None:
        case "winning_evidence":
            return win_dispute(context, dispute)
        case "losing_evidence":
            return lose_dispute(context, dispute)
        case "escalate_inquiry_evidence":
            return escalate_inquiry(context, dispute)
    return dispute


def win_dispute(context: OperationContext, dispute: JsonObject) -> JsonObject:
    """The bank decides for the shop, or the cardholder withdraws: the amount comes back."""
    _expect_open(dispute)
    if dispute["status"].startswith("warning"):
        return _close(context, dispute, "warning_closed")
    _book(dispute, context.now, dispute["amount"], fee=0, category="dispute_reversal")
    dispute["is_charge_refundable"] = True
    context.store.save("dispute", dispute)
    context.emit("charge.dispute.funds_reinstated", dispute)
    return _close(context, dispute, "won")


def lose_dispute(context: OperationContext, dispute: JsonObject) -> JsonObject:
    """The bank decides for the cardholder, or the shop accepts; an inquiry just ends."""
    _expect_open(dispute)
    is_inquiry = dispute["status"].startswith("warning")
    return _close(context, dispute, "warning_closed" if is_inquiry else "lost")


def escalate_inquiry(context: OperationContext, dispute: JsonObject) -> JsonObject:
    """Make a chargeback of an inquiry: now it takes the money."""
    if not dispute["status"].startswith("warning") or dispute["status"] not in _OPEN:
        raise not_possible(f"The dispute {dispute['id']} is no open inquiry.")
    dispute |= {"status": "needs_response", "is_charge_refundable": False}
    dispute["payment_method_details"]["card"]["case_type"] = "chargeback"
    context.store.save("dispute", dispute)
    context.emit("charge.dispute.updated", dispute)
    _withdraw_funds(context, dispute)
    return dispute


def close_inquiries(context: OperationContext, charge: JsonObject) -> None:
    """End the inquiries about a charge that was fully refunded."""
    for dispute in context.store.children("dispute", charge["payment_intent"]):
        is_open = dispute["status"] in {"warning_needs_response", "warning_under_review"}
        if dispute["charge"] == charge["id"] and is_open:
            _close(context, dispute, "warning_closed")


def blocks_refunds(context: OperationContext, charge: JsonObject) -> bool:
    """Whether a chargeback over the charge stands in the way of a refund."""
    return any(
        dispute["charge"] == charge["id"] and not dispute["is_charge_refundable"]
        for dispute in context.store.children("dispute", charge["payment_intent"])
    )


def _withdraw_funds(context: OperationContext, dispute: JsonObject) -> None:
    _book(dispute, context.now, -dispute["amount"], fee=FEE, category="dispute")
    context.store.save("dispute", dispute)
    context.emit("charge.dispute.funds_withdrawn", dispute)


def _book(dispute: JsonObject, now: int, amount: int, *, fee: int, category: str) -> None:
    fees = [] if not fee else [_fee(dispute["currency"], fee)]
    transaction: JsonObject = {
        "id": new_id("txn"),
        "object": "balance_transaction",
        "amount": amount,
        "available_on": now,
        "balance_type": "payments",
        "created": now,
        "currency": dispute["currency"],
        "description": f"Chargeback {'withdrawal' if amount < 0 else 'reversal'} for "
        f"{dispute['charge']}",
        "exchange_rate": None,
        "fee": fee,
        "fee_details": fees,
        "net": amount - fee,
        "reporting_category": category,
        "source": dispute["id"],
        "status": "available",
        "type": "adjustment",
    }
    dispute["balance_transactions"] = [*dispute["balance_transactions"], transaction]


def _fee(currency: str, amount: int) -> JsonObject:
    return {
        "amount": amount,
        "application": None,
        "currency": currency,
        "description": "Dispute fee",
        "type": "stripe_fee",
    }


def _close(context: OperationContext, dispute: JsonObject, status: str) -> JsonObject:
    dispute["status"] = status
    context.store.save("dispute", dispute)
    context.emit("charge.dispute.closed", dispute)
    return dispute


def _expect_open(dispute: JsonObject) -> None:
    if dispute["status"] not in _OPEN:
        raise not_possible(f"This dispute is already closed: it is {dispute['status']}.")
