"""Alembic environment; ``durable_orders.store.migrations.migrate`` passes the connection."""

from alembic import context

from durable_orders.store.tables import metadata

context.configure(connection=context.config.attributes["connection"], target_metadata=metadata)
# The caller owns the transaction: it holds the lock until everything is committed.
context.run_migrations()
