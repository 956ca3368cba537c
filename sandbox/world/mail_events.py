"""What becomes of a mail that was accepted, told by webhook ("Event Types", "Send Test Emails").

Every mail is delivered but those to the test addresses of the real service: `bounced@resend.dev`,
`complained@resend.dev` and `suppressed@resend.dev`, also with a label (`bounced+1001@resend.dev`).
"""

import re
from datetime import UTC, datetime
from typing import Any, Final

from sandbox.world.state_store import Doc, Ledger, new_id

_TEST_ADDRESS: Final = re.compile(r"(bounced|complained|suppressed)(\+[^@]*)?@resend\.dev")
_FATES: Final = {
    "bounced": ("sent", "bounced"),
    "complained": ("sent", "delivered", "complained"),
    "suppressed": ("suppressed",),
}
_REASONS: Final[dict[str, Doc]] = {
    "bounced": {
        "bounce": {
            "message": "The recipient's email provider sent a hard bounce message.",
            "subType": "General",
            "type": "Permanent",
        }
    },
    "suppressed": {
        "suppressed": {
            "message": "The recipient is on the suppression list.",
            "type": "OnAccountSuppressionList",
        }
    },
}


def fates_of(addresses: list[Any]) -> tuple[str, ...]:
    """What happens to a mail to these addresses, in order."""
    for address in addresses:
        if found := _TEST_ADDRESS.search(str(address)):
            return _FATES[found[1]]
    return ("sent", "delivered")


def tell_fates(ledger: Ledger, mail: Doc, fates: tuple[str, ...], now: float) -> None:
    """Post what happens to the mail to the webhook endpoint, if one is set."""
    if not ledger.is_told("resend"):
        return
    moment = datetime.fromtimestamp(now, UTC).isoformat()
    for fate in fates:
        event = {
            "id": new_id("msg", 27),
            "type": f"email.{fate}",
            "created_at": moment,
            "data": {
                "created_at": mail["created_at"],
                "email_id": mail["id"],
                "from": mail["from"],
                "to": mail["to"],
                "subject": mail["subject"],
                "tags": {tag["name"]: tag["value"] for tag in mail["tags"]},
                **_REASONS.get(fate, {}),
            },
        }
        ledger.post("resend", event, now)
