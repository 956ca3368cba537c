"""The plan of a run: the same for the same seed, and with everything in it."""

from __future__ import annotations

import re
from collections import Counter
from pathlib import Path

import pytest

from chaos.plan import Capture, FaultKind, OrderKind, Plan, plan

ROOT = Path(__file__).resolve().parents[2]
SEEDS = range(20)


def drawn(seed: int, orders: int = 500) -> Plan:
    return plan(orders=orders, seed=seed)


def test_a_seed_is_one_schedule() -> None:
    assert drawn(7) == drawn(7)
    assert drawn(7).digest == drawn(7).digest
    assert len({drawn(seed).digest for seed in SEEDS}) == len(SEEDS)


def test_what_is_printed_is_the_whole_schedule() -> None:
    lines = list(drawn(7).lines())

    assert len(lines) == len(drawn(7).orders) + len(drawn(7).faults) + 3
    assert lines[-1] == f"seed 7, schedule {drawn(7).digest}"


@pytest.mark.parametrize("seed", SEEDS)
def test_a_small_run_has_every_kind_of_order_too(seed: int) -> None:
    planned = drawn(seed, orders=40)

    assert len(planned.orders) == 40
    assert {order.kind for order in planned.orders} == set(OrderKind)


@pytest.mark.parametrize("seed", SEEDS)
def test_a_large_run_has_every_kind_of_fault(seed: int) -> None:
    planned = drawn(seed)

    assert {fault.kind for fault in planned.faults} == set(FaultKind)
    assert all(0 <= fault.at <= planned.seconds for fault in planned.faults)


def test_the_run_of_ci_has_every_kind_of_fault() -> None:
    command = (ROOT / ".ci/run").read_text()
    found = re.search(r"-m chaos --orders (\d+) --seed (\d+)", command)
    assert found is not None

    planned = plan(orders=int(found[1]), seed=int(found[2]))

    assert {fault.kind for fault in planned.faults} == set(FaultKind)
    assert {order.kind for order in planned.orders} == set(OrderKind)


def test_no_hold_lapses_where_nothing_is_held() -> None:
    planned = plan(orders=500, seed=1, capture=Capture.AT_CHECKOUT)

    assert OrderKind.HOLD_LAPSED not in {order.kind for order in planned.orders}


@pytest.mark.parametrize("seed", SEEDS)
def test_a_process_that_is_down_is_not_killed_again(seed: int) -> None:
    busy: dict[str, float] = {}
    for fault in drawn(seed).faults:
        if fault.kind in {FaultKind.KILL, FaultKind.FREEZE}:
            assert fault.at >= busy.get(fault.target, 0)
            busy[fault.target] = fault.at + fault.seconds


@pytest.mark.parametrize("seed", SEEDS)
def test_more_buyers_race_for_a_product_than_there_are_pieces(seed: int) -> None:
    planned = drawn(seed)
    racing = [order for order in planned.orders if order.kind is OrderKind.RACING]
    wanted = Counter(order.lines[0][0] for order in racing)

    assert wanted.keys() == planned.last_units.keys()
    assert all(planned.last_units[sku] < wanted[sku] for sku in wanted if wanted[sku] > 1)
    assert max(wanted.values()) == 6


def test_each_order_has_an_id_of_its_own() -> None:
    ids = [order.order_id for order in drawn(3, orders=3_000).orders]

    assert len(set(ids)) == 3_000
