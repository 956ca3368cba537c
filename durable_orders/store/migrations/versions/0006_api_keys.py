"""The keys of the HTTP API. Only adds."""

from __future__ import annotations

from alembic import op

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None

_CHANGES = """
CREATE TABLE api_keys (
    id text NOT NULL,
    name text NOT NULL,
    scope text NOT NULL,
    digest bytea NOT NULL,
    created_at timestamptz NOT NULL,
    last_used_at timestamptz,
    revoked_at timestamptz,
    CONSTRAINT api_keys_pkey PRIMARY KEY (id),
    CONSTRAINT api_keys_scope_known CHECK (scope IN ('read', 'shop', 'operator')),
    CONSTRAINT api_keys_digest_whole CHECK (octet_length(digest) = 32)
);
CREATE UNIQUE INDEX api_keys_one_in_use ON api_keys (name) WHERE revoked_at IS NULL;
"""


def upgrade() -> None:
    # asyncpg takes one statement at a time.
    for statement in filter(str.strip, _CHANGES.split(";\n")):
        op.execute(statement)
