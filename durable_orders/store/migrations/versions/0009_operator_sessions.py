"""Operators' sessions, and an index of refunds that may need a person. Only adds."""

from __future__ import annotations

from alembic import op

revision = "0009"
down_revision = "0008"
branch_labels = None
depends_on = None

_CHANGES = """
CREATE TABLE operator_sessions (
    digest bytea NOT NULL,
    key_id text NOT NULL,
    opened_at timestamptz NOT NULL,
    seen_at timestamptz NOT NULL,
    word text,
    done boolean,
    CONSTRAINT operator_sessions_pkey PRIMARY KEY (digest),
    CONSTRAINT operator_sessions_key_id_fkey FOREIGN KEY (key_id) REFERENCES api_keys (id),
    CONSTRAINT operator_sessions_digest_whole CHECK (octet_length(digest) = 32),
    CONSTRAINT operator_sessions_word_whole CHECK ((word IS NULL) = (done IS NULL))
);
CREATE INDEX refund_requests_open ON refund_requests (number)
    WHERE state IN ('awaiting_approval', 'failed', 'issuing');
"""


def upgrade() -> None:
    # asyncpg takes one statement at a time.
    for statement in filter(str.strip, _CHANGES.split(";\n")):
        op.execute(statement)
