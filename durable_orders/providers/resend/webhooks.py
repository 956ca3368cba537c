"""Resend's webhooks: signed by Svix, verified by Resend's SDK, which checks timestamps both ways.

https://resend.com/docs/dashboard/webhooks/verify-webhooks-requests
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Final

import resend
from pydantic import BaseModel

from durable_orders.domain.installation import MARK
from durable_orders.domain.webhooks import (
    BadSignatureError,
    MailDeliveryFailure,
    MailNotDelivered,
    UnreadableEventError,
    WebhookEvent,
    WebhookSource,
)
from durable_orders.providers.webhook_parsing import NonBlankText, check_event_id, parse_body

#: https://resend.com/docs/dashboard/webhooks/event-types
_FATES: Final = {f"email.{fate}": fate for fate in MailDeliveryFailure}
_INVALID_IN_CODE: Final = re.compile(r"[^A-Za-z0-9_ -]")


class _Reason(BaseModel):
    type: str = ""
    subType: str = ""  # noqa: N815 - Resend's name for it
    reason: str = ""

    def code(self) -> str:
        """The codes without the message, which quotes the address."""
        parts = [each for each in (self.type, self.subType, self.reason) if each]
        return _INVALID_IN_CODE.sub("", " ".join(parts))[:80]


class _Mail(BaseModel):
    email_id: NonBlankText | None = None
    tags: dict[str, str] | None = None
    bounce: _Reason = _Reason()
    failed: _Reason = _Reason()
    suppressed: _Reason = _Reason()


class _Body(BaseModel):
    type: NonBlankText
    data: _Mail = _Mail()


class ResendEvents:
    """``EventReader`` of Resend. ``secret`` is the endpoint's, ``whsec_…``."""

    def __init__(self, secret: str) -> None:
        self._secret = secret

    def read(self, headers: Mapping[str, str], body: bytes) -> WebhookEvent:
        event_id = headers.get("svix-id", "")
        try:
            resend.Webhooks.verify(
                {
                    "payload": body.decode(),
                    "headers": {
                        "id": event_id,
                        "timestamp": headers.get("svix-timestamp", ""),
                        "signature": headers.get("svix-signature", ""),
                    },
                    "webhook_secret": self._secret,
                }
            )
        except RecursionError:
            raise UnreadableEventError("this is no event of Resend's: it is not JSON") from None
        except ValueError as error:
            if str(error).startswith("failed to parse"):  # the signature was valid
                raise UnreadableEventError("this is no event of Resend's: it is not JSON") from None
            raise BadSignatureError(_explain(error)) from None
        check_event_id(event_id, "svix-id", "event of Resend's")
        payload = parse_body(_Body, body, "event of Resend's")
        tags = payload.data.tags
        # Without tags the mail's id decides, which only the installation that sent it knows.
        installation = None if tags is None else tags.get(MARK, "")
        news = None if installation == "" else _news(payload)
        return WebhookEvent(WebhookSource.RESEND, event_id, payload.type, news, installation)


def _explain(error: ValueError) -> str:
    if str(error).startswith("timestamp outside"):
        return "the signature is more than 300 s old, or ahead of our clock"
    return "the svix-signature does not fit this body and our RESEND_WEBHOOK_SECRET"


def _news(payload: _Body) -> MailNotDelivered | None:
    fate = _FATES.get(payload.type)
    mail = payload.data
    if fate is None or mail.email_id is None:
        return None
    reasons = {
        MailDeliveryFailure.BOUNCED: mail.bounce,
        MailDeliveryFailure.FAILED: mail.failed,
        MailDeliveryFailure.SUPPRESSED: mail.suppressed,
    }
    return MailNotDelivered(mail.email_id, fate, reasons.get(fate, _Reason()).code())
