"""What a worker or the API needs before it can work: checks of Temporal and of the database.

Each returns what is wrong in a sentence, or None.
"""

from __future__ import annotations

from datetime import timedelta
from typing import Final

from temporalio.api.workflowservice.v1 import DescribeNamespaceRequest
from temporalio.client import Client
from temporalio.service import RPCError

from durable_orders.clients.connection import translate_rpc_errors
from durable_orders.clients.errors import UnreachableError
from durable_orders.domain.ports import ProviderError
from durable_orders.process import PROGRAM
from durable_orders.store.database import Database
from durable_orders.store.migrations import is_migrated

_TIMEOUT: Final = timedelta(seconds=3)


async def check_temporal(client: Client) -> str | None:
    """Check that Temporal answers, and has our namespace."""
    ours = DescribeNamespaceRequest(namespace=client.namespace)
    try:
        with translate_rpc_errors(client):
            await client.workflow_service.describe_namespace(ours, timeout=_TIMEOUT)
    except (UnreachableError, RPCError) as error:
        return str(error)
    return None


async def check_database(database: Database) -> str | None:
    """Check that the database takes writes, and has the migrations of this version."""
    try:
        await database.require_writable()
        is_ready = await is_migrated(database)
    except ProviderError as error:
        return str(error)
    return None if is_ready else f"it lacks a migration: {PROGRAM} store migrate"
