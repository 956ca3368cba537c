"""The context of a Stripe operation inside its transaction."""

from dataclasses import dataclass
from typing import Final

from sandbox.world.faults import Fault
from sandbox.world.state_store import JsonObject, StateStore, new_id
from sandbox.world.stripe.errors import missing

API_VERSION: Final = "2026-10-28.endive"

KINDS: Final = {
    "pi": "payment_intent",
    "ch": "charge",
    "re": "refund",
    "pm": "payment_method",
    "cus": "customer",
    "du": "dispute",
    "issfr": "early_fraud_warning",
    "prv": "review",
}
"""What is stored, by the prefix of its id."""


@dataclass(frozen=True)
class OperationContext:
    """The store that the operation writes to, its time, base URL, order and fault."""

    store: StateStore
    now: int
    url: str
    order_id: str | None = None
    fault: Fault | None = None

    @property
    def refusal(self) -> str | None:
        """The reason of a `refuse` fault, empty when it has none; None without such a fault."""
        if self.fault is None or self.fault.mode != "refuse":
            return None
        return self.fault.reason or ""

    def load(self, kind: str, object_id: str, param: str, *, status: int = 404) -> JsonObject:
        """An object by id, or Stripe's `resource_missing` (404 for the path, 400 in the body)."""
        found = self.store.find(kind, object_id)
        if found is None:
            raise missing(kind, object_id, param, status)
        return found

    def emit(self, event: str, stored: JsonObject) -> None:
        """Store an event ("Types of events") and queue its webhook, if an endpoint is set.

        As with Stripe, the event has a copy of the object, which may be stale on delivery.
        """
        body = {
            "id": new_id("evt"),
            "object": "event",
            "api_version": API_VERSION,
            "created": self.now,
            "data": {"object": stored},
            "livemode": False,
            "pending_webhooks": 1,
            "request": {"id": None, "idempotency_key": None},
            "type": event,
        }
        self.store.add("event", body, order_id=self.order_id, created=self.now)
        if self.store.has_webhook("stripe"):
            self.store.enqueue_webhook("stripe", body, self.now)
