"""What the warehouse sends: one type for each field, in its answers and in its webhooks.

An id that an answer has brought in must come back in a webhook: whatever one accepts, so does the
other.
"""

from __future__ import annotations

from typing import Annotated

from pydantic import AfterValidator, BaseModel, BeforeValidator, Field

from durable_orders.domain.ids import FULFILLMENT_ID, PARCEL_ID, SKU, TRACKING

FulfillmentId = Annotated[str, AfterValidator(FULFILLMENT_ID.check)]
ParcelId = Annotated[str, AfterValidator(PARCEL_ID.check)]
Sku = Annotated[str, AfterValidator(SKU.check)]
#: Empty when there is none yet, which JSON may say as null.
Tracking = Annotated[
    str,
    BeforeValidator(lambda value: "" if value is None else value),
    AfterValidator(TRACKING.check),
]


class Line(BaseModel):
    """A quantity of one product."""

    sku: Sku
    quantity: Annotated[int, Field(ge=1, le=1_000_000_000, strict=True)]


#: One mistake is enough to tell: a sentence about all of them would be as long as the answer.
Lines = Annotated[list[Line], Field(fail_fast=True)]


class ParcelNews(BaseModel):
    """A parcel in a webhook. What it holds was in the answer that named it."""

    id: ParcelId
    tracking: Tracking = ""


class Parcel(BaseModel):
    """A parcel in an answer."""

    id: ParcelId
    lines: Lines = []
    #: The parcel that this one replaces.
    resends: ParcelId | None = None
