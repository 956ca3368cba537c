"""In-memory fake of the mail service, with Resend's rules."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import count

from durable_orders.domain.activity_messages import MailAnswer, MailRefused, MailSent
from durable_orders.domain.ports import Mail, RefusedError
from tests.fakes.script import Scripted


@dataclass(frozen=True)
class SentMail:
    """A sent mail."""

    mail_id: str
    key: str
    mail: Mail


class InMemoryMailer(Scripted):
    """``Mailer`` in memory. ``sent`` lists the sent mails, oldest first."""

    def __init__(self) -> None:
        super().__init__()
        self.sent: list[SentMail] = []
        self._forgotten = 0
        self._refusals: dict[str, str] = {}
        self._numbers = count(1)

    def refuse(self, address: str, message: str = "the address is not valid") -> None:
        """Refuse every mail to ``address``."""
        self._refusals[address] = message

    def forget_keys(self) -> None:
        """A day has passed: the same key sends another mail."""
        self._forgotten = len(self.sent)

    async def send(self, mail: Mail, *, key: str) -> MailAnswer:
        return await self._play("send", lambda: self._send(mail, key))

    def _send(self, mail: Mail, key: str) -> MailAnswer:
        for before in self.sent[self._forgotten :]:
            if before.key == key:
                if before.mail != mail:
                    raise RefusedError(f"key {key} was used before, for another mail")
                return MailSent(before.mail_id)
        if mail.to in self._refusals:
            return MailRefused(self._refusals[mail.to])
        self.sent.append(SentMail(f"mail_{next(self._numbers)}", key, mail))
        return MailSent(self.sent[-1].mail_id)
