"""Contract of `Mailer`, for every mail service."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import Protocol

import pytest
import pytest_asyncio

from durable_orders.domain.activity_messages import MailRefused, MailSent
from durable_orders.domain.ports import (
    BusyError,
    LockedOutError,
    Mail,
    Mailer,
    NoAnswerError,
    RefusedError,
)
from durable_orders.providers.resend.mailer import ResendMailer
from tests.contracts.conftest import SandboxControl
from tests.fakes.mailer import InMemoryMailer
from tests.support.keys import mail_key

SENDER = "Shop <shop@example.com>"
NOWHERE = "ada-at-nowhere"
#: Failures of a request, by the names of the sandbox, and what they mean.
FAILURES = {
    "hang_up": NoAnswerError,
    "hang_up_after": NoAnswerError,
    "error": NoAnswerError,
    "rate_limit": BusyError,
    "lock_timeout": BusyError,
    "restrict": LockedOutError,  # the domain of our sender is not verified
}


@dataclass(frozen=True)
class Booked:
    """A sent mail, from the service's own records."""

    mail_id: str
    to: str
    subject: str


class MailerOnTrial(Protocol):
    """A mail service, with controls outside of the port. It refuses mail to ``NOWHERE``."""

    @property
    def mailer(self) -> Mailer: ...
    async def break_next(self, failure: str, order_id: str) -> None: ...
    async def sent(self, order_id: str) -> list[Booked]: ...


class FakeOnTrial:
    def __init__(self) -> None:
        self.mailer = InMemoryMailer()
        self.mailer.refuse(NOWHERE)

    async def break_next(self, failure: str, order_id: str) -> None:
        if failure == "hang_up_after":
            self.mailer.lose_answer_next("send")
        else:
            wait = timedelta(seconds=7) if failure == "rate_limit" else None
            self.mailer.fail_next("send", FAILURES[failure](failure, retry_after=wait))

    async def sent(self, order_id: str) -> list[Booked]:
        return [
            Booked(sent.mail_id, sent.mail.to, sent.mail.subject)
            for sent in self.mailer.sent
            if ("order_id", order_id) in sent.mail.tags
        ]


class SandboxOnTrial:
    def __init__(self, mailer: Mailer, control: SandboxControl) -> None:
        self.mailer = mailer
        self._control = control

    async def break_next(self, failure: str, order_id: str) -> None:
        await self._control.turn("resend.emails.send", failure, order_id, seconds=7)

    async def sent(self, order_id: str) -> list[Booked]:
        mails = (await self._control.page(order_id))["mails"]
        return [Booked(mail["id"], _only(mail["to"]), mail["subject"]) for mail in mails]


def _only(addresses: list[str]) -> str:
    (address,) = addresses
    return address


@pytest_asyncio.fixture(params=["in memory", "Resend's SDK on the sandbox"])
async def trial(
    request: pytest.FixtureRequest, control: SandboxControl
) -> AsyncIterator[MailerOnTrial]:
    if request.param == "in memory":
        yield FakeOnTrial()
    else:
        async with ResendMailer("re_sandbox", sender=SENDER, api_url=control.url) as mailer:
            yield SandboxOnTrial(mailer, control)


def confirmation(order_id: str) -> Mail:
    return Mail(
        to="ada@example.com",
        subject="Your order",
        html="<p>On its way</p>",
        text="On its way",
        tags=(("order_id", order_id), ("kind", "confirmation")),
    )


async def test_the_same_key_sends_one_mail(trial: MailerOnTrial, order_id: str) -> None:
    key = mail_key(order_id, "confirmation")
    first = await trial.mailer.send(confirmation(order_id), key=key)
    again = await trial.mailer.send(confirmation(order_id), key=key)
    assert isinstance(first, MailSent)
    assert first == again
    expected = [Booked(first.mail_id, "ada@example.com", "Your order")]
    assert await trial.sent(order_id) == expected


async def test_another_key_sends_another_mail(trial: MailerOnTrial, order_id: str) -> None:
    for kind in ("confirmation", "closing"):
        await trial.mailer.send(confirmation(order_id), key=mail_key(order_id, kind))
    assert len(await trial.sent(order_id)) == 2


