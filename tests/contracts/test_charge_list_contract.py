"""Contract of `ChargeListing`: the fake and Stripe's SDK."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import pytest

from durable_orders.domain import ids
from durable_orders.domain.audit.model import (
    AuditCase,
    AuditTerms,
    BookedOrder,
    LedgerEntry,
    ListedCharge,
    ListedRefund,
    RunState,
    RunStatus,
)
from durable_orders.domain.audit.ports import ChargeListing
from durable_orders.domain.audit.rules import find_discrepancies
from durable_orders.domain.charges import BookedCharge
from durable_orders.domain.lifecycle import Status
from durable_orders.domain.money import Money
from durable_orders.domain.ports import CardCharge, Cards, ChargeEntry, ChargeState
from durable_orders.providers.stripe.listing import StripeChargeListing
from tests.contracts.conftest import SandboxControl
from tests.fakes.audit import InMemoryChargeList
from tests.fakes.cards import InMemoryCards
from tests.support.keys import INSTALLATION

OURS = frozenset({INSTALLATION})
PRICE = Money(42_00, "EUR")
NOTHING = Money(0, "EUR")
_IN_MEMORY, _ON_SANDBOX = "in memory", "Stripe's SDK on the sandbox"


@dataclass
class Provider:
    """The two ports of a provider under test."""

    cards: Cards
    books: ChargeListing

    async def announced(
        self,
        order_id: str,
        *,
        hold: bool = False,
        installation: str = INSTALLATION,
    ) -> CardCharge:
        return await self.cards.create(
            installation=installation,
            order_id=order_id,
            amount=PRICE,
            key=ids.payment_key(installation, order_id),
            hold=hold,
        )

    async def paid(
        self, order_id: str, *, hold: bool = False, installation: str = INSTALLATION
    ) -> CardCharge:
        charge = await self.announced(order_id, hold=hold, installation=installation)
        key = ids.charge_key(installation, order_id, 1)
        return await self.cards.confirm(charge.payment_id, payment_method="pm_card_visa", key=key)

    async def charges(self, order_id: str, limit: int = 100) -> list[ListedCharge]:
        """All charges of this order, read page by page."""
        found: list[ListedCharge] = []
        cursor: str | None = None
        while True:
            page = await self.books.charges(OURS, *_window(), cursor, limit)
            assert len(page.items) <= limit
            found += [one for one in page.items if one.order_id.startswith(order_id)]
            if (cursor := page.cursor) is None:
                return found

    async def refunds(self, payment_id: str) -> list[ListedRefund]:
        found: list[ListedRefund] = []
        cursor: str | None = None
        while True:
            page = await self.books.refunds(OURS, *_window(), cursor, 1)
            found += [one for one in page.items if one.payment_id == payment_id]
            if (cursor := page.cursor) is None:
                return found


def _window() -> tuple[datetime, datetime]:
    now = datetime.now(UTC)
    return now - timedelta(hours=2), now + timedelta(minutes=1)


@pytest.fixture(params=[_IN_MEMORY, _ON_SANDBOX])
async def provider(
    request: pytest.FixtureRequest, control: SandboxControl
) -> AsyncIterator[Provider]:
    if request.param == _IN_MEMORY:
        cards = InMemoryCards()
        yield Provider(cards, InMemoryChargeList(cards))
        return
    async with StripeChargeListing("sk_test_sandbox", api_base=control.url) as books:
        yield Provider(books, books)


async def test_a_charge_is_listed_with_its_order_and_state(
    provider: Provider, order_id: str
) -> None:
    opened = await provider.announced(f"{order_id}-a")
    held = await provider.paid(f"{order_id}-b", hold=True)
    paid = await provider.paid(f"{order_id}-c")

    listed = await provider.charges(order_id)

    assert [(one.charge.payment_id, one.order_id) for one in listed] == [
        (paid.payment_id, f"{order_id}-c"),
        (held.payment_id, f"{order_id}-b"),
        (opened.payment_id, f"{order_id}-a"),
    ]
    states = [(one.charge.state, one.charge.captured) for one in listed]
    assert states == [
        (ChargeState.CAPTURED, PRICE),
        (ChargeState.HELD, NOTHING),
        (ChargeState.OPEN, NOTHING),
    ]
    after, before = _window()
    assert all(after <= one.created_at <= before for one in listed)


async def test_what_was_given_back_shows_in_the_list_and_one_by_one(
    provider: Provider, order_id: str
) -> None:
    paid = await provider.paid(order_id)
    some = Money(5_00, "EUR")
    for key in ("first", "second"):
        await provider.cards.refund(
            paid.payment_id,
            some,
            installation=INSTALLATION,
            order_id=order_id,
            key=f"{order_id}{key}",
        )

    [listed] = await provider.charges(order_id)
    found = await provider.books.find(OURS, paid.payment_id)

    assert listed.charge.refunded == some * 2
    assert found is not None
    assert found.charge.refunded == some * 2
    assert [one.given for one in found.refunds] == [some, some]
    refunds = await provider.refunds(paid.payment_id)
    assert {one.refund.refund_id for one in refunds} == {
        one.refund.refund_id for one in found.refunds
    }


async def test_a_released_hold_gave_nothing_back_and_the_audit_is_silent(
    provider: Provider, order_id: str
) -> None:
    held = await provider.paid(order_id, hold=True)
    released = await provider.cards.cancel(held.payment_id)

    [listed] = await provider.charges(order_id)
    found = await provider.books.find(OURS, held.payment_id)

    assert (listed.charge.state, listed.charge.refunded) == (ChargeState.CANCELLED, NOTHING)
    assert found is not None
    assert (found.charge.refunded, found.refunds) == (NOTHING, ())
    later = datetime.now(UTC) + timedelta(hours=1)
    booked = BookedCharge(released.state, released.captured, released.refunded)
    order = BookedOrder(
        order_id,
        Status.CANCELLED,
        PRICE,
        placed_at=listed.created_at,
        changed_at=listed.created_at,
        entries=(
            LedgerEntry(ChargeEntry(order_id, held.payment_id, PRICE, released.state), booked),
        ),
    )
    ended = RunStatus(RunState.CLOSED, listed.created_at, "completed")
    for each in (listed, found):
        case = AuditCase(order_id, order, (each,), ended)
        assert find_discrepancies(case, later, AuditTerms()) == []
        unknown = AuditCase(order_id, None, (each,), RunStatus(RunState.NONE))
        assert find_discrepancies(unknown, later, AuditTerms()) == []


async def test_more_charges_than_a_page_holds_are_all_listed_once(
    provider: Provider, order_id: str
) -> None:
    for number in range(103):
        await provider.announced(f"{order_id}-{number}")

    listed = await provider.charges(order_id)

    assert len(listed) == len({one.charge.payment_id for one in listed}) == 103


async def test_what_was_created_outside_the_window_is_not_listed(
    provider: Provider, order_id: str
) -> None:
    paid = await provider.paid(order_id)
    long_ago = datetime.now(UTC) - timedelta(days=9)
    page = await provider.books.charges(OURS, long_ago, long_ago + timedelta(days=1), None, 100)
    assert paid.payment_id not in {one.charge.payment_id for one in page.items}


async def test_a_charge_that_is_not_there_is_not_found(provider: Provider) -> None:
    assert await provider.books.find(OURS, "pi_nobody") is None


async def test_the_same_order_of_another_installation_is_charged_and_not_listed(
    provider: Provider, order_id: str
) -> None:
    ours = await provider.paid(order_id)
    theirs = await provider.paid(order_id, installation="othershop")
    some = Money(5_00, "EUR")
    await provider.cards.refund(
        theirs.payment_id, some, installation="othershop", order_id=order_id, key=f"{order_id}:t"
    )

    assert ours.payment_id != theirs.payment_id
    assert [one.charge.payment_id for one in await provider.charges(order_id)] == [ours.payment_id]
    assert await provider.books.find(OURS, theirs.payment_id) is None
    assert await provider.refunds(theirs.payment_id) == []
    former = frozenset({INSTALLATION, "othershop"})
    assert await provider.books.find(former, theirs.payment_id) is not None


async def test_a_refund_by_hand_is_listed_without_a_mark_and_one_of_another_is_not(
    control: SandboxControl, order_id: str
) -> None:
    async with StripeChargeListing("sk_test_sandbox", api_base=control.url) as books:
        provider = Provider(books, books)
        paid = await provider.paid(order_id)
        made = [
            await books._refunds.create_async(
                {"payment_intent": paid.payment_id, "amount": 100, "metadata": metadata}
            )
            for metadata in ({}, {"installation": "othershop"}, {"installation": INSTALLATION})
        ]
        listed = {one.refund.refund_id for one in await provider.refunds(paid.payment_id)}
    assert listed == {made[0].id, made[2].id}


async def test_charges_that_name_no_order_of_ours_are_left_out(control: SandboxControl) -> None:
    async with StripeChargeListing("sk_test_sandbox", api_base=control.url) as books:
        foreign = [
            await books._intents.create_async(
                {"amount": 500, "currency": "eur", "metadata": metadata}
            )
            for metadata in (
                {},
                {"order_id": "1"},
                {"order_id": "1", "installation": "othershop"},
                {"order_id": "1", "installation": ""},
                {"order": "1", "installation": INSTALLATION},
                {"order_id": "../1", "installation": INSTALLATION},
            )
        ]
        page = await books.charges(OURS, *_window(), None, 100)
        ids = {one.charge.payment_id for one in page.items}
        assert ids.isdisjoint(intent.id for intent in foreign)
        assert {await books.find(OURS, intent.id) for intent in foreign} == {None}
