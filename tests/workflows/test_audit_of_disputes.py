"""The audit of disputes, early fraud warnings and reviews whose events were lost."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from temporalio.service import RPCError

from durable_orders.domain.audit.model import AuditTerms, DiscrepancyKind
from durable_orders.domain.disputes.dispute import DisputeStatus, PaymentRisks
from durable_orders.domain.ids import payment_risk_workflow_id
from durable_orders.domain.lifecycle import Status
from tests.support.eventually import eventually
from tests.support.servers import Servers
from tests.workflows.conftest import TOTAL, Clients
from tests.workflows.test_audit import AT_ONCE, Audited, opened
from tests.workflows.test_payment_risk import payment_of
from workflows.payment_risk import PaymentRiskWorkflow


@pytest.fixture(scope="module")
async def clients(servers: Servers) -> Clients:
    """A namespace of its own: the audit looks at every run there is, those of other tests too."""
    return await Clients.of(servers.temporal("audits"))


@pytest.fixture
async def audited(clients: Clients) -> AsyncIterator[Audited]:
    async with opened(clients) as audited:
        yield audited
        for order_id in audited.shop.database.rows:
            await forget(audited, order_id)


async def completed(audited: Audited) -> str:
    outcome = await (await audited.shop.order()).result()
    assert outcome.status is Status.COMPLETED
    return outcome.order_id


async def recorded(audited: Audited, order_id: str) -> PaymentRisks:
    known = await audited.shop.disputes.risks_of(order_id)
    assert known is not None
    return known


async def follows(audited: Audited, order_id: str, *ids: str) -> None:
    """Wait until the run has recorded these."""

    async def known() -> bool:
        return set(ids) <= (await recorded(audited, order_id)).ids

    await eventually(known)


async def forget(audited: Audited, order_id: str) -> None:
    """End the run that follows an order's payment, as an operator might."""
    id_ = payment_risk_workflow_id(order_id)
    try:
        await audited.shop.client.get_workflow_handle(id_).terminate()
    except RPCError:
        return


@pytest.mark.parametrize("what", ["dispute", "inquiry", "warning", "review"])
async def test_what_nobody_told_us_of_is_found_and_followed(audited: Audited, what: str) -> None:
    order_id = await completed(audited)
    payment_id, risks = payment_of(audited.shop, order_id), audited.shop.risks
    match what:
        case "warning":
            id_ = risks.warn(payment_id).warning_id
        case "review":
            id_ = risks.review(payment_id).review_id
        case _:
            id_ = risks.dispute(payment_id, TOTAL, inquiry=what == "inquiry").dispute_id

    report = await audited.audit()

    assert (report.found, report.repaired) == ({"risk_behind": 1}, 1)
    assert id_ in audited.finding(DiscrepancyKind.RISK_BEHIND, order_id).detail
    await follows(audited, order_id, id_)
    assert (await audited.audit()).found == {}


async def test_a_decision_that_was_lost_months_after_the_dispute_is_found(audited: Audited) -> None:
    order_id = await completed(audited)
    clock = datetime.now(UTC) - timedelta(days=100)
    audited.shop.risks.clock = lambda: clock
    dispute = audited.shop.risks.dispute(payment_of(audited.shop, order_id), TOTAL)
    assert (await audited.audit()).repaired == 1
    await follows(audited, order_id, dispute.dispute_id)
    await forget(audited, order_id)
    audited.shop.risks.lose(dispute.dispute_id)

    assert (await audited.audit()).found == {"risk_behind": 1}

    async def lost() -> bool:
        return (await recorded(audited, order_id)).disputes[0].status is DisputeStatus.LOST

    await eventually(lost)
    assert (await audited.audit()).found == {}


async def test_an_open_dispute_older_than_every_list_is_followed_through_our_books(
    audited: Audited,
) -> None:
    order_id = await completed(audited)
    clock = datetime.now(UTC) - timedelta(days=400)
    audited.shop.risks.clock = lambda: clock
    dispute = audited.shop.risks.dispute(payment_of(audited.shop, order_id), TOTAL)
    report = PaymentRisks(dispute.payment_id, (dispute,))
    await audited.shop.disputes.record(order_id, report, datetime.now(UTC))

    assert (await audited.audit()).found == {"risk_unfollowed": 1}

    run = audited.shop.client.get_workflow_handle_for(
        PaymentRiskWorkflow.run, payment_risk_workflow_id(order_id)
    )

    async def asks() -> bool:
        return (await run.query(PaymentRiskWorkflow.status)).attention is not None

    await eventually(asks)
    assert (await audited.audit()).found == {}


async def test_what_is_not_ours_or_happened_a_moment_ago_is_left_alone(audited: Audited) -> None:
    audited.shop.risks.dispute("pi_of_another_application", TOTAL)
    assert (await audited.audit()).found == {}
    order_id = await completed(audited)
    audited.shop.risks.dispute(payment_of(audited.shop, order_id), TOTAL)
    assert (await audited.audit(AuditTerms())).found == {}


async def test_every_page_of_a_long_list_is_looked_at(audited: Audited) -> None:
    orders = [await completed(audited) for _ in range(3)]
    for order_id in orders:
        audited.shop.risks.warn(payment_of(audited.shop, order_id))
    report = await audited.audit(replace(AT_ONCE, page_size=1))
    assert report.found == {"risk_behind": 3}
    for order_id in orders:
        [warning] = (await audited.shop.risks.risks_of(payment_of(audited.shop, order_id))).warnings
        await follows(audited, order_id, warning.warning_id)


async def test_a_dispute_that_was_lost_balances_the_books(audited: Audited) -> None:
    order_id = await completed(audited)
    dispute = audited.shop.risks.dispute(payment_of(audited.shop, order_id), TOTAL)
    audited.shop.risks.lose(dispute.dispute_id)
    assert (await audited.audit()).found == {"risk_behind": 1}
    await follows(audited, order_id, dispute.dispute_id)
    assert (await audited.audit()).found == {}
