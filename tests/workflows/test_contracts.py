"""Each workflow does what its contract in ``durable_orders.contracts`` says, and no more."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, get_type_hints

import pytest
from temporalio import workflow
from temporalio.workflow import _Definition  # the SDK has no public way to list a class's handlers

from durable_orders.contracts import audit, order, payment_risk, refund
from workflows.audit import ReconcileWorkflow
from workflows.order import OrderWorkflow
from workflows.payment_risk import PaymentRiskWorkflow
from workflows.refund import RefundWorkflow


@dataclass(frozen=True)
class Signature:
    """What a handler takes and returns; how many of its arguments must be given."""

    arguments: tuple[Any, ...]
    required: int
    result: Any


def signature_of(handler: Callable[..., Any]) -> Signature:
    parameters = list(inspect.signature(handler).parameters.values())[1:]  # without self
    types = get_type_hints(handler)
    return Signature(
        arguments=tuple(types[parameter.name] for parameter in parameters),
        required=sum(parameter.default is parameter.empty for parameter in parameters),
        result=types["return"],
    )


def described(declared: type) -> dict[str, Signature]:
    """The workflow's run, signals, Updates and queries, by kind and name."""
    found = _Definition.must_from_class(declared)
    return {
        f"workflow {found.name}": signature_of(found.run_fn),
        **{f"signal {name}": signature_of(one.fn) for name, one in found.signals.items()},
        **{f"update {name}": signature_of(one.fn) for name, one in found.updates.items()},
        **{f"query {name}": signature_of(one.fn) for name, one in found.queries.items()},
    }


@pytest.mark.parametrize(
    ("contract", "implementation"),
    [
        (order.OrderWorkflow, OrderWorkflow),
        (refund.RefundWorkflow, RefundWorkflow),
        (payment_risk.PaymentRiskWorkflow, PaymentRiskWorkflow),
        (audit.ReconcileWorkflow, ReconcileWorkflow),
    ],
)
def test_a_workflow_is_what_its_contract_says(contract: type, implementation: type) -> None:
    assert described(implementation) == described(contract)
    assert contract not in implementation.__mro__  # a forgotten handler would be inherited


# -- what the comparison notices -------------------------------------------------------------------


@workflow.defn(name="Parcel")
class Whole:
    """A workflow; each of those below differs from it in one thing."""

    @workflow.run
    async def run(self, parcel_id: str) -> bool:
        raise NotImplementedError

    @workflow.signal
    def moved(self, where: str) -> None:
        raise NotImplementedError

    @workflow.update
    async def stop(self, by: str) -> bool:
        raise NotImplementedError

    @workflow.query
    def where(self) -> str | None:
        raise NotImplementedError


@workflow.defn(name="Parcels")
class OtherName(Whole):
    @workflow.run
    async def run(self, parcel_id: str) -> bool:
        raise NotImplementedError


@workflow.defn(name="Parcel")
class OtherRunArgument(Whole):
    @workflow.run
    async def run(self, parcel_id: int) -> bool:  # type: ignore[override]
        raise NotImplementedError


@workflow.defn(name="Parcel")
class OtherRunResult(Whole):
    @workflow.run
    async def run(self, parcel_id: str) -> str:  # type: ignore[override]
        raise NotImplementedError


@workflow.defn(name="Parcel")
class OtherSignalArgument(Whole):
    @workflow.run
    async def run(self, parcel_id: str) -> bool:
        raise NotImplementedError

    @workflow.signal
    def moved(self, where: bytes) -> None:  # type: ignore[override]
        raise NotImplementedError


@workflow.defn(name="Parcel")
class OptionalSignalArgument(Whole):
    @workflow.run
    async def run(self, parcel_id: str) -> bool:
        raise NotImplementedError

    @workflow.signal
    def moved(self, where: str = "") -> None:
        raise NotImplementedError


@workflow.defn(name="Parcel")
class OtherUpdateArgument(Whole):
    @workflow.run
    async def run(self, parcel_id: str) -> bool:
        raise NotImplementedError

    @workflow.update
    async def stop(self, by: int) -> bool:  # type: ignore[override]
        raise NotImplementedError


