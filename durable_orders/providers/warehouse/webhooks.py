"""The warehouse's webhooks, see docs/warehouse-api.md."""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Mapping
from typing import Final

from pydantic import BaseModel

from durable_orders.domain.ids import order_of_reference
from durable_orders.domain.parcels import ParcelStatus
from durable_orders.domain.webhooks import (
    BadSignatureError,
    ParcelChanged,
    WebhookEvent,
    WebhookSource,
)
from durable_orders.providers.webhook_parsing import NonBlankText, check_timestamp, parse_body

_STATUSES: Final = {
    "parcel.left": ParcelStatus.SHIPPED,
    "parcel.lost": ParcelStatus.LOST,
    "parcel.delivered": ParcelStatus.DELIVERED,
}


class _Parcel(BaseModel):
    id: NonBlankText
    tracking: NonBlankText | None = None


class _Body(BaseModel):
    id: NonBlankText
    type: NonBlankText
    order_id: NonBlankText | None = None
    parcel: _Parcel | None = None


class WarehouseEvents:
    """``EventReader`` of the warehouse. ``secret`` is shared with it."""

    def __init__(self, secret: str) -> None:
        self._secret = secret.encode()

    def read(self, headers: Mapping[str, str], body: bytes) -> WebhookEvent:
        check_timestamp(self._signed_at(headers.get("warehouse-signature", ""), body))
        payload = parse_body(_Body, body, "event of the warehouse's")
        status = _STATUSES.get(payload.type)
        news = None
        installation, order_id = order_of_reference(payload.order_id or "") or ("", "")
        if status is not None and payload.parcel is not None and order_id:
            tracking = payload.parcel.tracking or ""
            news = ParcelChanged(order_id, payload.parcel.id, status, tracking)
        return WebhookEvent(WebhookSource.WAREHOUSE, payload.id, payload.type, news, installation)

    def _signed_at(self, header: str, body: bytes) -> int:
        """Time of a valid signature. Several ``v1`` are allowed, for a change of the secret."""
        items = [item.partition("=") for item in header.split(",")]
        timestamps = [value for name, _, value in items if name == "t"]
        signatures = [value for name, _, value in items if name == "v1"]
        if len(timestamps) != 1 or not signatures or not _is_number(timestamps[0]):
            raise BadSignatureError("there is no Warehouse-Signature: t=…,v1=…")
        signed = hmac.new(self._secret, timestamps[0].encode() + b"." + body, hashlib.sha256)
        expected = signed.hexdigest().encode()
        if not any(hmac.compare_digest(expected, each.encode()) for each in signatures):
            raise BadSignatureError(
                "the Warehouse-Signature does not fit this body and our FULFILLMENT_WEBHOOK_SECRET"
            )
        return int(timestamps[0])


def _is_number(text: str) -> bool:
    return text.isascii() and text.isdecimal() and len(text) <= 12
