"""The webhook endpoints of the API, and the secrets that webhooks are signed with.

The secrets are public. They have the form of real ones, because the API rejects others.
"""

from typing import Final

PROVIDERS: Final = ("stripe", "warehouse", "resend")

STRIPE_SECRET: Final = "whsec_sandboxOfDurableOrders"
WAREHOUSE_SECRET: Final = "whsec_dGhlIHNhbmRib3gncyBvd24gd2FyZWhvdXNl"
RESEND_SECRET: Final = "whsec_c2FuZGJveCBvZiBkdXJhYmxlIG9yZGVycw=="

_SECRETS: Final = (STRIPE_SECRET, WAREHOUSE_SECRET, RESEND_SECRET)


def webhook_endpoints(api_url: str) -> dict[str, str]:
    """The body for `POST /sandbox/webhooks`: URL and secret per provider; empty without a URL."""
    found: dict[str, str] = {}
    if not api_url:
        return found
    for provider, secret in zip(PROVIDERS, _SECRETS, strict=True):
        found |= {
            provider: f"{api_url.rstrip('/')}/webhooks/{provider}",
            f"{provider}_secret": secret,
        }
    return found
