"""Texts of the messages that others may send to a workflow, each with its format.

``texts.check_texts`` checks them. Nothing but our clients does so before a message is sent, and
whoever reaches the Temporal namespace can send one past them.
"""

from __future__ import annotations

from typing import Annotated

from durable_orders.domain import ids, texts

OrderId = Annotated[str, ids.ORDER_ID]
RefundId = Annotated[str, ids.REFUND_ID]
Sku = Annotated[str, ids.SKU]
ParcelId = Annotated[str, ids.PARCEL_ID]
Tracking = Annotated[str, ids.TRACKING]
PaymentMethod = Annotated[str, ids.PAYMENT_METHOD]
#: Whom the sender names.
By = Annotated[str, ids.ACTOR_ID]
#: Who the door has let in; empty for nobody.
Actor = Annotated[str, ids.ACTOR]
Remark = Annotated[str, texts.REMARK]
