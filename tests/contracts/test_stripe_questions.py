"""The questions that Stripe's documentation leaves open: asked, listed, and printed."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Final

import pytest
import pytest_asyncio
import stripe

from tests.contracts import at_stripe
from tests.contracts.conftest import SandboxControl
from tests.contracts.stripe_account import stripe_client
from tests.contracts.stripe_questions import QUESTIONS, Question, answer

ROOT: Final = Path(__file__).resolve().parents[2]
PAGE: Final = (ROOT / "docs/stripe.md").read_text(encoding="utf-8")

#: They wait for what the stand-in does only when told.
WAITING: Final = {
    "After a refund has failed, is the charge's `amount_refunded` as before the refund?"
}


@pytest_asyncio.fixture
async def stand_in(control: SandboxControl) -> AsyncIterator[stripe.StripeClient]:
    async with stripe_client("sk_test_sandbox", control.url) as client:
        yield client


@pytest.mark.parametrize(
    "question", [each for each in QUESTIONS if each.text not in WAITING], ids=lambda each: each.text
)
async def test_the_page_says_what_the_stand_in_answers(
    stand_in: stripe.StripeClient, question: Question
) -> None:
    found = await answer(question, stand_in)
    assert "not expected" not in found
    assert f"| {question.text} | {found.replace(' | ', ', then ')} |" in PAGE


@pytest.mark.parametrize("question", QUESTIONS, ids=lambda each: each.text)
def test_every_question_is_on_the_page(question: Question) -> None:
    assert f"| {question.text} |" in PAGE


async def test_an_error_that_nobody_expected_is_an_answer_too(
    stand_in: stripe.StripeClient,
) -> None:
    async def ask(_: stripe.StripeClient) -> str:
        raise stripe.APIConnectionError("gone")  # type: ignore[no-untyped-call]  # the SDK's own gap

    found = await answer(Question("Is it there?", ask), stand_in)
    assert found == "None APIConnectionError None (not expected)"


def run(key: str | None) -> subprocess.CompletedProcess[str]:
    environment = {name: value for name, value in os.environ.items() if name != "STRIPE_TEST_KEY"}
    given = {} if key is None else {"STRIPE_TEST_KEY": key}
    return subprocess.run(
        [sys.executable, "-m", "tests.contracts.at_stripe"],
        cwd=ROOT,
        env=environment | given,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


def test_without_a_key_one_line_says_what_would_be_done() -> None:
    done = run(None)
    assert done.returncode == 0
    [line] = done.stdout.splitlines()
    assert line == at_stripe.WITHOUT_KEY


def test_a_live_key_is_refused() -> None:
    done = run("sk_live_1")
    assert done.returncode == 2
    assert "no key of a test account" in done.stderr


def test_answers_stand_side_by_side_where_they_differ() -> None:
    question = QUESTIONS[0]
    assert "as the stand-in: succeeded" in at_stripe.compared(question, "succeeded", "succeeded")
    both = at_stripe.compared(question, "400", "succeeded")
    assert "Stripe:       400" in both
    assert "the stand-in: succeeded" in both
