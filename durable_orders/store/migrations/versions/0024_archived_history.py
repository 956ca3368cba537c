"""The archive of order histories: lines leave ``order_history`` for it, and for nowhere else."""

from __future__ import annotations

from alembic import op

revision = "0024"
down_revision = "0023"
branch_labels = None
depends_on = None

_CHANGES = (
    """
    CREATE TABLE archived_history (
        order_id text NOT NULL CONSTRAINT archived_history_order_id_fkey REFERENCES orders (id),
        first_line bigint NOT NULL,
        archived_at timestamptz NOT NULL,
        ids bigint[] NOT NULL,
        times timestamptz[] NOT NULL,
        events text[] NOT NULL,
        details jsonb[] NOT NULL,
        mails text[] NOT NULL,
        CONSTRAINT archived_history_pkey PRIMARY KEY (order_id, first_line),
        CONSTRAINT archived_history_lines_whole CHECK (
            cardinality(ids) > 0 AND cardinality(ids) = cardinality(times)
            AND cardinality(ids) = cardinality(events) AND cardinality(ids) = cardinality(details))
    )
    """,
    "CREATE INDEX archived_history_mails ON archived_history USING gin (mails)",
    """
    CREATE VIEW whole_history AS
    SELECT id, order_id, at, event, detail FROM order_history
    UNION ALL
    SELECT line.id, archived.order_id, line.at, line.event, line.detail
    FROM archived_history AS archived,
        unnest(archived.ids, archived.times, archived.events, archived.details)
            AS line (id, at, event, detail)
    """,
    """
    CREATE TRIGGER archived_history_only_grows
        BEFORE UPDATE OR DELETE OR TRUNCATE ON archived_history
        FOR EACH STATEMENT EXECUTE FUNCTION order_history_only_grows()
    """,
    # A line may be deleted by the statement that archives it, and by no other.
    """
    CREATE FUNCTION order_history_leaves_for_archive() RETURNS trigger LANGUAGE plpgsql AS $$
    BEGIN
        IF EXISTS (
            SELECT id, order_id, at, event, detail FROM gone
            EXCEPT
            SELECT line.id, archived.order_id, line.at, line.event, line.detail
            FROM archived_history AS archived,
                unnest(archived.ids, archived.times, archived.events, archived.details)
                    AS line (id, at, event, detail)
            WHERE archived.order_id IN (SELECT order_id FROM gone)
        ) THEN
            RAISE EXCEPTION 'the history of an order can only grow: % is not allowed', TG_OP;
        END IF;
        RETURN NULL;
    END
    $$
    """,
    "DROP TRIGGER order_history_only_grows ON order_history",
    """
    CREATE TRIGGER order_history_only_grows
        BEFORE UPDATE OR TRUNCATE ON order_history
        FOR EACH STATEMENT EXECUTE FUNCTION order_history_only_grows()
    """,
    """
    CREATE TRIGGER order_history_leaves_for_archive
        AFTER DELETE ON order_history REFERENCING OLD TABLE AS gone
        FOR EACH STATEMENT EXECUTE FUNCTION order_history_leaves_for_archive()
    """,
)


def upgrade() -> None:
    # asyncpg takes one statement at a time.
    for statement in _CHANGES:
        op.execute(statement)