async def test_a_key_is_refused_for_another_mail(trial: MailerOnTrial, order_id: str) -> None:
    key = mail_key(order_id, "confirmation")
    await trial.mailer.send(confirmation(order_id), key=key)
    with pytest.raises(RefusedError):
        await trial.mailer.send(replace(confirmation(order_id), subject="Other"), key=key)
    assert len(await trial.sent(order_id)) == 1


async def test_a_wrong_address_is_an_answer_that_does_not_repeat_it(
    trial: MailerOnTrial, order_id: str
) -> None:
    mail = replace(confirmation(order_id), to=NOWHERE)
    answer = await trial.mailer.send(mail, key=mail_key(order_id, "confirmation"))
    assert isinstance(answer, MailRefused)
    assert answer.message
    assert NOWHERE not in answer.message
    assert await trial.sent(order_id) == []


@pytest.mark.parametrize("failure", FAILURES)
async def test_sending_again_after_no_answer_sends_one_mail(
    trial: MailerOnTrial, order_id: str, failure: str
) -> None:
    key = mail_key(order_id, "confirmation")
    await trial.break_next(failure, order_id)
    with pytest.raises(NoAnswerError) as caught:
        await trial.mailer.send(confirmation(order_id), key=key)
    assert type(caught.value) is FAILURES[failure]
    assert caught.value.retry_after == (timedelta(seconds=7) if failure == "rate_limit" else None)
    first = await trial.mailer.send(confirmation(order_id), key=key)
    assert first == await trial.mailer.send(confirmation(order_id), key=key)
    assert len(await trial.sent(order_id)) == 1


# -- only over HTTP --------------------------------------------------------------------------------


async def test_a_key_in_use_is_no_answer(control: SandboxControl, order_id: str) -> None:
    key = mail_key(order_id, "confirmation")
    dial = await control.turn("resend.emails.send", "delay", order_id)
    async with ResendMailer("re_sandbox", sender=SENDER, api_url=control.url) as mailer:
        first = asyncio.create_task(mailer.send(confirmation(order_id), key=key))
        await control.wait_for_hit(dial)
        with pytest.raises(NoAnswerError, match="concurrent_idempotent_requests"):
            await mailer.send(confirmation(order_id), key=key)
        await control.remove(dial)
        assert isinstance(await first, MailSent)


async def test_a_key_that_resend_refuses_locks_us_out_and_is_not_shown(
    control: SandboxControl, order_id: str
) -> None:
    async with ResendMailer("not_a_key_of_resend", sender=SENDER, api_url=control.url) as mailer:
        with pytest.raises(LockedOutError, match="RESEND_API_KEY") as caught:
            await mailer.send(confirmation(order_id), key=mail_key(order_id, "confirmation"))
    assert "not_a_key" not in str(caught.value)


async def test_a_sender_that_resend_refuses_is_our_setting_and_not_the_customers_address(
    control: SandboxControl, order_id: str
) -> None:
    async with ResendMailer("re_sandbox", sender="shop", api_url=control.url) as mailer:
        with pytest.raises(LockedOutError, match="check MAIL_FROM"):
            await mailer.send(confirmation(order_id), key=mail_key(order_id, "confirmation"))


async def test_two_mailers_in_one_process_keep_to_their_own_keys(
    control: SandboxControl, order_id: str
) -> None:
    async with (
        ResendMailer("re_sandbox", sender=SENDER, api_url=control.url) as right,
        ResendMailer("wrong", sender=SENDER, api_url=control.url) as wrong,
    ):
        answers = await asyncio.gather(
            right.send(confirmation(order_id), key=f"{order_id}:1"),
            wrong.send(confirmation(order_id), key=f"{order_id}:2"),
            right.send(confirmation(order_id), key=f"{order_id}:3"),
            return_exceptions=True,
        )
    assert [type(answer) for answer in answers] == [MailSent, LockedOutError, MailSent]


async def test_tags_that_resend_would_refuse_are_made_fit(
    control: SandboxControl, order_id: str
) -> None:
    mail = replace(confirmation(order_id), tags=(("order_id", order_id), ("who?", "Ünder way")))
    async with ResendMailer("re_sandbox", sender=SENDER, api_url=control.url) as mailer:
        assert isinstance(await mailer.send(mail, key=f"{order_id}:tags"), MailSent)
