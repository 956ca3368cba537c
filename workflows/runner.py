"""The workflow sandbox and the data converter of all workers, clients and tests."""

from __future__ import annotations

from typing import Any, Final

from temporalio.contrib.pydantic import PydanticJSONPlainPayloadConverter
from temporalio.converter import (
    CompositePayloadConverter,
    DataConverter,
    DefaultPayloadConverter,
    JSONPlainPayloadConverter,
    StorageDriverStoreContext,
)
from temporalio.worker import WorkflowInstance, WorkflowInstanceDetails
from temporalio.worker.workflow_sandbox import SandboxedWorkflowRunner, SandboxRestrictions

_JSON: Final = PydanticJSONPlainPayloadConverter()


class _PayloadConverter(CompositePayloadConverter):
    """The SDK's for pydantic, with one cache of validators per process.

    The SDK makes a converter per run, and its own would build all validators anew for every order:
    about a seventh of a worker's CPU time.
    """

    def __init__(self) -> None:
        super().__init__(
            *(
                _JSON if isinstance(converter, JSONPlainPayloadConverter) else converter
                for converter in DefaultPayloadConverter.default_encoding_payload_converters
            )
        )


#: Decodes the frozen messages of ``orders.messages``, unions by their ``kind``, and validates them.
DATA_CONVERTER: Final = DataConverter(payload_converter_class=_PayloadConverter)


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
        "orders", "activities", "pydantic", "pydantic_core", "annotated_types"
    )
)
