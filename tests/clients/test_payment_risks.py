"""Having payments followed that are disputed, through the real server."""

from __future__ import annotations

import pytest
from temporalio.client import Client

from durable_orders.clients.errors import StoreNeededError, UnreachableError
from durable_orders.clients.payment_risks import PaymentRiskClient
from durable_orders.clients.run_inspector import TemporalPaymentRiskRuns
from durable_orders.contracts.data_converter import DATA_CONVERTER
from durable_orders.domain.disputes.dispute import ConcernKind, Dispute
from durable_orders.domain.disputes.messages import PaymentRiskProgress
from durable_orders.domain.ids import InvalidOrderIdError, payment_risk_workflow_id
from durable_orders.domain.money import Money
from durable_orders.domain.ports import NoAnswerError, NoSuchOrderError, RefusedError
from durable_orders.domain.texts import InvalidTextError
from sandbox.ports import free_port
from tests.support.eventually import eventually
from tests.support.shop import Shop

TOTAL = Money(29_00, "EUR")


def client_of(shop: Shop) -> PaymentRiskClient:
    return PaymentRiskClient(shop.temporal, shop.disputes)


def payment_of(shop: Shop, order_id: str) -> str:
    [charge] = shop.cards.charges_of(order_id)
    return charge.payment_id


async def disputed(shop: Shop) -> tuple[str, Dispute]:
    """An order that is completed and charged back, of which nobody has told us."""
    order_id = await shop.start()
    await shop.orders.result(order_id)
    return order_id, shop.risks.dispute(payment_of(shop, order_id), TOTAL)


async def asks(shop: Shop, order_id: str) -> PaymentRiskProgress:
    """What the run says, once it asks a person."""
    told: list[PaymentRiskProgress] = []

    async def asked() -> bool:
        status = await client_of(shop).status(order_id)
        if isinstance(status, PaymentRiskProgress) and status.attention:
            told[:] = [status]
        return bool(told)

    await eventually(asked)
    return told[0]


async def over(shop: Shop, order_id: str) -> None:
    id_ = payment_risk_workflow_id(order_id)
    await shop.temporal.get_workflow_handle(id_).result()


async def test_a_dispute_is_looked_at_listed_and_followed_to_its_end(shop: Shop) -> None:
    order_id, dispute = await disputed(shop)
    risks = client_of(shop)
    assert await risks.status(order_id) == "nothing: no run follows its payment"
    await risks.look_again(order_id)
    told = await asks(shop, order_id)
    assert (told.order_id, told.payment_id) == (order_id, dispute.payment_id)
    assert [one.kind for one in told.concerns] == [ConcernKind.CHARGEBACK]
    known = await risks.risks_of(order_id)
    assert known is not None
    assert known.disputes == (dispute,)
    assert order_id in [one.order_id for one in await risks.open_concerns()]

    async def listed() -> bool:
        return order_id in [one.order_id for one in await risks.attention()]

    await eventually(listed)
    shop.risks.lose(dispute.dispute_id)
    await risks.look_again(order_id)
    await over(shop, order_id)
    assert await risks.status(order_id) == "nothing: its run is over"
    assert order_id not in [one.order_id for one in await risks.attention()]
    run = shop.temporal.get_workflow_handle(payment_risk_workflow_id(order_id))
    wanted = f"Disputes and warnings of order {order_id}"
    assert await (await run.describe()).static_summary() == wanted


async def test_a_webhook_finds_the_order_by_its_payment(shop: Shop) -> None:
    order_id, dispute = await disputed(shop)
    risks = client_of(shop)
    assert await risks.find_order(dispute.payment_id) == order_id
    assert await risks.payment_changed(dispute.payment_id) == order_id
    await asks(shop, order_id)
    assert await risks.find_order("pi_of_somebody_else") is None
    with pytest.raises(NoSuchOrderError, match="no order is paid with pi_of_somebody_else"):
        await risks.payment_changed("pi_of_somebody_else")


async def test_an_operator_acknowledges_a_warning_and_is_asked_no_more(shop: Shop) -> None:
    order_id = await shop.start()
    await shop.orders.result(order_id)
    warning, risks = shop.risks.warn(payment_of(shop, order_id)), client_of(shop)
    await risks.look_again(order_id)
    await asks(shop, order_id)
    with pytest.raises(RefusedError, match="has no dispute or warning issfr_other"):
        await risks.acknowledge(order_id, "issfr_other")
    with pytest.raises(InvalidTextError):
        await risks.acknowledge(order_id, warning.warning_id, by="ada@example.com")
    known = await risks.acknowledge(order_id, warning.warning_id, "ops-7", "she called us")
    assert known.warnings[0].acknowledged_by == "ops-7"
    await over(shop, order_id)


async def test_an_order_that_is_not_there_is_named(shop: Shop) -> None:
    risks = client_of(shop)
    with pytest.raises(NoSuchOrderError):
        await risks.look_again("nobody")
    with pytest.raises(NoSuchOrderError):
        await risks.acknowledge("nobody", "du_1")
    for ask in (risks.look_again, risks.risks_of, risks.status, risks.risks_updated):
        with pytest.raises(InvalidOrderIdError):
            await ask("no id")


async def test_without_the_store_a_run_is_woken_and_the_rest_is_refused(shop: Shop) -> None:
    order_id, _ = await disputed(shop)
    risks = PaymentRiskClient(shop.temporal)
    await risks.risks_updated(order_id)
    await asks(shop, order_id)
    for ask in (risks.look_again, risks.risks_of, risks.find_order, risks.payment_changed):
        with pytest.raises(StoreNeededError, match="PaymentRiskClient"):
            await ask(order_id)
    with pytest.raises(StoreNeededError):
        await risks.open_concerns()


async def test_the_audit_sees_whether_a_run_follows_the_payment(shop: Shop) -> None:
    order_id, dispute = await disputed(shop)
    runs = TemporalPaymentRiskRuns(shop.temporal)
    assert not await runs.is_open(order_id)
    await runs.follow(order_id)
    assert await runs.is_open(order_id)
    await asks(shop, order_id)
    shop.risks.win(dispute.dispute_id)
    await runs.follow(order_id)
    await over(shop, order_id)
    assert not await runs.is_open(order_id)


async def test_while_temporal_is_away_the_store_is_read_and_the_rest_says_so(shop: Shop) -> None:
    order_id, _ = await disputed(shop)
    address = f"127.0.0.1:{free_port()}"
    away = await Client.connect(address, data_converter=DATA_CONVERTER, lazy=True)
    risks = PaymentRiskClient(away, shop.disputes)
    assert await risks.risks_of(order_id) is not None
    assert await risks.status(order_id) == "unknown: Temporal does not answer"
    for ask in (risks.risks_updated, risks.look_again):
        with pytest.raises(UnreachableError):
            await ask(order_id)
    with pytest.raises(NoAnswerError):
        await TemporalPaymentRiskRuns(away).is_open(order_id)
