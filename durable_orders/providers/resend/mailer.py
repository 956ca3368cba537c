"""Mail service: Resend, through its own SDK.

How its errors are mapped, by their names (https://resend.com/docs/api-reference/errors):

    connection lost, timeout, 5xx, HTML        → NoAnswerError    retry with the same key
    429, a key in use                          → BusyError        the same, as told
    the key, the sender, the account's quota   → LockedOutError   the same; needs a person
    the mail itself, mostly its address        → MailRefused      permanent for this mail: an answer
    other 4xx (a key used for another mail)    → RefusedError     our bug
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Mapping
from typing import Any, Final, Self

import resend
from resend.exceptions import NoContentError, ResendError
from resend.http_client_async import AsyncHTTPClient

from durable_orders.domain.activity_messages import MailAnswer, MailRefused, MailSent
from durable_orders.domain.ids import MAIL_ID
from durable_orders.domain.ports import (
    BusyError,
    LockedOutError,
    Mail,
    NoAnswerError,
    ProviderError,
    RefusedError,
)
from durable_orders.providers.http_client import HttpClient, to_json
from durable_orders.providers.http_replies import TransportError, bounded_code, parse_retry_after

_INVALID_IN_TAG: Final = re.compile(r"[^A-Za-z0-9_-]")
_LONGEST_TAG: Final = 256
_LOOKED_AT: Final = 2_000
#: What each error name means; a test walks the documented ones. ``validation_error`` is decided by
#: its message: it may be about our sender or about the customer's address.
_LOAD: Final = frozenset(["concurrent_idempotent_requests", "rate_limit_exceeded"])
_OUR_KEY: Final = frozenset(["invalid_api_key", "missing_api_key", "restricted_api_key"])
_OUR_SENDER: Final = frozenset(["invalid_from_address"])
_OUR_ACCOUNT: Final = frozenset(
    ["daily_quota_exceeded", "monthly_quota_exceeded", "security_error"]
)
_INVALID_MAIL: Final = frozenset(
    ["invalid_parameter", "missing_required_field", "missing_required_fields", "validation_error"]
)
#: "Invalid `from` field. …", "Missing `from` field."
_ABOUT_SENDER: Final = re.compile(r"[`'\"]from[`'\"]|\bfrom (?:address|field)\b", re.I)


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
    ) -> None:
        self._api_key = api_key
        self._api_url = api_url.rstrip("/")
        self._sender = sender
        self._timeout = timeout
        self._http = ResendHttpClient(timeout=timeout, connect_timeout=connect_timeout)

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
            # Its codes only, and not chained: Resend's own words quote the address.
            name = bounded_code(error.error_type)
            if _is_about_the_mail(code, name, error):
                return MailRefused(f"Resend refuses the mail (HTTP {code}): {name}")
            raise _provider_error(code, name, error) from None
        except (NoContentError, TimeoutError) as error:
            raise NoAnswerError(f"Resend gave no answer: {type(error).__name__}") from None
        except (AttributeError, LookupError, TypeError, ValueError, RecursionError) as error:
            why = type(error).__name__
            raise NoAnswerError(f"Resend's answer makes no sense: {why}") from None


def _id_of(sent: object) -> str:
    """The mail's id in Resend's response. Raises ``NoAnswerError`` when there is none."""
    mail_id = sent.get("id") if isinstance(sent, dict) else None
    if not isinstance(mail_id, str) or not MAIL_ID.matches(mail_id):
        raise NoAnswerError("Resend's answer makes no sense: it has no mail id")
    return mail_id


def _is_about_the_mail(code: int, name: str, error: ResendError) -> bool:
    """Whether this mail is refused for good, whatever our settings are."""
    is_invalid = code in {400, 422} and name in _INVALID_MAIL
    return is_invalid and not _ABOUT_SENDER.search(str(error.message)[:_LOOKED_AT])


def _provider_error(code: int, name: str, error: ResendError) -> ProviderError:
    wait = parse_retry_after(error.headers)
    detail = f"(HTTP {code}{name and f', {name}'})"
    if ours := _our_fault(code, name, detail):
        return LockedOutError(ours, retry_after=wait)
    if name == "invalid_idempotent_request":
        return RefusedError("Resend was given this key before, with another mail, and sent it")
    if name in _LOAD or code in {409, 425, 429}:
        return BusyError(f"Resend is busy {detail}", retry_after=wait)
    # With a 4xx, `application_error` is the SDK's code for a body that is not JSON.
    if 400 <= code < 500 and code != 408 and name != "application_error":
        return RefusedError(f"Resend refuses the request {detail}")
    return NoAnswerError(f"Resend gave no answer {detail}", retry_after=wait)


def _our_fault(code: int, name: str, detail: str) -> str | None:
    """What a person of ours has to look at, if the key, the account or the sender is refused."""
    if code == 401 or name in _OUR_KEY:
        return f"Resend refuses our key (HTTP {code}): check RESEND_API_KEY"
    if name in _OUR_ACCOUNT:
        return f"Resend does not let our account send {detail}. Look at Resend's dashboard"
    if code == 403 or name in _OUR_SENDER | _INVALID_MAIL:
        return (
            "Resend does not let us send from our address: check MAIL_FROM, RESEND_API_KEY, and "
            f"that the sender's domain is verified {detail}"
        )
    return None


def _tag(text: str) -> str:
    """``text`` within Resend's rules for tags: ASCII letters, digits, ``_``, ``-``, at most 256."""
    return _INVALID_IN_TAG.sub("_", text)[:_LONGEST_TAG]


class ResendHttpClient(AsyncHTTPClient):
    """Sends the SDK's requests through our client. Time-outs are in seconds."""

    def __init__(self, *, timeout: float, connect_timeout: float) -> None:
        self._http = HttpClient(timeout=timeout, connect_timeout=connect_timeout)

    async def request(  # noqa: PLR0917  the signature is the SDK's
        self,
        method: str,
        url: str,
        headers: Mapping[str, str],
        json: dict[str, object] | list[object] | None = None,
        files: dict[str, Any] | None = None,  # noqa: ARG002 - of inbound mails' attachments
        data: dict[str, str] | None = None,  # noqa: ARG002 - the same
    ) -> tuple[bytes, int, Mapping[str, str]]:
        """Send a request; return body, status and headers. The SDK wraps what this raises."""
        body = None if json is None else to_json(json)
        sent = {**headers, "Content-Type": "application/json"}
        reply = await self._http.request(method.upper(), url, headers=sent, body=body)
        # The SDK takes whatever is below 400 for a success.
        if reply.status // 100 == 3:
            raise TransportError(f"HTTP {reply.status} leads elsewhere")
        return reply.body, reply.status, reply.headers

    async def aclose(self) -> None:
        await self._http.aclose()
