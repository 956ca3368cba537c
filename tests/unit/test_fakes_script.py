"""What workflow tests rely on when they make a neighbour misbehave."""

from __future__ import annotations

import asyncio

import pytest

from durable_orders.domain.money import Money
from durable_orders.domain.ports import CardCharge, ChargeState, NoAnswerError, RefusedError
from tests.fakes.cards import InMemoryCards
from tests.fakes.script import take_unplayed


async def announced(cards: InMemoryCards) -> CardCharge:
    return await cards.create(
        installation="testshop", order_id="t-1", amount=Money(500, "EUR"), key="k"
    )


async def confirmed(cards: InMemoryCards, charge: CardCharge) -> CardCharge:
    return await cards.confirm(charge.payment_id, payment_method="pm_card_visa", key="k")


async def test_scripted_failures_come_in_order_and_then_end() -> None:
    cards = InMemoryCards()
    cards.fail_next("create", NoAnswerError("first"), times=2)
    cards.fail_next("create", RefusedError("then"))
    for error in (NoAnswerError, NoAnswerError, RefusedError):
        with pytest.raises(error):
            await announced(cards)
    assert cards.charges == {}
    assert (await announced(cards)).state is ChargeState.OPEN
    assert cards.calls == ["create"] * 4


async def test_a_failure_can_last_until_it_is_healed() -> None:
    cards = InMemoryCards()
    cards.fail_until_healed("create", NoAnswerError("down"))
    for _ in range(20):
        with pytest.raises(NoAnswerError):
            await announced(cards)
    cards.heal("create")
    assert (await announced(cards)).state is ChargeState.OPEN


async def test_a_held_call_waits_at_the_gate_before_its_work() -> None:
    cards = InMemoryCards()
    charge = await announced(cards)
    gate = cards.hold("confirm")
    confirming = asyncio.create_task(confirmed(cards, charge))
    await gate.entered()
    assert cards.taken("t-1") == 0
    gate.release()
    assert (await confirming).state is ChargeState.CAPTURED


async def test_a_call_held_after_its_work_has_done_it_even_when_it_is_cancelled() -> None:
    cards = InMemoryCards()
    charge = await announced(cards)
    gate = cards.hold("confirm", where="after")
    confirming = asyncio.create_task(confirmed(cards, charge))
    await gate.entered()
    confirming.cancel()
    with pytest.raises(asyncio.CancelledError):
        await confirming
    assert cards.taken("t-1") == 500


async def test_a_script_for_a_method_that_does_not_exist_is_a_mistake() -> None:
    with pytest.raises(AttributeError, match="confrim"):
        InMemoryCards().fail_next("confrim", NoAnswerError("no"))


async def test_what_was_scripted_and_never_came_is_told_once_and_then_forgotten() -> None:
    cards = InMemoryCards()
    cards.fail_next("create", NoAnswerError("first"))
    cards.fail_next("create", NoAnswerError("second"))
    cards.fail_until_healed("refund", NoAnswerError("down"))
    with pytest.raises(NoAnswerError):
        await announced(cards)
    assert not cards.is_over("create")
    assert take_unplayed() == ["InMemoryCards.create"]
    assert cards.is_over("create")
    assert cards.is_over("refund")
    assert take_unplayed() == []
