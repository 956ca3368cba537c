"""The account and the mode of a Stripe key (https://docs.stripe.com/api/accounts/retrieve).

The mode is in the key itself (https://docs.stripe.com/keys). A restricted key may not read its
account, but Stripe's refusal names it:

    The provided key 'rk_live_…' does not have the required permissions for this endpoint on account
    'acct_…'. Having the 'rak_…' permission would allow this request to continue.
"""

from __future__ import annotations

import asyncio
import logging
import re
from typing import Final

import stripe

from durable_orders.domain.installation import CardAccount
from durable_orders.domain.ports import NoAnswerError
from durable_orders.providers.http_replies import failure_name
from durable_orders.providers.stripe.errors import provider_error
from durable_orders.providers.stripe.http_client import StripeHttpClient

_OPERATION: Final = "read our account"
#: For the whole call, in seconds: other requests wait for it.
_TIMEOUT: Final = 5.0
_LOOKED_AT: Final = 2_000
_LIVE: Final = ("sk_live_", "rk_live_")
_ACCOUNT_ID: Final = re.compile(r"acct_[A-Za-z0-9_-]{1,250}")
_NAMED_IN_REFUSAL: Final = re.compile(r"on account '(acct_[A-Za-z0-9]{6,250})'")

log = logging.getLogger(__name__)


async def read_account(api_key: str, *, api_base: str = "https://api.stripe.com") -> CardAccount:
    """Ask Stripe whose key this is; without an account id when a restricted key is told nothing.

    Raises ``NoAnswerError``.
    """
    http = StripeHttpClient(timeout=_TIMEOUT, connect_timeout=_TIMEOUT)
    client = stripe.StripeClient(
        api_key,
        base_addresses={"api": api_base.rstrip("/")},
        http_client=http,
        max_network_retries=0,
    )
    livemode = api_key.startswith(_LIVE)
    try:
        async with asyncio.timeout(_TIMEOUT):
            account = await client.v1.accounts.retrieve_current_async()
            return CardAccount(_checked(account), livemode)
    except stripe.PermissionError as error:
        if not api_key.startswith("rk_"):
            raise provider_error(_OPERATION, error) from None
        found = _NAMED_IN_REFUSAL.search(str(error.user_message or "")[:_LOOKED_AT])
        if found is None:
            log.warning(
                "Stripe does not tell this restricted key its account: only the mode is compared"
            )
        return CardAccount(found and found[1], livemode)
    except stripe.StripeError as error:
        raise provider_error(_OPERATION, error) from None  # its message quotes a part of the key
    except TimeoutError as error:
        why = failure_name(error)
        raise NoAnswerError(f"Stripe gave no answer ({_OPERATION}): {why}") from None
    finally:
        await http.close_async()


def _checked(account: stripe.Account) -> str:
    account_id = getattr(account, "id", None)
    if not isinstance(account_id, str) or not _ACCOUNT_ID.fullmatch(account_id):
        raise NoAnswerError(f"Stripe's answer makes no sense ({_OPERATION}): it has no account id")
    return account_id
