"""Mail service: Resend, through its own SDK.

How its errors are mapped (https://resend.com/docs/api-reference/errors):

    connection lost, timeout, 5xx, HTML, 429,
    409 concurrent_idempotent_requests        → NoAnswerError    retry with the same key
    401, 403: key, domain not verified        → LockedOutError   the same; needs a person
    400, 422 validation_error                 → MailRefused      permanent for this mail: an answer
    other 4xx (a key used for another mail)   → RefusedError     a bug or wrong configuration
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Mapping
from typing import Any, Final, Self

import httpx
import resend
from resend.exceptions import NoContentError, ResendError
from resend.http_client_async import AsyncHTTPClient

from durable_orders.domain.activity_messages import MailAnswer, MailRefused, MailSent
from durable_orders.domain.ports import (
    LockedOutError,
    Mail,
    NoAnswerError,
    ProviderError,
    RefusedError,
)
from durable_orders.providers.http_replies import parse_retry_after, without_private

_INVALID_IN_TAG: Final = re.compile(r"[^A-Za-z0-9_-]")
_LONGEST_TAG: Final = 256
#: Errors in the mail itself, mostly in the address.
_INVALID_MAIL: Final = frozenset(
    ["validation_error", "invalid_parameter", "missing_required_field"]
)


class ResendMailer:
    """``Mailer`` at Resend. Belongs to one event loop; close it with ``aclose``.

    ``sender`` is the From header, in a domain that is verified at Resend. ``timeout`` is in
    seconds, for a whole call.
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
                # The SDK keeps key, URL and client in module globals and reads them before its
                # first await. Set here, two mailers in one event loop cannot mix them up.
                resend.api_key = self._api_key
                resend.api_url = self._api_url
                resend.default_async_http_client = self._http
                sent = await resend.Emails.send_async(params, {"idempotency_key": key})
            return MailSent(_id_of(sent))
        except ResendError as error:
            code = int(error.code) if str(error.code).isdecimal() else 500
            message = without_private(error.message, mail.to)
            if code in {400, 422} and error.error_type in _INVALID_MAIL:
                return MailRefused(message)
            # Not chained: Resend's error quotes the address, and workflow history keeps causes.
            raise _provider_error(code, error, message) from None
        except (NoContentError, TimeoutError) as error:
            raise NoAnswerError(f"Resend gave no answer: {error!r}") from error


def _id_of(sent: object) -> str:
    """The mail's id in Resend's response. Raises ``NoAnswerError`` when there is none."""
    mail_id = sent.get("id") if isinstance(sent, dict) else None
    if not isinstance(mail_id, str) or not mail_id:
        raise NoAnswerError("Resend's answer makes no sense: it has no mail id")
    return mail_id


def _provider_error(code: int, error: ResendError, message: str) -> ProviderError:
    wait = parse_retry_after(error.headers)
    detail = f"(HTTP {code} {error.error_type}): {message}"
    match code, error.error_type:
        case (401, _) | (403, "invalid_api_key" | "restricted_api_key" | "missing_api_key"):
            return LockedOutError(
                f"Resend refuses our key (HTTP {code}): check RESEND_API_KEY", retry_after=wait
            )
        case 403, _:
            return LockedOutError(
                "Resend does not let this key send from our address: check RESEND_API_KEY, and "
                f"that the sender's domain is verified {detail}",
                retry_after=wait,
            )
        case 409, "invalid_idempotent_request":
            return RefusedError("Resend was given this key before, with another mail, and sent it")
        case (408 | 409 | 425 | 429, _) | (_, "application_error"):
            # With a 4xx, `application_error` is the SDK's code for a body that is not JSON.
            return NoAnswerError(f"Resend gave no answer {detail}", retry_after=wait)
        case _ if 400 <= code < 500:
            return RefusedError(f"Resend refuses the request {detail}")
        case _:
            return NoAnswerError(f"Resend gave no answer {detail}", retry_after=wait)


def _tag(text: str) -> str:
    """``text`` within Resend's rules for tags: ASCII letters, digits, ``_``, ``-``, at most 256."""
    return _INVALID_IN_TAG.sub("_", text)[:_LONGEST_TAG]


class PooledClient(AsyncHTTPClient):
    """Sends the SDK's requests through one ``httpx.AsyncClient``. Timeouts are in seconds."""

    def __init__(
        self,
        *,
        timeout: float,
        connect_timeout: float,
        transport: httpx.AsyncBaseTransport | None = None,
    ) -> None:
        self._http = httpx.AsyncClient(
            timeout=httpx.Timeout(timeout, connect=connect_timeout),
            limits=httpx.Limits(max_connections=20, max_keepalive_connections=10),
            transport=transport,
        )

    async def request(  # noqa: PLR0917  the signature is the SDK's
        self,
        method: str,
        url: str,
        headers: Mapping[str, str],
        json: dict[str, object] | list[object] | None = None,
        files: dict[str, Any] | None = None,
        data: dict[str, str] | None = None,
    ) -> tuple[bytes, int, Mapping[str, str]]:
        """Send a request; return body, status and headers. The SDK wraps what this raises."""
        if data is not None or files is not None:
            reply = await self._http.request(method, url, headers=headers, data=data, files=files)
        else:
            reply = await self._http.request(method, url, headers=headers, json=json)
        return reply.content, reply.status_code, reply.headers

    async def aclose(self) -> None:
        await self._http.aclose()
