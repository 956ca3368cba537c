"""The one workflow sandbox that workers and tests share."""

from __future__ import annotations

from typing import Any, Final

from temporalio.converter import StorageDriverStoreContext
from temporalio.worker import WorkflowInstance, WorkflowInstanceDetails
from temporalio.worker.workflow_sandbox import SandboxedWorkflowRunner, SandboxRestrictions

from durable_orders.contracts.data_converter import DATA_CONVERTER


def _no_context(command_info: Any) -> None:
    """What a run answers that is asked for the context of a payload which needs none."""


def _stored_nowhere(command_info: Any) -> StorageDriverStoreContext:  # noqa: ARG001 - the SDK's
    """What a run answers that is asked where a payload belongs which is stored nowhere else."""
    return StorageDriverStoreContext(target=None)


class _Runner(SandboxedWorkflowRunner):
    """The SDK's sandbox, which asks no run for a context that nobody uses.

    Only a codec and external storage use one. The SDK asks for one to serialize each payload, two
    or three times, and for one to store it, each time through the sandbox: about a sixth of a
    worker's CPU time.
    """

    def create_instance(self, det: WorkflowInstanceDetails) -> WorkflowInstance:
        instance = super().create_instance(det)
        if DATA_CONVERTER.payload_codec is None and DATA_CONVERTER.external_storage is None:
            instance.get_serialization_context = _no_context  # type: ignore[method-assign]
            instance.get_external_store_context = _stored_nowhere  # type: ignore[method-assign]
        return instance


#: Pure modules are imported once per process instead of once per run; what keeps state is not here.
RUNNER: Final = _Runner(
    restrictions=SandboxRestrictions.default.with_passthrough_modules(
        "orders", "activities", "durable_orders", "pydantic", "pydantic_core", "annotated_types"
    )
)
