"""What keeps failing shows itself, and a person has a way out of it."""

from __future__ import annotations

from collections.abc import Awaitable
from datetime import datetime, timedelta

import pytest
from temporalio.client import WorkflowHandle, WorkflowUpdateFailedError
from temporalio.exceptions import ApplicationError

from durable_orders.contracts import search_attributes
from durable_orders.contracts.error_types import NOT_OPERABLE
from durable_orders.domain.activity_messages import Attention, Outcome, Progress
from durable_orders.domain.lifecycle import Status, StopReason
from durable_orders.domain.money import Money
from durable_orders.domain.parcels import ParcelStatus
from durable_orders.domain.ports import LockedOutError, NoAnswerError, RefusedError
from durable_orders.domain.terms import ShopTerms
from durable_orders.domain.workflow_messages import OperatorCommand, Resolve, RetryNow, SkipStep
from durable_orders.process import PROGRAM
from tests.fakes.script import Scripted
from tests.support.eventually import eventually
from tests.workflows.conftest import TOTAL, Shop, current_details, ended
from tests.workflows.test_delivery import tell
from workflows.order import OrderWorkflow

Handle = WorkflowHandle[OrderWorkflow, Outcome]

SOON = timedelta(milliseconds=10)
#: Whoever waits for the next try by itself waits for longer than a test lasts.
NEVER = timedelta(hours=3)


def silent(neighbour: Scripted, method: str, *, tries: int) -> None:
    """Gives no answer for ``tries`` quick tries and for one more, and answers from then on."""
    neighbour.fail_next(method, NoAnswerError("nobody answers", retry_after=SOON), times=tries)
    neighbour.fail_next(method, NoAnswerError("nobody answers", retry_after=NEVER))


async def troubled(handle: Handle, *, calls: Scripted | None = None) -> Attention:
    """What keeps failing, once something does; with ``calls``, once the patient try has failed."""
    progress: Progress | None = None
    before = len(calls.calls) if calls else 0

    async def flagged() -> bool:
        nonlocal progress
        progress = await handle.query(OrderWorkflow.status)
        tried = calls is None or len(calls.calls) > before
        return progress.attention is not None and tried

    await eventually(flagged)
    assert progress is not None
    assert progress.attention is not None
    return progress.attention


async def give(handle: Handle, command: OperatorCommand) -> None:
    await handle.execute_update(OrderWorkflow.operate, command)


async def refused(update: Awaitable[object]) -> str:
    with pytest.raises(WorkflowUpdateFailedError) as refusal:
        await update
    cause = refusal.value.cause
    assert isinstance(cause, ApplicationError)
    assert cause.type == NOT_OPERABLE
    return cause.message


async def listed(shop: Shop, handle: Handle) -> bool:
    """Whether a search for what needs attention finds the order."""
    query = f"{search_attributes.NEEDS_ATTENTION.name} = true AND WorkflowId = '{handle.id}'"
    return [run.id async for run in shop.client.list_workflows(query)] == [handle.id]


async def words(shop: Shop, handle: Handle) -> list[tuple[str, dict[str, str]]]:
    """The operator's words in the order's history."""
    view = await shop.book.view(handle.id.removeprefix("order-"))
    return [(line.event, line.detail) for line in view.history if "operator" in line.event]


async def refusing_warehouse(shop: Shop) -> Handle:
    """An order that is paid, and then undone: the warehouse will not ship it."""
    order_id = await shop.place()
    shop.warehouse.refuse(order_id, "the roof leaks")
    return await shop.start(order_id, waits=True)


async def test_a_step_that_keeps_failing_shows_itself_and_what_can_be_done(shop: Shop) -> None:
    silent(shop.warehouse, "fulfill", tries=6)
    handle = await shop.order(waits=True)

    found = await troubled(handle)

    assert (found.step, found.problem) == ("fulfill_order", "nobody answers")
    assert datetime.fromisoformat(found.since).tzinfo is not None
    assert found.can == ("retry_now", "skip_step")
    await eventually(lambda: listed(shop, handle))
    shown = await current_details(handle)
    order_id = handle.id.removeprefix("order-")
    assert f"`fulfill_order` since {found.since} keeps failing" in shown
    assert "nobody answers" in shown
    assert f"`{PROGRAM} retry-now {order_id}`" in shown
    assert f'`{PROGRAM} skip-step {order_id} --reason "…"`' in shown
    assert "resolve" not in shown


async def test_retry_now_does_not_wait_for_the_next_try(shop: Shop) -> None:
    silent(shop.warehouse, "fulfill", tries=6)
    handle = await shop.order(waits=True)
    await troubled(handle)

    async def tried_seven_times() -> bool:
        return shop.warehouse.calls.count("fulfill") == 7

    await eventually(tried_seven_times)
    await give(handle, RetryNow("ops-7"))
    outcome = await shop.check(await handle.result())

    assert outcome.status is Status.COMPLETED
    detail = {"by": "ops-7", "step": "fulfill_order", "why": ""}
    assert await words(shop, handle) == [("operator_retry_now", detail)]


