"""Resend's webhooks: signed by Svix, verified by Resend's SDK, which checks timestamps both ways.

https://resend.com/docs/dashboard/webhooks/verify-webhooks-requests
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Annotated, Any, Final

import resend
from pydantic import AfterValidator, BaseModel

from durable_orders.domain.ids import MAIL_ID
from durable_orders.domain.installation import MARK
from durable_orders.domain.webhooks import (
    BadSignatureError,
    MailDeliveryFailure,
    MailNotDelivered,
    UnreadableEventError,
    WebhookEvent,
    WebhookSource,
)
from durable_orders.providers.webhook_parsing import (
    EventType,
    check_event_id,
    parse_body,
)

#: https://resend.com/docs/dashboard/webhooks/event-types
_FATES: Final = {f"email.{fate}": fate for fate in MailDeliveryFailure}
_CODE: Final = re.compile(r"[A-Za-z0-9_-]{1,64}")


def _code(text: str) -> str:
    """A code as Resend writes it, "Permanent" or "OnAccountSuppressionList"; "unknown" for what is
    none.
    """
    return text if _CODE.fullmatch(text) else "unknown"


MailId = Annotated[str, AfterValidator(MAIL_ID.check)]


class _Reason(BaseModel):
    type: str = ""
    subType: str = ""  # noqa: N815 - Resend's name for it
    reason: str = ""

    def code(self) -> str:
        """The codes without the message, which quotes the address."""
        parts = (self.type, self.subType, self.reason)
        return " ".join(_code(each) for each in parts if each)


class _Mail(BaseModel):
    email_id: MailId | None = None
    #: Their names are the sender's: an error about one would name it.
    tags: dict[str, Any] | None = None
    bounce: _Reason = _Reason()
    failed: _Reason = _Reason()
    suppressed: _Reason = _Reason()


class _Body(BaseModel):
    type: EventType
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
        installation = None if tags is None else str(tags.get(MARK, ""))
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
