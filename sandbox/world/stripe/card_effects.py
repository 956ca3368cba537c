"""What a test card brings about after its charge: a dispute, a warning, a review."""

from sandbox.world.state_store import JsonObject
from sandbox.world.stripe.cards import card_of
from sandbox.world.stripe.context import OperationContext
from sandbox.world.stripe.disputes import open_dispute
from sandbox.world.stripe.radar import add_warning, open_review


def apply_card_effects(context: OperationContext, intent: JsonObject, charge: JsonObject) -> None:
    """Put a risky charge into review; dispute or report one that took money."""
    card = card_of(context.load("payment_method", charge["payment_method"], "payment_method"))
    if card.risk == "elevated" and intent["review"] is None:
        open_review(context, intent, charge)
    if not charge["captured"]:
        return
    if card.is_reported:
        add_warning(context, charge)
    for reason in card.disputes:
        is_inquiry = reason == "inquiry"
        amount = charge["amount_captured"] // len(card.disputes)
        open_dispute(
            context,
            charge,
            "fraudulent" if is_inquiry else reason,
            amount=amount,
            is_inquiry=is_inquiry,
        )