async def test_what_no_longer_fails_needs_no_attention(shop: Shop) -> None:
    silent(shop.warehouse, "fulfill", tries=6)
    gate = shop.mailer.hold("send")
    handle = await shop.order(waits=True)
    await troubled(handle)
    await eventually(lambda: listed(shop, handle))
    await give(handle, RetryNow())

    await gate.entered()

    assert (await handle.query(OrderWorkflow.status)).attention is None
    assert "attention" not in await current_details(handle)

    async def unlisted() -> bool:
        return not await listed(shop, handle)

    await eventually(unlisted)
    gate.release()
    await shop.check(await handle.result())


async def test_what_heals_by_itself_needs_nobody(shop: Shop) -> None:
    shop.warehouse.fail_next("fulfill", NoAnswerError("nobody answers"), times=12)
    handle = await shop.order()
    outcome = await shop.check(await handle.result())
    assert outcome.status is Status.COMPLETED
    found = (await handle.describe()).typed_search_attributes
    assert found.get(search_attributes.NEEDS_ATTENTION) is False


async def test_retrying_something_that_still_fails_keeps_since_when(shop: Shop) -> None:
    silent(shop.warehouse, "fulfill", tries=6)
    shop.warehouse.fail_next("fulfill", NoAnswerError("nobody answers", retry_after=NEVER))
    handle = await shop.order(waits=True)
    first = await troubled(handle)
    await give(handle, RetryNow())
    assert await troubled(handle) == first
    await give(handle, RetryNow("ops-8"))
    assert (await shop.check(await handle.result())).status is Status.COMPLETED


async def test_a_skipped_step_undoes_the_order_and_says_why(shop: Shop) -> None:
    silent(shop.warehouse, "fulfill", tries=6)
    handle = await shop.order(waits=True)
    await troubled(handle)

    await give(handle, SkipStep("the warehouse burnt down", "ops-7"))
    outcome = await shop.check(await handle.result())  # a decision, not an outage

    assert outcome.status is Status.REFUNDED
    assert outcome.stop is not None
    assert outcome.stop.reason is StopReason.GIVEN_UP
    assert outcome.stop.message == "given up by ops-7: the warehouse burnt down"
    detail = {"by": "ops-7", "step": "fulfill_order", "why": "the warehouse burnt down"}
    assert await words(shop, handle) == [("operator_skip_step", detail)]
    found = (await handle.describe()).typed_search_attributes
    assert found.get(search_attributes.NEEDS_ATTENTION) is False


async def test_a_step_that_is_skipped_and_happens_all_the_same_counts(shop: Shop) -> None:
    shop.warehouse.fail_next("fulfill", NoAnswerError("silence", retry_after=SOON), times=6)
    gate = shop.warehouse.hold("fulfill", where="after")
    handle = await shop.order(waits=True)
    await gate.entered()

    await give(handle, SkipStep("the warehouse burnt down"))
    outcome = await shop.check(await ended(handle))

    assert outcome.status is Status.REFUNDED
    assert shop.warehouse.parcels == {}  # recalled, although nobody had heard of it


async def test_orders_survive_a_wrong_key_and_go_on_at_once_when_it_is_mended(shop: Shop) -> None:
    wrong_key = LockedOutError("the key is not accepted", retry_after=SOON)
    shop.cards.fail_next("create", wrong_key, times=3)
    still_wrong = LockedOutError("the key is not accepted", retry_after=NEVER)
    shop.cards.fail_next("create", still_wrong)
    handle = await shop.order(waits=True)
    found = await troubled(handle)
    assert (found.step, found.can) == ("charge_card", ("retry_now", "skip_step"))

    async def tried_four_times() -> bool:
        return shop.cards.calls.count("create") == 4

    await eventually(tried_four_times)
    await give(handle, RetryNow())
    assert (await shop.check(await handle.result())).status is Status.COMPLETED


async def test_an_undo_cannot_be_skipped(shop: Shop) -> None:
    shop.cards.fail_next("refund", RefusedError("the balance is too low"))
    handle = await refusing_warehouse(shop)
    found = await troubled(handle)
    assert (found.step, found.can) == ("refund_card", ("retry_now", "resolve"))

    sentence = await refused(give(handle, SkipStep("never mind")))

    assert sentence == "refund_card takes no skip-step, only retry-now or resolve"
    await give(handle, RetryNow())
    assert (await shop.check(await handle.result())).status is Status.REFUNDED


