"""Stripe's SDK on the stand-in, and on Stripe's own test mode where there is a key."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Final

import pytest
import stripe

ON_SANDBOX: Final = "Stripe's SDK on the sandbox"
AT_STRIPE: Final = "Stripe's test mode"

#: Another address of Stripe, to try these suites themselves: a running sandbox.
API_BASE: Final = os.environ.get("STRIPE_TEST_API_BASE", "https://api.stripe.com")


def stripe_test_key() -> str:
    """The key of the test account; skips the test without one."""
    key = os.environ.get("STRIPE_TEST_KEY", "")
    if not key.startswith("sk_test_"):
        pytest.skip("set STRIPE_TEST_KEY=sk_test_… to run this against Stripe itself")
    return key


@asynccontextmanager
async def stripe_client(key: str, url: str) -> AsyncIterator[stripe.StripeClient]:
    """The SDK at this address, without retries of its own."""
    http = stripe.HTTPXClient(timeout=30)
    yield stripe.StripeClient(
        key, base_addresses={"api": url}, http_client=http, max_network_retries=0
    )
    await http.close_async()  # type: ignore[no-untyped-call]  # the SDK's own gap
