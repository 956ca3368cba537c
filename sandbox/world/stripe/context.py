"""What every Stripe operation has at hand while it works inside its transaction."""

from dataclasses import dataclass
from typing import Final

from sandbox.world.faults import Dial
from sandbox.world.state_store import Doc, Ledger, new_id
from sandbox.world.stripe.cards import Card, find_card
from sandbox.world.stripe.errors import missing

API_VERSION: Final = "2026-10-28.endive"

KINDS: Final = {
    "pi": "payment_intent",
    "ch": "charge",
    "re": "refund",
}


@dataclass(frozen=True)
class Till:
    """One operation: the ledger it writes to, its time, the order it is for, a dial it met."""

    ledger: Ledger
    now: int
    url: str
    order_id: str | None = None
    dial: Dial | None = None

    @property
    def refusal(self) -> str | None:
        """The reason a `refuse` dial gives; an empty text when it names none."""
        if self.dial is None or self.dial.mode != "refuse":
            return None
        return self.dial.reason or ""

    def load(self, kind: str, thing_id: str, param: str, *, status: int = 404) -> Doc:
        """An object by id, or Stripe's `resource_missing` (404 for the path, 400 in the body)."""
        found = self.ledger.find(kind, thing_id)
        if found is None:
            raise missing(kind, thing_id, param, status)
        return found

    def card(self, name: str) -> Card:
        card = find_card(name)
        if card is None:
            raise missing("PaymentMethod", name, "payment_method", 400)
        return card

    def tell(self, event: str, thing: Doc) -> None:
        """Record an event ("Types of events") and post it to the webhook endpoint, if one is set.

        The object is a copy as of now, as Stripe sends it; it may be stale when it arrives.
        """
        body = {
            "id": new_id("evt"),
            "object": "event",
            "api_version": API_VERSION,
            "created": self.now,
            "data": {"object": thing},
            "livemode": False,
            "pending_webhooks": 1,
            "request": {"id": None, "idempotency_key": None},
            "type": event,
        }
        self.ledger.add("event", body, order_id=self.order_id, created=self.now)
        if self.ledger.is_told("stripe"):
            self.ledger.post("stripe", body, self.now)
