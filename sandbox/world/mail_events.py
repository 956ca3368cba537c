"""Webhook events about the delivery of a mail (Resend: "Event Types", "Send Test Emails").

Their fields are those of Resend's OpenAPI document (`resend/resend-openapi` on GitHub).

Every mail is delivered, except to the test addresses of the real service: `bounced@resend.dev`,
`complained@resend.dev` and `suppressed@resend.dev`, also with a label (`bounced+1001@resend.dev`).
"""

import re
from datetime import UTC, datetime
from typing import Any, Final

from sandbox.world.state_store import JsonObject, StateStore, new_id

_TEST_ADDRESS: Final = re.compile(r"(bounced|complained|suppressed)(\+[^@]*)?@resend\.dev")
_EVENTS: Final = {
    "bounced": ("sent", "bounced"),
    "complained": ("sent", "delivered", "complained"),
    "suppressed": ("suppressed",),
}
#: What some events say beyond the mail. All of these fields are required in Resend's own schema.
_REASONS: Final[dict[str, JsonObject]] = {
    "bounced": {
        "bounce": {
            "diagnosticCode": ["smtp; 550 5.1.1 user unknown"],
            "message": "The recipient's email provider sent a hard bounce message.",
            "subType": "General",
            "type": "Permanent",
        }
    },
    "suppressed": {
        "suppressed": {
            "diagnosticCode": [],
            "message": "The recipient is on the suppression list.",
            "reason": "previous_bounce",
            "type": "OnAccountSuppressionList",
        }
    },
}


def delivery_events(addresses: list[Any]) -> tuple[str, ...]:
    """The names of the events of a mail to these addresses, in order."""
    for address in addresses:
        if found := _TEST_ADDRESS.search(str(address)):
            return _EVENTS[found[1]]
    return ("sent", "delivered")


def queue_delivery_events(
    store: StateStore, mail: JsonObject, events: tuple[str, ...], now: float
) -> None:
    """Queue the events of the mail for the webhook endpoint, if one is set."""
    if not store.has_webhook("resend"):
        return
    moment = datetime.fromtimestamp(now, UTC).isoformat()
    for event_name in events:
        event = {
            "id": new_id("msg", 27),
            "type": f"email.{event_name}",
            "created_at": moment,
            "data": {
                "created_at": mail["created_at"],
                "email_id": mail["id"],
                "from": mail["from"],
                "message_id": f"<{mail['id']}@resend.dev>",
                "to": mail["to"],
                "subject": mail["subject"],
                "tags": {tag["name"]: tag["value"] for tag in mail["tags"]},
                **_REASONS.get(event_name, {}),
            },
        }
        store.enqueue_webhook("resend", event, now)
