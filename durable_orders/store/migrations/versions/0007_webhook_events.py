"""Webhook events, and an index that finds the order of a mail. Only adds."""

from __future__ import annotations

from alembic import op

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None

_CHANGES = """
CREATE TABLE webhook_events (
    number bigint GENERATED ALWAYS AS IDENTITY,
    source text NOT NULL,
    event_id text NOT NULL,
    type text NOT NULL,
    news jsonb NOT NULL,
    received_at timestamptz NOT NULL,
    tries integer NOT NULL DEFAULT 0,
    next_try_at timestamptz NOT NULL,
    problem text NOT NULL DEFAULT '',
    ended_at timestamptz,
    ending text,
    CONSTRAINT webhook_events_pkey PRIMARY KEY (number),
    CONSTRAINT webhook_events_source_key UNIQUE (source, event_id),
    CONSTRAINT webhook_events_source_known CHECK (source IN ('stripe', 'warehouse', 'resend')),
    CONSTRAINT webhook_events_ending_known CHECK (ending IN ('told', 'nobody', 'given_up')),
    CONSTRAINT webhook_events_ended_somehow CHECK ((ended_at IS NULL) = (ending IS NULL))
);
CREATE INDEX webhook_events_untold ON webhook_events (next_try_at) WHERE ended_at IS NULL;
CREATE INDEX webhook_events_ended_at_idx ON webhook_events (ended_at);

CREATE INDEX order_history_mails ON order_history ((detail ->> 'mail'))
    WHERE detail ? 'mail';
"""


def upgrade() -> None:
    # asyncpg takes one statement at a time.
    for statement in filter(str.strip, _CHANGES.split(";\n")):
        op.execute(statement)