async def test_a_refund_refused_for_ever_is_settled_by_hand(shop: Shop) -> None:
    shop.cards.fail_until_healed("refund", RefusedError("the account is closed"))
    handle = await refusing_warehouse(shop)
    await troubled(handle)

    await give(handle, Resolve("sent by bank transfer", "ops-7"))
    outcome = await handle.result()

    assert outcome.status is Status.REFUNDED
    assert outcome.given_back == outcome.taken
    assert outcome.taken
    detail = {"by": "ops-7", "step": "refund_card", "why": "sent by bank transfer"}
    assert await words(shop, handle) == [("operator_resolve", detail)]
    # Only the provider knows what it did not do: the books keep saying what is true of it.
    assert shop.cards.given_back(outcome.order_id) == 0
    view = await shop.book.view(outcome.order_id)
    assert view.order.status is Status.REFUNDED
    assert view.stock == "released"


async def unheard(shop: Shop) -> Handle:
    """An order whose card was charged and every answer lost, and whose undo is refused."""
    shop.cards.lose_answer_next("confirm")
    shop.cards.fail_next("read", NoAnswerError("silence"), times=2)
    shop.cards.fail_until_healed("refund", RefusedError("the account is closed"))
    handle = await shop.order(waits=True)
    await eventually(lambda: asked(handle))
    return handle


async def asked(handle: Handle) -> bool:
    attention = (await handle.query(OrderWorkflow.status)).attention
    return attention is not None and attention.asks_given_back


async def test_what_became_of_a_charge_that_nobody_heard_of_is_asked(shop: Shop) -> None:
    handle = await unheard(shop)
    order_id = handle.id.removeprefix("order-")
    assert f'resolve {order_id} --note "…" --given-back AMOUNT' in await current_details(handle)

    silent_about_it = await refused(give(handle, Resolve("sent by bank transfer")))
    a_part_of_it = await refused(give(handle, Resolve("by bank transfer", given_back=14_50)))

    assert "whether the card was charged is not known" in silent_about_it
    assert "all of 29.00 EUR or nothing" in a_part_of_it
    await give(handle, Resolve("by bank transfer", "ops-7", given_back=TOTAL.amount))
    outcome = await ended(handle)
    assert outcome.status is Status.REFUNDED
    assert (outcome.taken, outcome.given_back) == (TOTAL, TOTAL)
    view = await shop.book.view(order_id)
    assert view.given_back_by_hand == TOTAL
    [line] = [line for line in view.history if line.event == "given_back_by_hand"]
    assert line.detail == {"amount": "29.00 EUR", "by": "ops-7", "note": "by bank transfer"}


async def test_an_order_of_which_nothing_was_taken_ends_as_that(shop: Shop) -> None:
    shop.cards.fail_until_healed("create", NoAnswerError("silence"))
    shop.ledger.fail_until_healed("close", RefusedError("the row is broken"))
    handle = await shop.order(waits=True)
    await eventually(lambda: asked(handle))

    await give(handle, Resolve("Stripe has no such payment", given_back=0))
    # Closing is refused for ever here; what was said is written down all the same.
    outcome = await ended(handle)

    assert outcome.status is Status.REJECTED
    assert not outcome.taken
    assert (await shop.book.view(outcome.order_id)).given_back_by_hand == Money(0, "EUR")


async def test_what_was_seen_to_be_taken_cannot_be_given_back_in_part(shop: Shop) -> None:
    shop.cards.fail_until_healed("refund", RefusedError("the account is closed"))
    handle = await refusing_warehouse(shop)
    assert not (await troubled(handle)).asks_given_back

    sentence = await refused(give(handle, Resolve("by bank transfer", given_back=14_50)))

    assert sentence.startswith("29.00 EUR was taken: the order ends when the customer has all")
    await give(handle, Resolve("by bank transfer"))
    assert (await handle.result()).given_back == TOTAL
    view = await shop.book.view(handle.id.removeprefix("order-"))
    assert view.given_back_by_hand == TOTAL


async def test_what_moves_no_money_asks_for_no_amount(shop: Shop) -> None:
    shop.inventory.fail_until_healed("release", RefusedError("the row is broken"))
    handle = await refusing_warehouse(shop)
    await troubled(handle)
    sentence = await refused(give(handle, Resolve("released", given_back=TOTAL.amount)))
    assert sentence == "release_inventory does not ask what was given back: leave it out"
    await give(handle, Resolve("released in the database"))
    assert (await handle.result()).status is Status.REFUNDED


async def test_an_undo_in_full_swing_can_be_settled_too(shop: Shop) -> None:
    shop.cards.fail_next("refund", RefusedError("the balance is too low"))
    gate = shop.cards.hold("refund")
    handle = await refusing_warehouse(shop)
    await troubled(handle)
    await give(handle, RetryNow())
    await gate.entered()

    assert (await handle.query(OrderWorkflow.status)).attention is not None
    await give(handle, Resolve("sent by bank transfer"))

    assert (await handle.result()).status is Status.REFUNDED
    assert shop.cards.given_back(handle.id.removeprefix("order-")) == 0


