"""The tables and their constraints.

Amounts are minor units (see ``domain/money.py``) beside a currency; times are UTC. The triggers
that make an order's history append-only and the functions of the hot path are in the migrations:
metadata cannot hold them.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Any

from sqlalchemy import (
    ARRAY,
    DDL,
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
    LargeBinary,
    MetaData,
    PrimaryKeyConstraint,
    SmallInteger,
    Table,
    Text,
    UniqueConstraint,
    cast,
    event,
    func,
    text,
)
from sqlalchemy.dialects import postgresql
from sqlalchemy.dialects.postgresql import JSONB

from durable_orders.domain.charges import LIVE_TRY, MAY_TAKE_MONEY
from durable_orders.domain.disputes.dispute import DisputeStatus
from durable_orders.domain.installation import NAME_PATTERN
from durable_orders.domain.lifecycle import Decision, Status
from durable_orders.domain.operators.api_keys import Scope
from durable_orders.domain.operators.dashboard import MAY_NEED_OPERATOR
from durable_orders.domain.order import FutureUsage
from durable_orders.domain.parcels import ParcelStatus
from durable_orders.domain.ports import ChargeState, TryRefusal
from durable_orders.domain.refunds.refund import UNFINISHED, UNSETTLED, RefundState
from durable_orders.domain.webhooks import DeliveryResult, WebhookSource

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


# One row: this installation, and the account of the card provider that it uses.
installation = Table(
    "installation",
    metadata,
    Column("singleton", Boolean, primary_key=True, server_default=text("true")),
    _required("name", Text),
    _required("former_names", ARRAY(Text), server_default=text("'{}'::text[]")),
    Column("stripe_account", Text),  # unknown where the key may not read it
    Column("livemode", Boolean),  # with it the installation is bound
    _required("created_at", DateTime(timezone=True), server_default=_NOW),
    CheckConstraint("singleton", name="one_row"),
    CheckConstraint(f"name ~ '^{NAME_PATTERN}$'", name="name_well_formed"),
    CheckConstraint("stripe_account IS NULL OR livemode IS NOT NULL", name="bound_as_a_whole"),
)
event.listen(
    installation,
    "after_create",
    DDL(  # type: ignore[no-untyped-call]  # SQLAlchemy's own gap
        "CREATE FUNCTION installation_name() RETURNS text LANGUAGE sql STABLE"
        " AS 'SELECT name FROM installation'"
    ),
)

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
    Column("customer", Text),  # the card provider's id of them, not the shop's
    _required("off_session", Boolean, server_default=text("false")),
    Column("setup_future_usage", Text),
    Column("receipt_email", Text),
    _required("total", BigInteger),
    _required("currency", Text),
    _required("status", Text),
    Column("reason", Text),  # not enumerated: reasons are added more often than tables change
    Column("reason_message", Text),
    _required("stock", Text, server_default=text("'none'")),
    Column("charging_closed_at", DateTime(timezone=True)),
    Column("decision", Text),  # written before anybody acts on it; see ``lifecycle.decided``
    _required("run_id", Text, server_default=text("''")),  # the first run of what carries it
    Column("fulfillment_id", Text),
    _required("placed_at", DateTime(timezone=True)),
    _required("updated_at", DateTime(timezone=True)),
    # Never updated: keys that were used have to be found again.
    _required("key_prefix", Text, server_default=text("installation_name()")),
    CheckConstraint("total > 0", name="something_to_pay"),
    CheckConstraint("currency ~ '^[A-Z]{3}$'", name="currency_iso"),
    _one_of("status", Status),
    _one_of("setup_future_usage", FutureUsage),
    CheckConstraint(
        "customer IS NOT NULL OR NOT (off_session OR setup_future_usage IS NOT NULL)",
        name="saved_card_has_customer",
    ),
    CheckConstraint(
        "NOT (off_session AND setup_future_usage IS NOT NULL)", name="saved_only_on_session"
    ),
    _one_of("stock", ("none", "reserved", "committed", "released")),
    _one_of("decision", Decision),
)

orders.add_is_dependent_on(installation)

# Each page of orders is a backward scan of one of these, from the end of the previous page.
Index("orders_newest", orders.c.placed_at, orders.c.id)
Index("orders_of_customer", orders.c.customer_id, orders.c.placed_at, orders.c.id)
Index("orders_of_status", orders.c.status, orders.c.placed_at, orders.c.id)

# The Idempotency-Key of the request that placed an order.
placing_keys = Table(
    "placing_keys",
    metadata,
    Column("key", Text, primary_key=True),
    _required("order_id", Text, ForeignKey("orders.id")),
    _required("placed_at", DateTime(timezone=True)),
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
    # 1: an order has one charge. Those of before migration 0011 had one for each card.
    _required("attempt", Integer, server_default=text("1")),
    _required("payment_id", Text, unique=True),
    _required("amount", BigInteger),
    _required("currency", Text),
    _required("state", Text),
    _required("captured", BigInteger, server_default=text("0")),
    _required("refunded", BigInteger, server_default=text("0")),
    _required("decline_code", Text, server_default=text("''")),
    Column("capture_before", DateTime(timezone=True)),  # of a hold, if known
    _required("latest_charge", Text, server_default=text("''")),
    _required("revision", Integer, server_default=text("0")),  # counts what was recorded
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
# The last guard against a double charge: one charge per order that can take money, or has.
Index(
    "payments_one_live_charge",
    payments.c.order_id,
    unique=True,
    postgresql_where=payments.c.state != ChargeState.CANCELLED.value,
)

# The tries of a charge, each announced before it is made.
payment_tries = Table(
    "payment_tries",
    metadata,
    _required("order_id", Text, ForeignKey("orders.id")),
    _required("number", Integer),
    _required("payment_id", Text, ForeignKey("payments.payment_id")),
    _required("payment_method", Text),
    _required("charge_before", Text),  # the provider's newest charge (ch_…) before it, or ''
    _required("key", Text, unique=True),
    _required("state", Text),
    _required("decline_code", Text, server_default=text("''")),
    Column("refusal", Text),  # what the provider refused, so that no bank was asked
    _required("announced_at", DateTime(timezone=True), server_default=_NOW),
    _required("updated_at", DateTime(timezone=True), server_default=_NOW),
    PrimaryKeyConstraint("order_id", "number"),
    CheckConstraint("number > 0", name="number_positive"),
    _one_of("state", ChargeState),
    _one_of("refusal", TryRefusal),
    Index(None, "payment_id"),
)
# One try at a time, and none beside one that was paid.
Index(
    "payment_tries_one_live",
    payment_tries.c.order_id,
    unique=True,
    postgresql_where=payment_tries.c.state.in_(sorted(LIVE_TRY)),
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

# Manual refunds as operators report them; those of the provider are in ``payments``.
given_back_by_hand = Table(
    "given_back_by_hand",
    metadata,
    Column("order_id", Text, ForeignKey("orders.id"), primary_key=True),
    _required("amount", BigInteger),
    _required("said_by", Text),
    _required("note", Text),
    _required("said_at", DateTime(timezone=True), server_default=_NOW),
    CheckConstraint("amount >= 0", name="amount_not_negative"),
)

refund_requests = Table(
    "refund_requests",
    metadata,
    _required("order_id", Text),
    _required("refund_id", Text),  # the shop's own; the provider's is card_refund_id
    _required("number", BigInteger, Identity(always=True)),
    _required("charge_attempt", Integer),
    _required("amount", BigInteger),
    _required("request", JSONB),
    _required("state", Text),
    _required("attempt", Integer, server_default=text("1")),
    _required("card_refund_id", Text, server_default=text("''")),
    _required("why", Text, server_default=text("''")),
    _required("restocked", Boolean, server_default=text("false")),
    _required("requested_at", DateTime(timezone=True)),
    _required("updated_at", DateTime(timezone=True)),
    PrimaryKeyConstraint("order_id", "refund_id"),
    ForeignKeyConstraint(["order_id", "charge_attempt"], ["payments.order_id", "payments.attempt"]),
    CheckConstraint("amount > 0", name="amount_positive"),
    CheckConstraint("attempt > 0", name="attempt_positive"),
    _one_of("state", RefundState),
    Index(
        "refund_requests_awaiting_approval",
        "requested_at",
        postgresql_where=text("state = 'awaiting_approval'"),
    ),
)

refund_lines = Table(
    "refund_lines",
    metadata,
    _required("order_id", Text),
    _required("refund_id", Text),
    _required("sku", Text),
    _required("quantity", Integer),
    PrimaryKeyConstraint("order_id", "refund_id", "sku"),
    ForeignKeyConstraint(
        ["order_id", "refund_id"], ["refund_requests.order_id", "refund_requests.refund_id"]
    ),
    ForeignKeyConstraint(
        ["order_id", "sku"],
        ["order_lines.order_id", "order_lines.sku"],
        name="refund_lines_sku_fkey",
    ),
    CheckConstraint("quantity > 0", name="quantity_positive"),
)

# What a bank or the card provider questions of a payment. Its rows are never deleted.
disputes = Table(
    "disputes",
    metadata,
    Column("dispute_id", Text, primary_key=True),
    _required("order_id", Text, ForeignKey("orders.id")),
    _required("payment_id", Text, ForeignKey("payments.payment_id")),
    _required("amount", BigInteger),
    _required("currency", Text),
    _required("withdrawn", BigInteger),  # taken from our balance and not put back
    _required("fee", BigInteger),
    _required("fee_currency", Text),  # that of our balance
    _required("reason", Text),
    _required("status", Text),
    Column("due_by", DateTime(timezone=True)),
    _required("submissions", Integer),
    _required("acknowledged_by", Text, server_default=text("''")),
    _required("revision", Integer, server_default=text("1")),  # counts what was recorded
    _required("opened_at", DateTime(timezone=True)),
    _required("updated_at", DateTime(timezone=True)),
    Column("closed_at", DateTime(timezone=True)),
    CheckConstraint("amount >= 0", name="amount_not_negative"),
    CheckConstraint("currency ~ '^[A-Z]{3}$'", name="currency_iso"),
    CheckConstraint("withdrawn >= 0", name="withdrawn_not_negative"),
    _one_of("status", DisputeStatus),
    Index(None, "order_id"),
)
Index(
    "disputes_open",
    disputes.c.due_by,
    disputes.c.opened_at,
    postgresql_where=disputes.c.closed_at.is_(None),
)

fraud_warnings = Table(
    "fraud_warnings",
    metadata,
    Column("warning_id", Text, primary_key=True),
    _required("order_id", Text, ForeignKey("orders.id")),
    _required("payment_id", Text, ForeignKey("payments.payment_id")),
    _required("fraud_type", Text),
    _required("is_actionable", Boolean),
    _required("acknowledged_by", Text, server_default=text("''")),
    _required("revision", Integer, server_default=text("1")),
    _required("opened_at", DateTime(timezone=True)),
    _required("updated_at", DateTime(timezone=True)),
    Index(None, "order_id"),
)
Index(
    "fraud_warnings_open",
    fraud_warnings.c.opened_at,
    postgresql_where=text("is_actionable AND acknowledged_by = ''"),
)

reviews = Table(
    "reviews",
    metadata,
    Column("review_id", Text, primary_key=True),
    _required("order_id", Text, ForeignKey("orders.id")),
    _required("payment_id", Text, ForeignKey("payments.payment_id")),
    _required("opened_reason", Text),
    _required("is_open", Boolean),
    _required("closed_reason", Text, server_default=text("''")),
    _required("acknowledged_by", Text, server_default=text("''")),
    _required("revision", Integer, server_default=text("1")),
    _required("opened_at", DateTime(timezone=True)),
    _required("updated_at", DateTime(timezone=True)),
    Index(None, "order_id"),
)
Index(
    "reviews_open",
    reviews.c.opened_at,
    postgresql_where=text("is_open AND acknowledged_by = ''"),
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
# Makes adding the same line again a no-op. A digest, because an index entry has a size limit.
Index(
    "order_history_said_once",
    order_history.c.order_id,
    order_history.c.event,
    func.md5(cast(order_history.c.detail, Text)),
    unique=True,
)

# Lines of the history of an order that ended long ago, a row for each time that it was archived.
archived_history = Table(
    "archived_history",
    metadata,
    _required("order_id", Text, ForeignKey("orders.id")),
    _required("first_line", BigInteger),  # the first of ``ids``
    _required("archived_at", DateTime(timezone=True)),
    # The columns of the lines, oldest line first.
    _required("ids", ARRAY(BigInteger)),
    _required("times", ARRAY(DateTime(timezone=True))),
    _required("events", ARRAY(Text)),
    _required("details", ARRAY(JSONB)),
    _required("mails", postgresql.ARRAY(Text)),  # the ids of mails in ``details``
    PrimaryKeyConstraint("order_id", "first_line"),
    CheckConstraint(
        "cardinality(ids) > 0 AND cardinality(ids) = cardinality(times)"
        " AND cardinality(ids) = cardinality(events) AND cardinality(ids) = cardinality(details)",
        name="lines_whole",
    ),
)
Index("archived_history_mails", archived_history.c.mails, postgresql_using="gin")
archived_history.add_is_dependent_on(order_history)

# All lines, wherever they are: a view, to be read where an order may be archived.
whole_history = Table(
    "whole_history",
    MetaData(),  # no table to create
    *(Column(column.name, column.type) for column in order_history.c),
)
event.listen(
    archived_history,
    "after_create",
    DDL(  # type: ignore[no-untyped-call]  # SQLAlchemy's own gap
        "CREATE VIEW whole_history AS"
        " SELECT id, order_id, at, event, detail FROM order_history UNION ALL"
        " SELECT line.id, archived.order_id, line.at, line.event, line.detail"
        " FROM archived_history AS archived,"
        " unnest(archived.ids, archived.times, archived.events, archived.details)"
        " AS line (id, at, event, detail)"
    ),
)

# The audit reads orders by these: few are in progress, and few changed lately.
Index(
    "orders_under_way",
    orders.c.id,
    postgresql_where=orders.c.status.not_in(sorted(status for status in Status if status.is_final)),
)
Index(None, orders.c.updated_at)

# Finds the order of a mail when the mail service sends an event about it.
Index(
    "order_history_mails",
    order_history.c.detail["mail"].astext,
    postgresql_where=order_history.c.detail.has_key("mail"),
)

webhook_events = Table(
    "webhook_events",
    metadata,
    Column("number", BigInteger, Identity(always=True), primary_key=True),
    _required("source", Text),
    _required("event_id", Text),
    _required("type", Text),
    _required("news", JSONB),  # ids only: no amounts, no personal data
    _required("received_at", DateTime(timezone=True)),
    _required("tries", Integer, server_default=text("0")),
    _required("next_try_at", DateTime(timezone=True)),
    _required("problem", Text, server_default=text("''")),
    Column("ended_at", DateTime(timezone=True)),
    Column("ending", Text),
    # Stores an event that is delivered twice only once.
    UniqueConstraint("source", "event_id"),
    CheckConstraint("(ended_at IS NULL) = (ending IS NULL)", name="ended_somehow"),
    _one_of("source", WebhookSource),
    _one_of("ending", DeliveryResult),
)
Index(
    "webhook_events_untold",
    webhook_events.c.next_try_at,
    postgresql_where=webhook_events.c.ended_at.is_(None),
)
Index(None, webhook_events.c.ended_at)

findings = Table(
    "findings",
    metadata,
    _required("kind", Text),  # neither kinds nor remedies are enumerated: more will come
    _required("order_id", Text),  # the order may not exist
    _required("payment_id", Text, server_default=text("''")),
    _required("detail", Text),
    _required("remedy", Text),
    _required("first_seen", DateTime(timezone=True)),
    _required("last_seen", DateTime(timezone=True)),
    Column("resolved_at", DateTime(timezone=True)),
    Column("resolution", Text),
    Column("acknowledged_at", DateTime(timezone=True)),
    Column("acknowledged_by", Text),
    Column("acknowledged_note", Text),
    Column("acknowledged_kept", BigInteger),  # the order's money in our ledger at that time
    PrimaryKeyConstraint("kind", "order_id", "payment_id"),
    CheckConstraint("first_seen <= last_seen", name="seen_in_order"),
    CheckConstraint("(resolved_at IS NULL) = (resolution IS NULL)", name="resolved_somehow"),
    CheckConstraint(
        "num_nulls(acknowledged_at, acknowledged_by, acknowledged_note, acknowledged_kept)"
        " IN (0, 4)",
        name="acknowledged_by_somebody",
    ),
)
Index(
    "findings_unresolved",
    findings.c.kind,
    findings.c.order_id,
    findings.c.payment_id,
    postgresql_where=findings.c.resolved_at.is_(None),
)

api_keys = Table(
    "api_keys",
    metadata,
    Column("id", Text, primary_key=True),
    _required("name", Text),
    _required("scope", Text),
    _required("digest", LargeBinary),  # SHA-256 of the secret
    _required("created_at", DateTime(timezone=True)),
    Column("last_used_at", DateTime(timezone=True)),
    Column("revoked_at", DateTime(timezone=True)),
    Column("expires_at", DateTime(timezone=True)),
    CheckConstraint("octet_length(digest) = 32", name="digest_whole"),
    _one_of("scope", Scope),
)
Index(
    "api_keys_one_in_use",
    api_keys.c.name,
    unique=True,
    postgresql_where=api_keys.c.revoked_at.is_(None),
)

operator_sessions = Table(
    "operator_sessions",
    metadata,
    Column("digest", LargeBinary, primary_key=True),  # SHA-256 of the cookie's secret
    _required("key_id", Text, ForeignKey("api_keys.id")),
    _required("opened_at", DateTime(timezone=True)),
    _required("seen_at", DateTime(timezone=True)),
    Column("word", Text),  # flash message for the next page
    Column("done", Boolean),
    CheckConstraint("octet_length(digest) = 32", name="digest_whole"),
    CheckConstraint("(word IS NULL) = (done IS NULL)", name="word_whole"),
)

# Refunds that are on their way, or owed, which the audit looks at: few, however old they are.
Index(
    "refund_requests_unsettled",
    refund_requests.c.order_id,
    postgresql_where=refund_requests.c.state.in_(sorted(UNSETTLED)),
)

# The same of charges that may still take money, and of what changed lately.
Index(
    "payments_may_take_money",
    payments.c.order_id,
    postgresql_where=payments.c.state.in_(sorted(MAY_TAKE_MONEY)),
)
Index(None, refund_requests.c.updated_at)
Index(None, disputes.c.updated_at)

# Refunds that may need a person: few, however many refunds there are.
Index(
    "refund_requests_open",
    refund_requests.c.number,
    postgresql_where=refund_requests.c.state.in_(sorted(MAY_NEED_OPERATOR)),
)
# Refunds that are not done yet, page by page.
Index(
    "refund_requests_unfinished",
    refund_requests.c.order_id,
    refund_requests.c.refund_id,
    postgresql_where=refund_requests.c.state.in_(sorted(UNFINISHED)),
)
