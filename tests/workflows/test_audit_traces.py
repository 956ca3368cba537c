"""What the audit repairs, and what has changed since it was found, stays visible until an operator
has acknowledged it, however long ago the order ended.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import UTC, datetime

import pytest

from durable_orders.domain.activity_messages import ManualRefund
from durable_orders.domain.audit.messages import Acknowledgement
from durable_orders.domain.audit.model import DiscrepancyKind
from durable_orders.domain.lifecycle import Status
from durable_orders.domain.money import Money
from durable_orders.domain.ports import ChargeState, NoAnswerError
from durable_orders.domain.refunds.refund import RefundRequest
from tests.fakes.cards import PROCESSING
from tests.support.charges import card_try, record
from tests.support.keys import INSTALLATION
from tests.support.servers import Servers
from tests.workflows.conftest import TOTAL, Clients
from tests.workflows.refunds import begin
from tests.workflows.test_audit import Audited, opened
from tests.workflows.test_late_refunds import age, completed, examined, found_of, undone

FIVE = Money(5_00, "EUR")
#: Within the window of the audit; after it; after the list of refunds as well.
AGES = [0, 10, 200]
#: The way of an order to its end, whether or not it was paid.
SENT = (Status.PAID, Status.FULFILLED, Status.COMPLETED)


@pytest.fixture(scope="module")
async def clients(servers: Servers) -> Clients:
    return await Clients.of(servers.temporal("audits"))


@pytest.fixture
async def audited(clients: Clients) -> AsyncIterator[Audited]:
    async with opened(clients) as audited:
        yield audited


async def acknowledged(audited: Audited, order_id: str) -> None:
    """An operator answers for everything that is found of the order."""
    word = Acknowledgement("ops-7", "the customer sends it back", datetime.now(UTC))
    for kind in found_of(audited, order_id):
        await audited.findings.acknowledge(order_id, DiscrepancyKind(kind), word)


async def shown(audited: Audited) -> set[str]:
    """What ``attention`` lists."""
    return {one.kind.value for one in await audited.findings.listed(everything=False, limit=99)}


async def waits_for_an_answer(audited: Audited, order_id: str, *kinds: str) -> None:
    """The audit shows these of the order, again and again, until they are acknowledged."""
    for _ in range(2):
        await audited.audit()
        assert set(found_of(audited, order_id)) == set(kinds)
        assert await shown(audited) == set(kinds)
    await acknowledged(audited, order_id)
    report = await audited.audit()
    assert report.acknowledged == len(kinds)
    assert (report.flagged, report.known, report.repaired) == (0, 0, 0)
    assert await shown(audited) == set()


# -- what a repair leaves behind -------------------------------------------------------------------


@pytest.mark.parametrize("days", AGES)
async def test_a_refund_that_was_made_again_at_the_provider_is_found(
    audited: Audited, days: int
) -> None:
    """5.00 of goodwill by us, and the same 5.00 by a hand in the dashboard."""
    order_id, payment_id = await completed(audited)
    await (await begin(audited.shop, RefundRequest(order_id, "r1", amount=FIVE))).result()
    age(audited, order_id, days)
    assert (await audited.audit()).found == {}
    audited.shop.cards.refund_by_hand(payment_id, FIVE)

    report = await audited.audit()

    assert report.found == {"books_behind": 1, "money_moved": 1, "refunds_differ": 1}
    details = found_of(audited, order_id)
    assert details["money_moved"] == (
        "completed: our books said captured with 29.00 EUR taken, 5.00 EUR given back, "
        "the provider said captured with 29.00 EUR taken, 10.00 EUR given back, "
        "which is recorded now"
    )
    assert "10.00 EUR was given back, but its refunds come to 5.00 EUR" in details["refunds_differ"]
    await waits_for_an_answer(audited, order_id, "money_moved", "refunds_differ")


@pytest.mark.parametrize("days", AGES)
async def test_what_was_given_back_by_hand_and_then_at_the_provider_too_is_found(
    audited: Audited, days: int
) -> None:
    order_id = await audited.placed()
    payment_id = await audited.charged(order_id)
    await record(audited.shop.ledger, order_id, audited.shop.cards.charges[payment_id], answers=1)
    by_hand = ManualRefund(order_id, TOTAL, "ops-7", "by bank transfer")
    await audited.shop.ledger.record_manual_refund(by_hand)
    await audited.end(order_id, Status.REFUNDED)
    await audited.audit()
    await acknowledged(audited, order_id)  # that the provider has it still
    age(audited, order_id, days)
    audited.shop.cards.refund_by_hand(payment_id)

    await audited.audit()

    assert set(found_of(audited, order_id)) == {"given_back_too_much", "money_moved"}
    await waits_for_an_answer(audited, order_id, "given_back_too_much", "money_moved")


@pytest.mark.parametrize("days", AGES)
async def test_a_hold_that_is_captured_for_an_order_that_was_cancelled_is_found(
    audited: Audited, days: int
) -> None:
    order_id, payment_id = await audited.held_for_nothing()
    age(audited, order_id, days)
    audited.shop.cards.capture_by_hand(payment_id, TOTAL)

    await audited.audit()

    assert await audited.state_in_books(order_id) == ChargeState.CAPTURED
    assert (
        found_of(audited, order_id)["money_kept"] == "cancelled, and 29.00 EUR was not given back"
    )
    await waits_for_an_answer(audited, order_id, "money_kept", "money_moved")


async def test_a_hold_that_is_captured_just_as_it_is_released_is_found_at_once(
    audited: Audited,
) -> None:
    order_id, payment_id = await audited.held_for_nothing()
    releasing = audited.shop.cards.hold("cancel")
    audit = await audited.begin()
    await releasing.entered()
    audited.shop.cards.capture_by_hand(payment_id, TOTAL)
    releasing.release()

    report = await audit.result()

    assert report.found == {"live_charge": 1, "money_kept": 1, "money_moved": 1}
    assert (await audited.audit()).known == 2
    assert set(found_of(audited, order_id)) == {"money_kept", "money_moved"}


@pytest.mark.parametrize("days", AGES)
async def test_what_a_bank_takes_of_an_order_that_was_given_back_is_found(
    audited: Audited, days: int
) -> None:
    """No money moves by an audit here: the books change, and nobody else compares them."""
    order_id = await undone(audited, "pm_card_visa")
    age(audited, order_id, days)
    [charge] = audited.shop.cards.charges_of(order_id)
    dispute = audited.shop.risks.dispute(charge.payment_id, TOTAL)
    audited.shop.risks.lose(dispute.dispute_id)
    report = await audited.shop.risks.risks_of(charge.payment_id)
    await audited.shop.disputes.record(order_id, report, datetime.now(UTC))

    await audited.audit()

    detail = found_of(audited, order_id)["given_back_too_much"]
    assert "29.00 EUR more than was taken was refunded or disputed" in detail


@pytest.mark.parametrize("step", ["record", "record_refund"])
async def test_a_repair_that_is_made_and_whose_answer_is_lost_leaves_the_same_trace(
    audited: Audited, step: str
) -> None:
    order_id, payment_id = await completed(audited)
    age(audited, order_id, 10)
    audited.shop.cards.refund_by_hand(payment_id, FIVE)
    audited.shop.ledger.lose_answer_next(step)

    await audited.audit()
    await audited.audit()

    assert set(found_of(audited, order_id)) == {"money_moved", "refunds_differ"}


async def test_a_repair_after_which_nobody_could_look_again_is_made_up_for(
    audited: Audited,
) -> None:
    """The worker is lost between the two; the audit that sees the finding next looks again."""
    order_id, payment_id = await completed(audited)
    age(audited, order_id, 10)
    audited.shop.cards.refund_by_hand(payment_id, FIVE)
    recorded = audited.shop.ledger.hold("record_refund", where="after")
    audit = await audited.begin()
    await recorded.entered()
    await audit.terminate("the server is gone")
    audited.charges.fail_next("find", NoAnswerError("nobody answers"))
    recorded.release()
    assert "refunds_differ" not in found_of(audited, order_id)

    await audited.audit()

    assert set(found_of(audited, order_id)) == {"money_moved", "refunds_differ"}
    behind = audited.finding(DiscrepancyKind.BOOKS_BEHIND, order_id)
    assert behind.resolved_at is not None


async def test_an_examination_leaves_the_same_trace_as_an_audit(audited: Audited) -> None:
    order_id, payment_id = await completed(audited)
    age(audited, order_id, 10)
    audited.shop.cards.refund_by_hand(payment_id, FIVE)
    report = await examined(audited, order_id)
    assert report.found == {"books_behind": 1, "money_moved": 1, "refunds_differ": 1}
    await waits_for_an_answer(audited, order_id, "money_moved", "refunds_differ")


async def test_all_that_moved_since_the_last_answer_is_told(audited: Audited) -> None:
    order_id, payment_id = await completed(audited)
    age(audited, order_id, 10)
    for _ in range(2):
        audited.shop.cards.refund_by_hand(payment_id, FIVE)
        await audited.audit()
    detail = found_of(audited, order_id)["money_moved"]
    assert detail.count("which is recorded now") == 2
    await acknowledged(audited, order_id)
    audited.shop.cards.refund_by_hand(payment_id, FIVE)
    await audited.audit()
    assert await shown(audited) == {"money_moved", "refunds_differ"}
    detail = found_of(audited, order_id)["money_moved"]
    assert detail.count("which is recorded now") == 1
    assert "15.00 EUR given back, which is recorded now" in detail


# -- a finding that no longer holds ----------------------------------------------------------------


async def processing(audited: Audited, *statuses: Status) -> tuple[str, str]:
    """An order that ended while its charge was still at the bank."""
    order_id = await audited.placed()
    shop = audited.shop
    charge = await shop.cards.create(
        installation=INSTALLATION, order_id=order_id, amount=TOTAL, key=f"pay:{order_id}"
    )
    payment_id = charge.payment_id
    await shop.ledger.announce(order_id, payment_id, TOTAL, card_try(order_id))
    await shop.cards.confirm(payment_id, payment_method=PROCESSING, key=f"try:{order_id}")
    await record(shop.ledger, order_id, shop.cards.charges[payment_id], answers=1)
    for status in statuses:
        await audited.end(order_id, status)
    return order_id, payment_id


@pytest.mark.parametrize("is_found_before", [True, False])
async def test_a_charge_that_is_captured_on_the_third_day_is_money_kept(
    audited: Audited, *, is_found_before: bool
) -> None:
    order_id, payment_id = await processing(audited, Status.CANCELLED)
    if is_found_before:
        await audited.audit()
        assert list(found_of(audited, order_id)) == ["live_charge"]
    age(audited, order_id, 3)
    audited.shop.cards.finish_processing(payment_id, captured=True)

    await audited.audit()

    assert set(found_of(audited, order_id)) == {"money_kept", "money_moved"}
    if is_found_before:
        live = audited.finding(DiscrepancyKind.LIVE_CHARGE, order_id)
        assert live.resolution == "settled"
    await waits_for_an_answer(audited, order_id, "money_kept", "money_moved")


async def test_a_charge_that_is_declined_on_the_third_day_is_settled(audited: Audited) -> None:
    order_id, payment_id = await processing(audited, Status.CANCELLED)
    await audited.audit()
    age(audited, order_id, 3)
    audited.shop.cards.finish_processing(payment_id, captured=False)
    await audited.audit()
    assert found_of(audited, order_id) == {}
    assert audited.shop.cards.charges[payment_id].state is ChargeState.CANCELLED


async def test_goods_that_are_paid_for_weeks_later_need_an_answer_for_the_money_only(
    audited: Audited,
) -> None:
    order_id, payment_id = await processing(audited, *SENT)
    await audited.audit()
    assert set(found_of(audited, order_id)) == {"live_charge", "shipped_unpaid"}
    age(audited, order_id, 14)
    audited.shop.cards.finish_processing(payment_id, captured=True)

    await audited.audit()

    await waits_for_an_answer(audited, order_id, "money_moved")


async def test_a_stranded_order_whose_hold_lapses_stays_stranded(audited: Audited) -> None:
    order_id = await audited.placed()
    payment_id = await audited.charged(order_id, hold=True)
    await record(audited.shop.ledger, order_id, audited.shop.cards.charges[payment_id], answers=1)
    await audited.end(order_id, Status.HELD)
    await audited.audit()
    assert list(found_of(audited, order_id)) == ["stranded_with_money"]
    age(audited, order_id, 8)
    audited.shop.cards.lapse(payment_id)

    await audited.audit()

    details = found_of(audited, order_id)
    assert list(details) == ["stranded"]
    assert "nothing is taken" in details["stranded"]


async def test_what_only_the_end_of_an_open_run_can_tell_is_not_settled_by_its_start(
    audited: Audited,
) -> None:
    """An order that has ended is reset: nobody looks at its money while the run is open."""
    order_id = await undone(audited, "pm_card_visa")
    by_hand = ManualRefund(order_id, TOTAL, "ops-7", "by bank transfer")
    await audited.shop.ledger.record_manual_refund(by_hand)
    await audited.audit()
    assert list(found_of(audited, order_id)) == ["given_back_too_much"]
    age(audited, order_id, 10)
    audited.runs.carried.add(order_id)
    await audited.audit()
    assert "given_back_too_much" in found_of(audited, order_id)
    audited.runs.carried.clear()
    assert (await audited.audit()).known == 1
    assert list(found_of(audited, order_id)) == ["given_back_too_much"]