async def test_goods_given_back_by_hand_let_the_order_end(shop: Shop) -> None:
    shop.inventory.fail_until_healed("release", RefusedError("the row is broken"))
    handle = await refusing_warehouse(shop)
    assert (await troubled(handle)).step == "release_inventory"

    await give(handle, Resolve("released in the database"))

    assert (await handle.result()).status is Status.REFUNDED


async def test_a_parcel_called_back_by_telephone_lets_the_money_go_back(shop: Shop) -> None:
    gate = shop.warehouse.hold("fulfill", where="after")
    shop.warehouse.fail_until_healed("cancel", RefusedError("no such order"))
    handle = await shop.order(waits=True)
    await gate.entered()
    await handle.signal(OrderWorkflow.cancel_order)
    gate.release()
    assert (await troubled(handle)).step == "cancel_fulfillment"

    await give(handle, Resolve("called back by telephone"))
    outcome = await handle.result()

    assert outcome.status is Status.REFUNDED
    assert shop.cards.given_back(outcome.order_id) == outcome.taken.amount


@pytest.mark.parametrize("command", [RetryNow(), SkipStep("no"), Resolve("done")])
async def test_a_command_is_refused_while_nothing_fails(
    shop: Shop, command: OperatorCommand
) -> None:
    gate = shop.warehouse.hold("fulfill")
    handle = await shop.order(waits=True)
    await gate.entered()
    sentence = await refused(give(handle, command))
    gate.release()
    assert sentence == "nothing keeps failing, at the moment it is: handing over to the warehouse"
    await shop.check(await handle.result())
    assert await words(shop, handle) == []


async def test_what_happened_is_written_down_whatever_an_operator_says(shop: Shop) -> None:
    shop.book.fail_next("move", NoAnswerError("the database is away"), times=5)
    away = NoAnswerError("the database is away", retry_after=NEVER)
    shop.book.fail_next("move", away)
    handle = await shop.order("pm_card_visa_chargeDeclined", waits=True)
    found = await troubled(handle)
    assert (found.step, found.can) == ("record_status", ("retry_now",))

    for command, name in ((SkipStep("no"), "skip-step"), (Resolve("done"), "resolve")):
        sentence = await refused(give(handle, command))
        assert sentence == f"record_status takes no {name}, only retry-now"

    async def tried_six_times() -> bool:
        return shop.book.calls.count("move") == 6

    await eventually(tried_six_times)
    await give(handle, RetryNow())
    assert (await shop.check(await handle.result())).status is Status.REJECTED


async def test_a_word_is_heard_though_it_cannot_be_written_down_yet(shop: Shop) -> None:
    silent(shop.warehouse, "fulfill", tries=6)
    shop.book.fail_next("note", NoAnswerError("the database is away"), times=6)
    handle = await shop.order(waits=True)
    await troubled(handle)
    await give(handle, SkipStep("the warehouse burnt down"))
    assert (await shop.check(await ended(handle))).status is Status.REFUNDED
    assert [event for event, _ in await words(shop, handle)] == ["operator_skip_step"]


class TestWhileTheConfirmationIsMailed:
    @pytest.fixture
    def terms(self) -> ShopTerms:
        return ShopTerms(delivery_deadline=timedelta(days=30))

    async def test_a_word_about_one_step_does_not_stop_the_mail_beside_it(self, shop: Shop) -> None:
        shop.mailer.fail_next("send", NoAnswerError("nobody answers"), times=5)
        mailing = shop.mailer.hold("send")
        handle = await shop.order(waits=True)
        await mailing.entered()  # the order is fulfilled: the next status is its last
        [parcel] = shop.warehouse.parcels[handle.id.removeprefix("order-")]
        shop.book.calls.clear()
        shop.book.fail_next("move", NoAnswerError("the database is away"), times=5)
        shop.book.fail_next("move", NoAnswerError("the database is away", retry_after=NEVER))
        await tell(handle, parcel, ParcelStatus.DELIVERED)
        assert (await troubled(handle)).step == "record_status"

        async def tried_six_times() -> bool:
            return shop.book.calls.count("move") == 6

        await eventually(tried_six_times)
        await give(handle, RetryNow())
        await eventually(lambda: completed(shop, handle))
        mailing.release()

        assert (await shop.check(await handle.result())).confirmed


async def completed(shop: Shop, handle: Handle) -> bool:
    order_id = handle.id.removeprefix("order-")
    return (await shop.book.get(order_id)).status is Status.COMPLETED
