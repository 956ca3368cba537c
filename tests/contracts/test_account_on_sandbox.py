"""Stripe's SDK against the sandbox: whose key this is, and that nothing is asked before."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from functools import partial

import pytest

from durable_orders.binding import BindingCheck
from durable_orders.domain.installation import CardAccount, OtherAccountError
from durable_orders.domain.money import Money
from durable_orders.domain.ports import LockedOutError, NoAnswerError
from durable_orders.providers.stripe.account import read_account
from durable_orders.providers.stripe.listing import StripeChargeListing
from sandbox.world.stripe.account import ACCOUNT_ID
from tests.contracts.conftest import SandboxControl
from tests.fakes.database import InMemoryDatabase, InMemoryInstallation
from tests.unit.canned import answering, http


@pytest.mark.parametrize("key", ["sk_test_sandbox", "sk_test_another", "rk_test_restricted0key"])
async def test_every_key_of_an_account_tells_it(control: SandboxControl, key: str) -> None:
    """A secret key by the answer, a restricted one by the refusal."""
    assert await read_account(key, api_base=control.url) == CardAccount(ACCOUNT_ID, livemode=False)


async def test_a_restricted_key_that_is_told_nothing_has_a_mode_and_that_is_logged(
    caplog: pytest.LogCaptureFixture,
) -> None:
    message = (
        "The provided key 'rk_live_********' does not have the required permissions for this "
        "endpoint on account 'acct_****'. This is a restricted API key."
    )
    refusal = http(403, {"error": {"type": "invalid_request_error", "message": message}})
    async with answering(refusal) as url:
        with caplog.at_level(logging.WARNING):
            seen = await read_account("rk_live_restricted", api_base=url)
    assert seen == CardAccount(None, livemode=True)
    assert "only the mode is compared" in caplog.text


async def test_a_refused_secret_key_tells_nothing(control: SandboxControl) -> None:
    message = "not allowed on account 'acct_1Shop0000'"
    refusal = http(403, {"error": {"type": "invalid_request_error", "message": message}})
    async with answering(refusal) as url:
        with pytest.raises(LockedOutError, match="STRIPE_API_KEY"):
            await read_account("sk_test_x", api_base=url)
    with pytest.raises(LockedOutError, match="STRIPE_API_KEY") as error:
        await read_account("no_key", api_base=control.url)
    assert "no_key" not in str(error.value)


@pytest.mark.parametrize("failure", ["hang_up", "error", "rate_limit"])
async def test_without_an_answer_the_account_is_unknown(
    control: SandboxControl, failure: str
) -> None:
    wish = {"endpoint": "stripe.account.retrieve", "mode": failure, "times": 1}
    (await control.http.post("/sandbox/dials", json=wish)).raise_for_status()
    with pytest.raises(NoAnswerError):
        await read_account("sk_test_sandbox", api_base=control.url)


async def test_an_answer_without_an_account_makes_no_sense() -> None:
    for body in ({"object": "account"}, {"object": "account", "id": "cus_1"}):
        async with answering(http(200, body)) as url:
            with pytest.raises(NoAnswerError, match="no account id"):
                await read_account("sk_test_x", api_base=url)


async def test_nothing_is_asked_of_stripe_before_the_account_is_the_right_one(
    control: SandboxControl,
) -> None:
    database = InMemoryDatabase()
    bound = CardAccount("acct_1Other0", livemode=False)
    database.installation = database.installation.bound_to(bound)
    check = BindingCheck(
        partial(read_account, "sk_test_sandbox", api_base=control.url),
        InMemoryInstallation(database),
    )
    asked = 0

    async def answer(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal asked
        asked += 1
        writer.close()

    server = await asyncio.start_server(answer, "127.0.0.1", 0)
    url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    now, ours = datetime.now(UTC), frozenset({"testshop"})
    price = Money(5_00, "EUR")
    async with (
        server,
        StripeChargeListing("sk_test_x", api_base=url, require=check.require) as books,
    ):
        asks: list[Callable[[], Awaitable[object]]] = [
            lambda: books.create(
                installation="testshop",
                order_id="1001",
                amount=price,
                key="k",
            ),
            lambda: books.confirm("pi_1", payment_method="pm_card_visa", key="k"),
            lambda: books.read("pi_1"),
            lambda: books.cancel("pi_1"),
            lambda: books.capture("pi_1", key="k"),
            lambda: books.client_secret("pi_1"),
            lambda: books.refund("pi_1", price, installation="testshop", order_id="1001", key="k"),
            lambda: books.find_refund("pi_1", key="k"),
            lambda: books.charges(ours, now, now, None, 1),
            lambda: books.refunds(ours, now, now, None, 1),
            lambda: books.find(ours, "pi_1"),
        ]
        for ask in asks:
            with pytest.raises(OtherAccountError, match="acct_1Other0"):
                await ask()
    assert asked == 0
