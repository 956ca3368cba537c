"""The warehouse's webhooks: Standard Webhooks, see docs/warehouse-api.md.

https://www.standardwebhooks.com, verified by its own library, which checks timestamps both ways.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from pydantic import BaseModel
from standardwebhooks import Webhook, WebhookVerificationError

from durable_orders.domain.ids import order_of_reference
from durable_orders.domain.parcels import ParcelStatus
from durable_orders.domain.webhooks import (
    BadSignatureError,
    ParcelChanged,
    WebhookEvent,
    WebhookSource,
)
from durable_orders.providers.warehouse.schemas import ParcelNews
from durable_orders.providers.webhook_parsing import (
    EventType,
    check_event_id,
    parse_body,
)

_STATUSES: Final = {
    "parcel.left": ParcelStatus.SHIPPED,
    "parcel.lost": ParcelStatus.LOST,
    "parcel.delivered": ParcelStatus.DELIVERED,
}
_WHAT: Final = "event of the warehouse's"


class _Body(BaseModel):
    type: EventType


class _ParcelEvent(BaseModel):
    order_id: str
    parcel: ParcelNews


class WarehouseEvents:
    """``EventReader`` of the warehouse. ``secret`` is shared with it, ``whsec_…``."""

    def __init__(self, secret: str) -> None:
        self._webhook = Webhook(secret)

    def read(self, headers: Mapping[str, str], body: bytes) -> WebhookEvent:
        event_id = headers.get("webhook-id", "")
        try:
            self._webhook.verify(body, dict(headers), json_parse=False)
        except WebhookVerificationError as error:
            raise BadSignatureError(_explain(error)) from None
        except ValueError:  # a body or a signature that is no text, or no base64
            raise BadSignatureError(_DOES_NOT_FIT) from None
        check_event_id(event_id, "webhook-id", _WHAT)
        type_ = parse_body(_Body, body, _WHAT).type
        installation, news = _news(type_, body)
        return WebhookEvent(WebhookSource.WAREHOUSE, event_id, type_, news, installation)


_DOES_NOT_FIT: Final = (
    "the webhook-signature does not fit this body and our FULFILLMENT_WEBHOOK_SECRET"
)


def _explain(error: WebhookVerificationError) -> str:
    if str(error).startswith("Message timestamp"):
        return "the signature is more than 300 s old, or ahead of our clock"
    if str(error).startswith("Missing"):
        return "there is no webhook-id, webhook-timestamp or webhook-signature"
    return _DOES_NOT_FIT


def _news(type_: str, body: bytes) -> tuple[str, ParcelChanged | None]:
    """The installation that placed the order, and what became of the parcel."""
    status = _STATUSES.get(type_)
    if status is None:
        return "", None
    event = parse_body(_ParcelEvent, body, _WHAT)
    reference = order_of_reference(event.order_id)
    if reference is None:
        return "", None  # an order that no installation has named
    installation, order_id = reference
    return installation, ParcelChanged(order_id, event.parcel.id, status, event.parcel.tracking)
