"""The SDK's workflow sandbox, as tests, replay and chaos run workflows in it.

`python worker.py` runs them outside of it
(docs/decisions/production-runs-workflows-outside-the-sandbox.md).
"""

from __future__ import annotations

from typing import Final

from temporalio.worker.workflow_sandbox import SandboxedWorkflowRunner, SandboxRestrictions

#: Pure modules are imported once per process instead of once per run; none of them keeps state.
RUNNER: Final = SandboxedWorkflowRunner(
    restrictions=SandboxRestrictions.default.with_passthrough_modules(
        "durable_orders", "activities", "pydantic", "pydantic_core", "annotated_types"
    )
)
