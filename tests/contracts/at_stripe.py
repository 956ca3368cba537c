"""`make test-stripe`: the payment suites against Stripe's test mode, and its answers.

``STRIPE_TEST_KEY=sk_test_… make test-stripe``. Then the open questions of ``docs/stripe.md`` are
asked of Stripe and of the stand-in, and the answers are printed side by side.
"""

from __future__ import annotations

import asyncio
import os
import sys
import tempfile
from pathlib import Path
from typing import Final

import pytest

from sandbox.world import StandInServer
from tests.contracts.stripe_account import API_BASE, AT_STRIPE, stripe_client
from tests.contracts.stripe_questions import QUESTIONS, Question, answer

SUITES: Final = (
    "test_cards_contract.py",
    "test_card_customers_contract.py",
    "test_card_holds_contract.py",
    "test_card_refunds_contract.py",
    "test_stand_in_contract.py",
)
WITHOUT_KEY: Final = (
    "STRIPE_TEST_KEY=sk_test_… make test-stripe runs the suites for payments, holds, refunds, "
    "customers and disputes against that account in Stripe's test mode, and prints its answers to "
    "the open questions of docs/stripe.md."
)


class _OnlyAtStripe:
    """Leaves out the tests of these suites that ask the fake or the stand-in."""

    def pytest_collection_modifyitems(self, items: list[pytest.Item]) -> None:
        items[:] = [item for item in items if AT_STRIPE in item.nodeid]


def main() -> int:
    key = os.environ.get("STRIPE_TEST_KEY", "")
    if not key:
        sys.stdout.write(f"{WITHOUT_KEY}\n")
        return 0
    if not key.startswith("sk_test_"):
        sys.stderr.write("STRIPE_TEST_KEY is no key of a test account: it begins sk_test_.\n")
        return 2
    here = Path(__file__).parent
    failed = pytest.main([str(here / suite) for suite in SUITES], plugins=[_OnlyAtStripe()])
    asyncio.run(_ask_all(key))
    return int(failed)


async def _ask_all(key: str) -> None:
    with tempfile.TemporaryDirectory() as state:
        async with (
            StandInServer(Path(state)) as stand_in,
            stripe_client("sk_test_sandbox", stand_in.url) as ours,
            stripe_client(key, API_BASE) as theirs,
        ):
            sys.stdout.write("\nThe open questions of docs/stripe.md:\n")
            for question in QUESTIONS:
                both = await asyncio.gather(answer(question, theirs), answer(question, ours))
                sys.stdout.write(compared(question, *both))


def compared(question: Question, at_stripe: str, on_stand_in: str) -> str:
    """The question with both answers, or with one if they are the same."""
    if at_stripe == on_stand_in:
        return f"\n{question.text}\n  as the stand-in: {at_stripe}\n"
    return f"\n{question.text}\n  Stripe:       {at_stripe}\n  the stand-in: {on_stand_in}\n"


if __name__ == "__main__":
    sys.exit(main())
