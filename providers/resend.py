"""Resend, through its own SDK, as the mail service.

What its errors mean for us (https://resend.com/docs/api-reference/errors):

    connection lost, timeout, 5xx, HTML, 429,
    409 concurrent_idempotent_requests        → NoAnswerError    try again, same key
    401, 403: key, domain not verified        → LockedOutError   the same, and tell a person
    400, 422 validation_error                 → MailRefused      this mail, for ever: an answer
    other 4xx (a key used for another mail)   → RefusedError     our bug or our configuration
"""

from __future__ import annotations

import asyncio
import re
from typing import Final, Self

import httpx
import resend
from resend.exceptions import NoContentError, ResendError

from orders.messages import MailAnswer, MailRefused, MailSent
from orders.ports import LockedOutError, Mail, NoAnswerError, ProviderError, RefusedError
from providers.replies import wait_asked, without_private
from providers.resend_http import PooledClient

_NOT_OF_A_TAG: Final = re.compile(r"[^A-Za-z0-9_-]")
_LONGEST_TAG: Final = 256
#: Errors in what the mail says, above all in the address it goes to.
_WRONG_MAIL: Final = frozenset(["validation_error", "invalid_parameter", "missing_required_field"])


class ResendMailer:
    """``orders.ports.Mailer`` at Resend. Belongs to one event loop; close it with ``aclose``.

    ``sender`` is the From line, of a domain that is verified at Resend. ``timeout`` is in seconds,
    for one mail from beginning to end.
    """

    def __init__(
        self,
        api_key: str,
        *,
        sender: str,
        api_url: str = "https://api.resend.com",
        timeout: float = 20.0,
        connect_timeout: float = 5.0,
        transport: httpx.AsyncBaseTransport | None = None,
    ) -> None:
        self._api_key = api_key
        self._api_url = api_url.rstrip("/")
        self._sender = sender
        self._timeout = timeout
        self._http = PooledClient(
            timeout=timeout, connect_timeout=connect_timeout, transport=transport
        )

    async def aclose(self) -> None:
        """Close the connections."""
        await self._http.aclose()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.aclose()

    async def send(self, mail: Mail, *, key: str) -> MailAnswer:
        params: resend.Emails.SendParams = {
            "from": self._sender,
            "to": [mail.to],
            "subject": mail.subject,
            "html": mail.html,
            "text": mail.text,
            "tags": [{"name": _tag(name), "value": _tag(value)} for name, value in mail.tags],
        }
        try:
            async with asyncio.timeout(self._timeout):
                # The SDK keeps key, URL and client in its module and reads them before it first
                # waits. Set right here, two mailers in one event loop cannot mix them up.
                resend.api_key = self._api_key
                resend.api_url = self._api_url
                resend.default_async_http_client = self._http
                sent = await resend.Emails.send_async(params, {"idempotency_key": key})
            return MailSent(_id_of(sent))
        except ResendError as error:
            code = int(error.code) if str(error.code).isdecimal() else 500
            message = without_private(error.message, mail.to)
            if code in {400, 422} and error.error_type in _WRONG_MAIL:
                return MailRefused(message)
            # Not chained: Resend quotes the address, and causes end up in workflow history too.
            raise _provider_error(code, error, message) from None
        except (NoContentError, TimeoutError) as error:
            raise NoAnswerError(f"Resend gave no answer: {error!r}") from error


def _id_of(sent: object) -> str:
    """The mail's id in Resend's answer. Raises ``NoAnswerError`` when there is none."""
    mail_id = sent.get("id") if isinstance(sent, dict) else None
    if not isinstance(mail_id, str) or not mail_id:
        raise NoAnswerError("Resend's answer makes no sense: it has no mail id")
    return mail_id


def _provider_error(code: int, error: ResendError, message: str) -> ProviderError:
    wait = wait_asked(error.headers)
    said = f"(HTTP {code} {error.error_type}): {message}"
    match code, error.error_type:
        case (401, _) | (403, "invalid_api_key" | "restricted_api_key" | "missing_api_key"):
            return LockedOutError(
                f"Resend refuses our key (HTTP {code}): check RESEND_API_KEY", retry_after=wait
            )
        case 403, _:
            return LockedOutError(
                "Resend does not let this key send from our address: check RESEND_API_KEY, and "
                f"that the sender's domain is verified {said}",
                retry_after=wait,
            )
        case 409, "invalid_idempotent_request":
            return RefusedError("Resend was given this key before, with another mail, and sent it")
        case (408 | 409 | 425 | 429, _) | (_, "application_error"):
            # `application_error` with a 4xx is the SDK's word for a body that is not JSON.
            return NoAnswerError(f"Resend gave no answer {said}", retry_after=wait)
        case _ if 400 <= code < 500:
            return RefusedError(f"Resend refuses the request {said}")
        case _:
            return NoAnswerError(f"Resend gave no answer {said}", retry_after=wait)


def _tag(text: str) -> str:
    """``text`` as Resend takes it in tags: ASCII letters, digits, ``_`` and ``-``, at most 256."""
    return _NOT_OF_A_TAG.sub("_", text)[:_LONGEST_TAG]
