"""The tables, and the constraints that hold whatever the code does.

Amounts are minor units (see ``orders.money``) beside a currency; times are UTC. Triggers, which
metadata cannot hold, are in the migrations: the history of an order can only grow.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Any

from sqlalchemy import (
    BigInteger,
    Boolean,
    CheckConstraint,
    Column,
    DateTime,
    ForeignKey,
    ForeignKeyConstraint,
    Identity,
    Index,
    Integer,
    MetaData,
    PrimaryKeyConstraint,
    SmallInteger,
    Table,
    Text,
    cast,
    func,
    text,
)
from sqlalchemy.dialects.postgresql import JSONB

from orders.charging import LIVE
from orders.lifecycle import Status
from orders.parcels import ParcelStatus
from orders.ports import ChargeState

metadata = MetaData(
    naming_convention={
        "pk": "%(table_name)s_pkey",
        "ck": "%(table_name)s_%(constraint_name)s",
        "uq": "%(table_name)s_%(column_0_name)s_key",
        "fk": "%(table_name)s_%(column_0_name)s_fkey",
        "ix": "%(table_name)s_%(column_0_name)s_idx",
    }
)

_NOW = func.now()


def _one_of(column: str, values: type[StrEnum] | tuple[str, ...]) -> CheckConstraint:
    allowed = ", ".join(f"'{value}'" for value in values)
    return CheckConstraint(f"{column} IN ({allowed})", name=f"{column}_known")


def _required(name: str, type_: Any, *args: Any, **kwargs: Any) -> Column[Any]:
    return Column(name, type_, *args, nullable=False, **kwargs)


products = Table(
    "products",
    metadata,
    Column("sku", Text, primary_key=True),
    _required("name", Text),
    _required("price", BigInteger),
    _required("currency", Text),
    _required("on_hand", BigInteger),
    _required("reserved", BigInteger, server_default=text("0")),
    CheckConstraint("price >= 0", name="price_not_negative"),
    CheckConstraint("currency ~ '^[A-Z]{3}$'", name="currency_iso"),
    CheckConstraint("on_hand >= 0", name="on_hand_not_negative"),
    CheckConstraint("reserved >= 0", name="reserved_not_negative"),
    CheckConstraint("reserved <= on_hand", name="not_oversold"),
)

orders = Table(
    "orders",
    metadata,
    Column("id", Text, primary_key=True),
    _required("customer_id", Text),
    _required("recipient_name", Text),
    _required("recipient_email", Text),
    _required("recipient_address", Text),
    _required("payment_method", Text),
    _required("flagged", Boolean, server_default=text("false")),
    _required("total", BigInteger),
    _required("currency", Text),
    _required("status", Text),
    Column("reason", Text),  # not enumerated: reasons are added more often than tables change
    Column("reason_message", Text),
    _required("stock", Text, server_default=text("'none'")),
    Column("charging_closed_at", DateTime(timezone=True)),
    Column("fulfillment_id", Text),
    _required("placed_at", DateTime(timezone=True)),
    _required("updated_at", DateTime(timezone=True)),
    CheckConstraint("total > 0", name="something_to_pay"),
    CheckConstraint("currency ~ '^[A-Z]{3}$'", name="currency_iso"),
    _one_of("status", Status),
    _one_of("stock", ("none", "reserved", "committed", "released")),
)

order_lines = Table(
    "order_lines",
    metadata,
    _required("order_id", Text, ForeignKey("orders.id")),
    _required("sku", Text, ForeignKey("products.sku")),
    _required("position", SmallInteger),
    _required("name", Text),
    _required("quantity", Integer),
    _required("unit_price", BigInteger),
    PrimaryKeyConstraint("order_id", "sku"),
    CheckConstraint("quantity > 0", name="quantity_positive"),
    CheckConstraint("unit_price >= 0", name="unit_price_not_negative"),
)

payments = Table(
    "payments",
    metadata,
    _required("order_id", Text, ForeignKey("orders.id")),
    _required("attempt", Integer),
    _required("payment_id", Text, unique=True),
    _required("amount", BigInteger),
    _required("currency", Text),
    _required("state", Text),
    _required("captured", BigInteger, server_default=text("0")),
    _required("refunded", BigInteger, server_default=text("0")),
    _required("decline_code", Text, server_default=text("''")),
    Column("capture_before", DateTime(timezone=True)),  # of a hold, if the provider said
    _required("opened_at", DateTime(timezone=True), server_default=_NOW),
    _required("updated_at", DateTime(timezone=True), server_default=_NOW),
    PrimaryKeyConstraint("order_id", "attempt"),
    CheckConstraint("attempt > 0", name="attempt_positive"),
    CheckConstraint("amount > 0", name="amount_positive"),
    CheckConstraint("currency ~ '^[A-Z]{3}$'", name="currency_iso"),
    CheckConstraint("0 <= refunded AND refunded <= captured", name="refunded_within_captured"),
    CheckConstraint("captured <= amount", name="captured_within_amount"),
    _one_of("state", ChargeState),
)
# The database's own word against charging a card twice.
Index(
    "payments_one_live_charge",
    payments.c.order_id,
    unique=True,
    postgresql_where=payments.c.state.in_(sorted(LIVE)),
)

refunds = Table(
    "refunds",
    metadata,
    Column("refund_id", Text, primary_key=True),
    _required("order_id", Text),
    _required("attempt", Integer),
    _required("amount", BigInteger),
    _required("recorded_at", DateTime(timezone=True), server_default=_NOW),
    ForeignKeyConstraint(["order_id", "attempt"], ["payments.order_id", "payments.attempt"]),
    CheckConstraint("amount > 0", name="amount_positive"),
    Index(None, "order_id"),
)

parcels = Table(
    "parcels",
    metadata,
    _required("order_id", Text, ForeignKey("orders.id")),
    _required("parcel_id", Text, unique=True),
    _required("status", Text, server_default=text("'accepted'")),
    _required("tracking", Text, server_default=text("''")),
    PrimaryKeyConstraint("order_id", "parcel_id"),
    _one_of("status", ParcelStatus),
)

order_history = Table(
    "order_history",
    metadata,
    Column("id", BigInteger, Identity(always=True), primary_key=True),
    _required("order_id", Text, ForeignKey("orders.id")),
    _required("at", DateTime(timezone=True), server_default=_NOW),
    _required("event", Text),
    _required("detail", JSONB, server_default=text("'{}'::jsonb")),
)
# Saying the same again changes nothing. A digest, because an index entry has a size limit.
Index(
    "order_history_said_once",
    order_history.c.order_id,
    order_history.c.event,
    func.md5(cast(order_history.c.detail, Text)),
    unique=True,
)
