"""What the SDK's sandbox costs a run: it loads the workflow anew for each, and more if one asks."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from importlib.machinery import SourceFileLoader
from types import ModuleType

import pytest
from temporalio.api.common.v1 import Payload
from temporalio.converter import (
    ActivitySerializationContext,
    DataConverter,
    ExternalStorage,
    PayloadCodec,
    SerializationContext,
    StorageDriver,
    StorageDriverClaim,
    StorageDriverRetrieveContext,
    StorageDriverSelectContext,
    StorageDriverStoreContext,
    WithSerializationContext,
)
from temporalio.worker import Replayer

from durable_orders.contracts.data_converter import DATA_CONVERTER
from tests.workflows.test_replay import read_history
from workflows import sandbox
from workflows.audit import ReconcileWorkflow
from workflows.order import OrderWorkflow
from workflows.refund import RefundWorkflow


@pytest.mark.parametrize(
    ("recorded", "kind"),
    [("completed", OrderWorkflow), ("refund", RefundWorkflow), ("audit", ReconcileWorkflow)],
)
async def test_a_run_loads_its_own_module_anew_and_no_other(
    recorded: str, kind: type, monkeypatch: pytest.MonkeyPatch
) -> None:
    history = read_history(recorded)
    replayer = Replayer(
        workflows=[kind], workflow_runner=sandbox.RUNNER, data_converter=DATA_CONVERTER
    )
    await replayer.replay_workflow(history)  # now this process has loaded whatever it needs
    loaded: list[str] = []
    load = SourceFileLoader.exec_module

    def told(loader: SourceFileLoader, module: ModuleType) -> None:
        loaded.append(module.__name__)
        load(loader, module)

    monkeypatch.setattr(SourceFileLoader, "exec_module", told)
    await replayer.replay_workflow(history)

    # The SDK tries a workflow once before it runs any.
    assert loaded == ["workflows", kind.__module__] * 2


@dataclass(frozen=True)
class Curious(PayloadCodec, WithSerializationContext):
    """Changes nothing, and remembers of which activities it was shown something."""

    shown: set[str] = field(default_factory=set)
    activity: str = ""

    def with_context(self, context: SerializationContext) -> Curious:
        if isinstance(context, ActivitySerializationContext) and context.activity_type:
            return replace(self, activity=context.activity_type)
        return self

    async def encode(self, payloads: Sequence[Payload]) -> list[Payload]:
        self.shown.update({self.activity} - {""})
        return list(payloads)

    async def decode(self, payloads: Sequence[Payload]) -> list[Payload]:
        return await self.encode(payloads)


async def test_a_codec_is_told_whose_payloads_it_is_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    codec = Curious()
    await replay_with(replace(DATA_CONVERTER, payload_codec=codec), monkeypatch)

    assert codec.shown >= {"charge_card", "fulfill_order"}


class Unused(StorageDriver):
    """Is never given anything."""

    def name(self) -> str:
        return "unused"

    async def store(
        self, context: StorageDriverStoreContext, payloads: Sequence[Payload]
    ) -> list[StorageDriverClaim]:
        raise NotImplementedError

    async def retrieve(
        self, context: StorageDriverRetrieveContext, claims: Sequence[StorageDriverClaim]
    ) -> list[Payload]:
        raise NotImplementedError


async def test_a_storage_for_payloads_is_told_which_run_they_are_of(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    types: set[str | None] = set()

    def leave_it_there(context: StorageDriverSelectContext, _: Payload) -> None:
        types.add(context.target.type if context.target else None)

    storage = ExternalStorage([Unused()], leave_it_there, payload_size_threshold=0)
    await replay_with(replace(DATA_CONVERTER, external_storage=storage), monkeypatch)

    assert types == {"Order"}


async def replay_with(converter: DataConverter, monkeypatch: pytest.MonkeyPatch) -> None:
    """Replay an order that was completed, in a process of which this is the data converter."""
    monkeypatch.setattr(sandbox, "DATA_CONVERTER", converter)
    history = read_history("completed")
    await Replayer(
        workflows=[OrderWorkflow], workflow_runner=sandbox.RUNNER, data_converter=converter
    ).replay_workflow(history)
