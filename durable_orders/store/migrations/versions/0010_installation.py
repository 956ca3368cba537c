"""The installation's name and binding, and the prefix of each order's keys. Only adds.

The name is made here, once. An order gets it as its prefix when it is inserted, also by the version
that runs until the deploy.
"""

from __future__ import annotations

import secrets
import string

import sqlalchemy
from alembic import op

revision = "0010"
down_revision = "0009"
branch_labels = None
depends_on = None

_CHANGES = (
    """
CREATE TABLE installation (
    singleton boolean NOT NULL DEFAULT true,
    name text NOT NULL,
    former_names text[] NOT NULL DEFAULT '{}'::text[],
    stripe_account text,
    livemode boolean,
    created_at timestamptz NOT NULL DEFAULT now(),
    CONSTRAINT installation_pkey PRIMARY KEY (singleton),
    CONSTRAINT installation_one_row CHECK (singleton),
    CONSTRAINT installation_name_well_formed CHECK (name ~ '^[a-z][a-z0-9]{3,23}$'),
    CONSTRAINT installation_bound_as_a_whole
        CHECK (stripe_account IS NULL OR livemode IS NOT NULL)
)
""",
    """
CREATE FUNCTION installation_name() RETURNS text LANGUAGE sql STABLE
    AS 'SELECT name FROM installation'
""",
)


def upgrade() -> None:
    # asyncpg takes one statement at a time.
    for statement in _CHANGES:
        op.execute(statement)
    made = sqlalchemy.text("INSERT INTO installation (name) VALUES (:name)")
    op.execute(made.bindparams(name=_new_name()))
    # The default is evaluated once for the rows that are there, and then for each new one.
    op.execute("ALTER TABLE orders ADD COLUMN key_prefix text NOT NULL DEFAULT installation_name()")


def _new_name() -> str:
    letters, digits = string.ascii_lowercase, string.digits
    return "".join(map(secrets.choice, (letters, *[letters + digits] * 11)))
