"""The one workflow sandbox and the one data converter that workers, clients, tests share."""

from __future__ import annotations

from typing import Final

from temporalio.contrib.pydantic import PydanticJSONPlainPayloadConverter
from temporalio.converter import (
    CompositePayloadConverter,
    DataConverter,
    DefaultPayloadConverter,
    JSONPlainPayloadConverter,
)
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

#: Pure modules are imported once per process instead of once per run; what keeps state is not here.
RUNNER: Final = SandboxedWorkflowRunner(
    restrictions=SandboxRestrictions.default.with_passthrough_modules(
        "orders", "activities", "pydantic", "pydantic_core", "annotated_types"
    )
)