@workflow.defn(name="Parcel")
class OtherUpdateResult(Whole):
    @workflow.run
    async def run(self, parcel_id: str) -> bool:
        raise NotImplementedError

    @workflow.update
    async def stop(self, by: str) -> int:  # type: ignore[override]
        raise NotImplementedError


@workflow.defn(name="Parcel")
class OtherQueryResult(Whole):
    @workflow.run
    async def run(self, parcel_id: str) -> bool:
        raise NotImplementedError

    @workflow.query
    def where(self) -> str:
        raise NotImplementedError


@workflow.defn(name="Parcel")
class OneHandlerMore(Whole):
    @workflow.run
    async def run(self, parcel_id: str) -> bool:
        raise NotImplementedError

    @workflow.signal
    def lost(self) -> None:
        raise NotImplementedError


@workflow.defn(name="Parcel")
class SignalForgotten:
    @workflow.run
    async def run(self, parcel_id: str) -> bool:
        raise NotImplementedError

    @workflow.update
    async def stop(self, by: str) -> bool:
        raise NotImplementedError

    @workflow.query
    def where(self) -> str | None:
        raise NotImplementedError


@workflow.defn(name="Parcel")
class UpdateForgotten:
    @workflow.run
    async def run(self, parcel_id: str) -> bool:
        raise NotImplementedError

    @workflow.signal
    def moved(self, where: str) -> None:
        raise NotImplementedError

    @workflow.query
    def where(self) -> str | None:
        raise NotImplementedError


@workflow.defn(name="Parcel")
class QueryForgotten:
    @workflow.run
    async def run(self, parcel_id: str) -> bool:
        raise NotImplementedError

    @workflow.signal
    def moved(self, where: str) -> None:
        raise NotImplementedError

    @workflow.update
    async def stop(self, by: str) -> bool:
        raise NotImplementedError


@workflow.defn(name="Parcel")
class UpdateForSignal:
    @workflow.run
    async def run(self, parcel_id: str) -> bool:
        raise NotImplementedError

    @workflow.update
    def moved(self, where: str) -> None:
        raise NotImplementedError

    @workflow.update
    async def stop(self, by: str) -> bool:
        raise NotImplementedError

    @workflow.query
    def where(self) -> str | None:
        raise NotImplementedError


@pytest.mark.parametrize(
    ("other", "differs_in"),
    [
        (OtherName, {"workflow Parcel", "workflow Parcels"}),
        (OtherRunArgument, {"workflow Parcel"}),
        (OtherRunResult, {"workflow Parcel"}),
        (OtherSignalArgument, {"signal moved"}),
        (OptionalSignalArgument, {"signal moved"}),
        (OtherUpdateArgument, {"update stop"}),
        (OtherUpdateResult, {"update stop"}),
        (OtherQueryResult, {"query where"}),
        (OneHandlerMore, {"signal lost"}),
        (SignalForgotten, {"signal moved"}),
        (UpdateForgotten, {"update stop"}),
        (QueryForgotten, {"query where"}),
        (UpdateForSignal, {"signal moved", "update moved"}),
    ],
)
def test_the_comparison_notices_one_thing_off(other: type, differs_in: set[str]) -> None:
    differences = described(Whole).items() ^ described(other).items()
    assert {name for name, _ in differences} == differs_in


def test_the_comparison_lets_validators_and_names_of_arguments_differ() -> None:
    assert described(Whole) == described(WithValidator)


@workflow.defn(name="Parcel")
class WithValidator:
    @workflow.run
    async def run(self, id_: str) -> bool:
        raise NotImplementedError

    @workflow.signal
    async def moved(self, to: str) -> None:
        raise NotImplementedError

    @workflow.update
    def stop(self, operator: str) -> bool:
        raise NotImplementedError

    @stop.validator
    def _validate_stop(self, operator: str) -> None:
        raise NotImplementedError

    @workflow.query
    def where(self) -> str | None:
        raise NotImplementedError
