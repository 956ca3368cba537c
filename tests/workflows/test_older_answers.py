"""Two ask about one charge at once, and the run gets the older answer.

So it is with a charge that was handed over to another worker than the one that goes on with it, and
with a worker that was frozen.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta

import pytest

from activities.handover import ChargePace
from activities.payments import PaymentActivities
from durable_orders.domain.activity_messages import ChargeRequest
from durable_orders.domain.lifecycle import Status
from durable_orders.domain.terms import CaptureMethod, ShopTerms
from tests.fakes.cards import PROCESSING
from tests.fakes.script import BlockedCall
from tests.workflows.conftest import TOTAL, Shop, quick_pace
from tests.workflows.test_replay import Handle
from tests.workflows.test_waiting import DECLINED, THREE_D_SECURE
from workflows.order import OrderWorkflow

CARDS = [PROCESSING, THREE_D_SECURE, DECLINED]


async def older(shop: Shop, card: str) -> tuple[Handle, BlockedCall]:
    """An order whose run is about to get the bank's first answer; another worker has got, and
    recorded, a newer one.
    """
    answer = shop.cards.hold("confirm", where="after", is_cut=False)
    handle = await shop.order(card, waits=True)
    await answer.entered()
    order_id = handle.id.removeprefix("order-")
    [charge] = shop.cards.charges_of(order_id)
    if card == PROCESSING:
        shop.cards.finish_processing(charge.payment_id, captured=True)
    elif card == DECLINED:
        shop.cards.confirm_in_browser(charge.payment_id)
    else:
        shop.cards.authenticate(charge.payment_id)
    other_worker = PaymentActivities(shop.cards, shop.ledger, shop.book, shop.refunds)
    hold = shop.terms.capture is CaptureMethod.AT_FULFILLMENT
    newer = await other_worker.charge_card(ChargeRequest(order_id, 1, hold=hold))
    assert newer.kind == ("held" if hold else "paid")
    return handle, answer


@pytest.mark.parametrize("card", CARDS)
@pytest.mark.parametrize("made", [ChargePace, quick_pace], ids=["normal", "handed over"])
class TestOlderAnswer:
    @pytest.fixture
    def terms(self) -> ShopTerms:
        return ShopTerms(new_card_window=timedelta(hours=1))

    @pytest.fixture
    def pace(self, made: Callable[[], ChargePace]) -> ChargePace:
        return made()

    async def test_the_order_is_paid_all_the_same(self, shop: Shop, card: str) -> None:
        handle, answer = await older(shop, card)
        answer.release()
        outcome = await shop.check(await handle.result())
        assert (outcome.status, outcome.taken) == (Status.COMPLETED, TOTAL)

    async def test_one_that_is_cancelled_meanwhile_is_given_back(
        self, shop: Shop, card: str
    ) -> None:
        handle, answer = await older(shop, card)
        await handle.signal(OrderWorkflow.cancel_order)
        answer.release()
        outcome = await shop.check(await handle.result())
        assert (outcome.status, outcome.given_back) == (Status.REFUNDED, TOTAL)


@pytest.mark.parametrize("card", CARDS)
class TestOfMoneyThatIsOnlyHeld:
    @pytest.fixture
    def terms(self) -> ShopTerms:
        return ShopTerms(capture=CaptureMethod.AT_FULFILLMENT, new_card_window=timedelta(hours=1))

    async def test_the_order_is_held_all_the_same(self, shop: Shop, card: str) -> None:
        handle, answer = await older(shop, card)
        answer.release()
        outcome = await shop.check(await handle.result())
        assert (outcome.status, outcome.taken) == (Status.COMPLETED, TOTAL)
