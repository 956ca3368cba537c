"""The one workflow sandbox that workers, tests and replays share."""

from __future__ import annotations

from typing import Final

from temporalio.contrib.pydantic import pydantic_data_converter
from temporalio.worker.workflow_sandbox import SandboxedWorkflowRunner, SandboxRestrictions

#: Decodes the frozen messages of ``orders.messages``, unions by their ``kind``, and validates them.
DATA_CONVERTER: Final = pydantic_data_converter

#: Pure modules are imported once per process instead of once per run; what keeps state is not here.
RUNNER: Final = SandboxedWorkflowRunner(
    restrictions=SandboxRestrictions.default.with_passthrough_modules(
        "orders", "activities", "pydantic", "pydantic_core", "annotated_types"
    )
)
