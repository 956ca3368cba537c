"""Each activity is done for the run that its argument names, and for nobody else."""

from __future__ import annotations

from dataclasses import dataclass, replace
from types import SimpleNamespace
from typing import Final

import pytest
from temporalio import activity
from temporalio.testing import ActivityEnvironment

from activities.origins import ORIGINS, find_stray
from durable_orders.domain.audit.messages import AUDIT_ID

#: What any activity may be about, under each name by which one of them calls it.
REF: Final = SimpleNamespace(order_id="1001", refund_id="r1")
ABOUT: Final = SimpleNamespace(order_id="1001", refund_id="r1", refund=REF, discrepancy=REF)

#: The runs that belong to it, by type.
OWN: Final = {
    "Order": "order-1001",
    "Refund": "refund-1001-r1",
    "PaymentRisk": "payment-risk-1001",
    "Examine": "examine-1001",
    "Reconcile": f"{AUDIT_ID}-2026-12-01T00:00:00Z",
}
#: Runs that are near it and do not belong to it.
OTHERS: Final = [
    *((kind, own.replace("1001", "1002")) for kind, own in OWN.items() if kind != "Reconcile"),
    *((kind, "mine") for kind in OWN),
    *(("Mine", own) for own in OWN.values()),
    *(("order", own) for own in OWN.values()),
    *((kind, f" {own}") for kind, own in OWN.items()),
    ("Order", "order-1001-r1"),
    ("Order", "refund-1001-r1"),
    ("Order", "order-"),
    ("Refund", "order-1001"),
    ("Refund", "refund-1001"),
    ("Refund", "refund-10-01-r1"),
    ("Reconcile", f"{AUDIT_ID}x"),
    ("", "order-1001"),
]


@dataclass(frozen=True)
class Caller:
    """Who asks for an activity, as the server says."""

    workflow_type: str | None
    workflow_id: str | None

    def asks(self, name: str, *arguments: object) -> str | None:
        return find_stray(self.info(name), arguments)

    def info(self, name: str) -> activity.Info:
        return replace(
            ActivityEnvironment.default_info(),
            activity_type=name,
            workflow_type=self.workflow_type,
            workflow_id=self.workflow_id,
        )


#: ``Client.execute_activity``.
NOBODY: Final = Caller(None, None)


@pytest.mark.parametrize("name", ORIGINS)
def test_an_activity_by_itself_is_done_for_nobody(name: str) -> None:
    why = NOBODY.asks(name, ABOUT)
    assert why is not None
    assert f"nothing was done: {name} is done for" in why
    assert "this came from no workflow" in why


@pytest.mark.parametrize("name", ORIGINS)
def test_an_activity_is_done_for_its_own_run_alone(name: str) -> None:
    kinds = {origin.workflow_type for origin in ORIGINS[name]}
    done = {kind for kind, own in OWN.items() if Caller(kind, own).asks(name, ABOUT) is None}
    assert done == kinds


@pytest.mark.parametrize(("kind", "run"), OTHERS)
def test_no_activity_is_done_for_another_run(kind: str, run: str) -> None:
    for name in ORIGINS:
        why = Caller(kind, run).asks(name, ABOUT)
        assert why is not None, name
        assert f"from the run {run!r} of the type {kind!r}" in why


@pytest.mark.parametrize("id_", ["", "10/01", "a b", "1001\n", "1" * 65, "\u202e1001"])
@pytest.mark.parametrize("kind", [kind for kind in OWN if kind != "Reconcile"])
def test_an_id_that_no_order_has_is_nobodys(kind: str, id_: str) -> None:
    ref = SimpleNamespace(order_id=id_, refund_id="r1")
    about = SimpleNamespace(order_id=id_, refund_id="r1", refund=ref, discrepancy=ref)
    caller = Caller(kind, OWN[kind].replace("1001", id_))
    assert [name for name in ORIGINS if caller.asks(name, about) is None] == []


@pytest.mark.parametrize("arguments", [(), (ABOUT, ABOUT)])
def test_an_activity_without_its_one_argument_is_not_done(arguments: tuple[object, ...]) -> None:
    assert Caller("Order", "order-1001").asks("refund_card", *arguments) is not None


def test_an_activity_that_is_not_listed_is_done_for_nobody() -> None:
    assert "is done for no runs" in (Caller("Order", "order-1001").asks("give_away", ABOUT) or "")


def test_what_a_caller_names_itself_moves_no_cursor() -> None:
    why = Caller("Or\x1b[2Jder", "order-\n1001\u202e").asks("refund_card", ABOUT)
    assert why is not None
    assert why.isprintable()
