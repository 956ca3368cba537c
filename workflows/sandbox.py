"""The workflow sandbox of all workers and tests."""

from __future__ import annotations

from typing import Any, Final

from temporalio.converter import StorageDriverStoreContext
from temporalio.worker import WorkflowInstance, WorkflowInstanceDetails
from temporalio.worker.workflow_sandbox import SandboxedWorkflowRunner, SandboxRestrictions

from durable_orders.contracts.data_converter import DATA_CONVERTER


def _no_context(command_info: Any) -> None:
    """The serialization context of a payload: none."""


def _no_external_store(command_info: Any) -> StorageDriverStoreContext:  # noqa: ARG001 - the SDK's
    """The store context of a payload that is not in external storage."""
    return StorageDriverStoreContext(target=None)


class _Runner(SandboxedWorkflowRunner):
    """The SDK's sandbox, without the contexts of payloads that are not used.

    Only a codec and external storage use them. The SDK asks the run for one to serialize each
    payload, two or three times, and for one to store it, each time through the sandbox: about a
    sixth of a worker's CPU time.
    """

    def create_instance(self, det: WorkflowInstanceDetails) -> WorkflowInstance:
        instance = super().create_instance(det)
        if DATA_CONVERTER.payload_codec is None and DATA_CONVERTER.external_storage is None:
            instance.get_serialization_context = _no_context  # type: ignore[method-assign]
            instance.get_external_store_context = _no_external_store  # type: ignore[method-assign]
        return instance


#: Pure modules are imported once per process instead of once per run; none of them keeps state.
RUNNER: Final = _Runner(
    restrictions=SandboxRestrictions.default.with_passthrough_modules(
        "durable_orders", "activities", "pydantic", "pydantic_core", "annotated_types"
    )
)
