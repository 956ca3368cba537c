"""Where webhooks go: the endpoints of one shop, and the secrets that they are signed with.

The secrets are no secrets. They look as the real ones do, because the shop refuses others.
"""

from typing import Final

SENDERS: Final = ("stripe", "warehouse", "resend")

STRIPE_SECRET: Final = "whsec_sandboxOfDurableOrders"
WAREHOUSE_SECRET: Final = "sandbox-of-durable-orders"
RESEND_SECRET: Final = "whsec_c2FuZGJveCBvZiBkdXJhYmxlIG9yZGVycw=="

_SECRETS: Final = (STRIPE_SECRET, WAREHOUSE_SECRET, RESEND_SECRET)


def endpoints_of(api_url: str) -> dict[str, str]:
    """What `POST /sandbox/webhooks` takes, for a shop whose API is there; nothing for nowhere."""
    found: dict[str, str] = {}
    if not api_url:
        return found
    for sender, secret in zip(SENDERS, _SECRETS, strict=True):
        found |= {sender: f"{api_url.rstrip('/')}/webhooks/{sender}", f"{sender}_secret": secret}
    return found
