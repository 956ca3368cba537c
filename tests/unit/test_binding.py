"""The check of the account: asked once, shared, and passed before anything else is."""

from __future__ import annotations

import asyncio
import logging

import pytest

from durable_orders.binding import BindingCheck
from durable_orders.domain.installation import CardAccount, OtherAccountError
from durable_orders.domain.ports import DatabaseAwayError, NoAnswerError
from tests.fakes.database import InMemoryDatabase, InMemoryInstallation

OURS = CardAccount("acct_1Shop0000", livemode=False)
OTHER = CardAccount("acct_1Other000", livemode=False)


class Provider:
    """Tells its account, or gives the errors in ``failures`` first."""

    def __init__(self, account: CardAccount = OURS, *failures: Exception) -> None:
        self.account = account
        self.failures = list(failures)
        self.asked = 0

    async def read(self) -> CardAccount:
        self.asked += 1
        await asyncio.sleep(0.01)
        if self.failures:
            raise self.failures.pop(0)
        return self.account


@pytest.fixture
def database() -> InMemoryDatabase:
    return InMemoryDatabase()


def check_of(provider: Provider, database: InMemoryDatabase) -> BindingCheck:
    return BindingCheck(provider.read, InMemoryInstallation(database))


async def test_the_first_check_binds_and_the_account_is_asked_for_once(
    database: InMemoryDatabase,
) -> None:
    provider = Provider()
    check = check_of(provider, database)
    await asyncio.gather(*(check.require() for _ in range(20)))
    await check.require()
    assert provider.asked == 1
    assert database.installation.account == OURS


async def test_another_account_is_refused_for_good(database: InMemoryDatabase) -> None:
    await check_of(Provider(), database).require()
    provider = Provider(OTHER)
    check = check_of(provider, database)
    for ask in (check.at_start, check.require, check.until_known, check.require):
        with pytest.raises(OtherAccountError, match="acct_1Other000"):
            await ask()
    assert provider.asked == 1
    assert database.installation.account == OURS


async def test_without_an_answer_a_process_starts_and_its_requests_fail_until_there_is_one(
    database: InMemoryDatabase, caplog: pytest.LogCaptureFixture
) -> None:
    provider = Provider(OURS, NoAnswerError("Stripe is away"), NoAnswerError("still away"))
    check = check_of(provider, database)
    with caplog.at_level(logging.WARNING):
        await check.at_start()
    assert "Stripe is away" in caplog.text
    with pytest.raises(NoAnswerError, match="still away"):
        await check.require()
    assert database.installation.account is None
    await check.require()
    assert database.installation.account == OURS


async def test_an_answer_that_comes_later_is_heard_without_a_request(
    database: InMemoryDatabase,
) -> None:
    provider = Provider(OURS, *(NoAnswerError("away") for _ in range(3)))
    check = BindingCheck(provider.read, InMemoryInstallation(database), pause=0.01)
    await check.until_known()
    assert provider.asked == 4


async def test_a_process_does_not_wait_for_ever_for_the_answer(
    database: InMemoryDatabase, caplog: pytest.LogCaptureFixture
) -> None:
    answered = asyncio.Event()

    async def read() -> CardAccount:
        await answered.wait()
        return OURS

    check = BindingCheck(read, InMemoryInstallation(database), patience=0.05)
    with caplog.at_level(logging.WARNING):
        await check.at_start()
    assert "no answer in time" in caplog.text
    answered.set()
    await check.require()


async def test_while_the_database_is_away_the_check_has_not_passed(
    database: InMemoryDatabase,
) -> None:
    installations = InMemoryInstallation(database)
    installations.fail_next("bind", DatabaseAwayError("away"))
    provider = Provider()
    check = BindingCheck(provider.read, installations)
    with pytest.raises(DatabaseAwayError):
        await check.require()
    await check.require()
    assert provider.asked == 2
