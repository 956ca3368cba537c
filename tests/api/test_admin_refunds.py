"""Operators give money back, whole or in part."""

from __future__ import annotations

import re

import pytest

from durable_orders.api.admin import refunds as admin_refunds
from durable_orders.contracts.refund import RefundWorkflow
from durable_orders.domain.ids import TASK_QUEUE, refund_workflow_id
from durable_orders.domain.money import Money
from durable_orders.domain.refunds.refund import RefundRequest, RefundState
from tests.api.admin_pages import (
    Operator,
    Premises,
    cards,
    closed_premises,
    operator,
    premises,
    said,
    text_of,
    usual_edge,
    warehouse,
)
from tests.fakes.cards import REFUND_FAILS, REFUND_PENDING
from tests.support.eventually import eventually
from tests.support.keys import refund_key

__all__ = ["cards", "closed_premises", "operator", "premises", "usual_edge", "warehouse"]

LINES = (("MUG", 2), ("STICKER", 1))


@pytest.fixture(autouse=True)
def patient_pages(monkeypatch: pytest.MonkeyPatch) -> None:
    """A page tells how a refund ended, however busy this machine is."""
    monkeypatch.setattr(admin_refunds, "_WAIT_SECONDS", 20.0)


async def refund_id(operator: Operator, order_id: str) -> str:
    """The one that the form is for."""
    form = (await operator.http.get(f"/operator/orders/{order_id}/refund")).text
    found = re.search(r'name="refund_id" value="(\w+)"', form)
    assert found
    return found[1]


async def ask(operator: Operator, order_id: str, **fields: str) -> tuple[str, str]:
    """Fill the form in; the refund's id, and what the page says."""
    id_ = await refund_id(operator, order_id)
    filled = {"refund_id": id_, "reason": "damaged", **fields}
    return id_, said(await operator.send(f"/operator/orders/{order_id}/refund", **filled))


async def state_of(premises: Premises, order_id: str, id_: str) -> RefundState:
    return (await premises.refunds.status(order_id, id_)).state


async def test_pieces_are_refunded_and_go_back_on_the_shelf(
    operator: Operator, premises: Premises
) -> None:
    order_id = await premises.completed(lines=LINES)
    id_, told = await ask(
        operator,
        order_id,
        what="lines",
        **{"pieces-0": "1", "pieces-1": "1"},
        restock="yes",
        why="a crack",
    )
    assert told == f"Done. Refund {id_} of 18.00 EUR: succeeded."
    [entry] = await premises.refunds.refunds_of(order_id)
    assert (entry.lines, entry.request.message) == (
        (("MUG", 1), ("STICKER", 1)),
        f"{operator.name}: a crack",
    )
    page = await operator.http.get(f"/operator/orders/{order_id}")
    assert f"{id_} succeeded 18.00 EUR" in text_of(page.text)
    assert f"damaged: {operator.name}: a crack" in text_of(page.text)
    form = text_of((await operator.http.get(f"/operator/orders/{order_id}/refund")).text)
    assert "Mug, hand-glazed MUG 14.50 EUR 1" in form  # what is left
    assert "Sticker sheet STICKER 3.50 EUR 0" in form


async def test_an_amount_is_refunded_and_the_same_form_twice_is_one_refund(
    operator: Operator, premises: Premises
) -> None:
    order_id = await premises.completed()
    path = f"/operator/orders/{order_id}/refund"
    form = {"refund_id": await refund_id(operator, order_id), "reason": "goodwill"}
    for _ in range(2):
        page = await operator.send(path, what="amount", amount="5.00", **form)
        assert "of 5.00 EUR: succeeded" in said(page)
    assert [str(one.amount) for one in await premises.refunds.refunds_of(order_id)] == ["5.00 EUR"]
    other = await operator.send(path, what="amount", amount="6.00", **form)
    assert other.status_code == 422
    assert "of other contents" in said(other)


async def test_everything_waits_for_approval_above_the_limit_and_is_approved(
    operator: Operator, premises: Premises
) -> None:
    order_id = await premises.completed()
    id_, told = await ask(operator, order_id, what="everything")
    assert told == f"Done. Refund {id_} of 29.00 EUR: awaiting approval."
    front = text_of((await operator.http.get("/operator")).text)
    assert f"Refund {id_} of order {order_id} awaiting approval 29.00 EUR, since" in front

    page = await operator.send(f"/operator/orders/{order_id}/refunds/{id_}/approve")
    assert said(page) == f"Done. Refund {id_} of 29.00 EUR: succeeded."
    again = await operator.send(f"/operator/orders/{order_id}/refunds/{id_}/approve")
    assert said(again).startswith(f"Not done. Refund {id_} of order {order_id} is succeeded")


@pytest.mark.parametrize(
    ("name", "why", "state"),
    [("reject", "worn", RefundState.REJECTED), ("cancel", "", RefundState.CANCELLED)],
)
async def test_a_refund_that_waits_is_stopped(
    operator: Operator, premises: Premises, name: str, why: str, state: RefundState
) -> None:
    order_id = await premises.completed()
    id_, _ = await ask(operator, order_id, what="everything")
    path = f"/operator/orders/{order_id}/refunds/{id_}/{name}"
    if why:
        assert "Say why" in said(await operator.send(path))
    await operator.send(path, why=why)

    async def stopped() -> bool:
        return await state_of(premises, order_id, id_) is state

    await eventually(stopped)
    page = await operator.http.get(f"/operator/orders/{order_id}")
    assert f"{id_} {state} 29.00 EUR" in text_of(page.text)


async def test_a_refund_that_failed_at_the_bank_is_settled_by_hand(
    operator: Operator, premises: Premises
) -> None:
    order_id = await premises.completed(payment_method=REFUND_FAILS)
    id_, _ = await ask(operator, order_id, what="amount", amount="4.00")
    [key] = [refund_key(order_id, id_)]
    premises.cards.fail_refund(key)
    await premises.refunds.look_again(order_id, id_)

    async def offered() -> bool:
        page = (await operator.http.get(f"/operator/orders/{order_id}")).text
        return f"refunds/{id_}/resolve" in page and f"refunds/{id_}/retry-now" in page

    await eventually(offered)
    assert f"Refund {id_} of order {order_id} failed" in text_of(
        (await operator.http.get("/operator")).text
    )
    path = f"/operator/orders/{order_id}/refunds/{id_}"
    await operator.send(f"{path}/resolve", why="sent by bank transfer")

    async def settled() -> bool:
        return await state_of(premises, order_id, id_) is RefundState.SETTLED

    await eventually(settled)


@pytest.fixture(scope="module")
def untouched() -> list[str]:
    """An order of which nothing was given back: one for all the forms that are refused."""
    return []


@pytest.mark.parametrize(
    ("fields", "sentence"),
    [
        ({}, "Choose what to give back."),
        ({"what": "lines"}, "Type how many pieces come back."),
        ({"what": "everything", "pieces-0": "1"}, "You chose everything, and typed something"),
        ({"what": "lines", "pieces-0": "1", "amount": "1.00"}, "choose one of them."),
        ({"what": "lines", "pieces-0": "many"}, "'many' is no number of MUG."),
        ({"what": "lines", "pieces-0": "-1"}, "'-1' is no number of MUG."),
        ({"what": "lines", "pieces-0": "3"}, "3 of MUG cannot be returned: 2 are left."),
        ({"what": "amount", "amount": "1,50"}, "'1,50' is not an amount"),
        ({"what": "amount", "amount": "0"}, "There is nothing to give back"),
        ({"what": "amount", "amount": "29.01"}, "29.00 EUR of order"),
        ({"what": "amount", "amount": "1", "restock": "yes"}, "Only pieces go back on the shelf"),
        ({"what": "amount", "amount": "1", "reason": ""}, "Choose a reason."),
    ],
)
async def test_a_form_that_makes_no_sense_comes_back_as_it_was_filled_in(
    operator: Operator,
    premises: Premises,
    untouched: list[str],
    fields: dict[str, str],
    sentence: str,
) -> None:
    if not untouched:
        untouched.append(await premises.completed())
    [order_id] = untouched
    id_ = await refund_id(operator, order_id)
    filled = {"refund_id": id_, "reason": "damaged", "why": "a crack", **fields}
    page = await operator.send(f"/operator/orders/{order_id}/refund", **filled)
    assert page.status_code == 422
    assert sentence in said(page)
    for name in ("refund_id", "why", "amount", "pieces-0"):
        if value := filled.get(name):
            assert f'value="{value}"' in page.text.replace("&#39;", "'")
    assert await premises.refunds.refunds_of(order_id) == ()


async def test_an_order_that_is_not_paid_for_cannot_be_refunded(
    operator: Operator, premises: Premises
) -> None:
    order_id = await premises.start(until="waiting for approval", flagged=True)
    _, told = await ask(operator, order_id, what="everything")
    assert "only what is paid and handed to the warehouse can be refunded" in told


async def test_an_order_with_a_refund_still_says_how_it_stands(
    operator: Operator, premises: Premises
) -> None:
    order_id = await premises.completed()
    await ask(operator, order_id, what="amount", amount="1.00")
    progress = await premises.orders.status(order_id)
    assert (progress.doing, progress.stop) == ("ended", None)


async def test_a_refund_whose_run_was_terminated_is_shown_and_started_again(
    operator: Operator, premises: Premises
) -> None:
    order_id = await premises.completed(payment_method=REFUND_PENDING)
    id_, _ = await ask(operator, order_id, what="amount", amount="4.00")
    run = premises.temporal.get_workflow_handle(refund_workflow_id(order_id, id_))
    await run.terminate("by a hand in the Web UI")
    path = f"/operator/orders/{order_id}/refunds/{id_}/look-again"

    async def shown() -> bool:
        return f"Refund {id_} of order {order_id}" in text_of(
            (await operator.http.get("/operator")).text
        )

    await eventually(shown)
    front = text_of((await operator.http.get("/operator")).text)
    page = (await operator.http.get(f"/operator/orders/{order_id}")).text
    sentence = "it is pending, and nothing carries it on: its run is terminated"
    assert sentence in front
    assert sentence in text_of(page)
    assert path in page

    assert "Done" in said(await operator.send(path))

    page = (await operator.http.get(f"/operator/orders/{order_id}")).text
    assert path not in page
    premises.cards.settle_refund(refund_key(order_id, id_))
    await premises.refunds.look_again(order_id, id_)

    async def arrived() -> bool:
        return await state_of(premises, order_id, id_) is RefundState.SUCCEEDED

    await eventually(arrived)


async def test_a_refund_of_an_order_itself_that_is_refused_is_shown_and_settled_by_hand(
    operator: Operator, premises: Premises
) -> None:
    order_id = await premises.completed()
    everything = RefundRequest(order_id, "op1", (("MUG", 2),), Money(1_00, "EUR"))
    await premises.refunds.request(everything)
    # Begun as the order begins it, of pieces that another refund took back for less.
    owed = RefundRequest(order_id, "short", (("MUG", 1),), owed=True)
    await premises.temporal.start_workflow(
        RefundWorkflow.run,
        owed,
        id=refund_workflow_id(order_id, "short"),
        task_queue=TASK_QUEUE,
    )

    async def shown() -> bool:
        return f"Refund short of order {order_id}" in text_of(
            (await operator.http.get("/operator")).text
        )

    await eventually(shown)
    assert "there is nothing to give back for it" in text_of(
        (await operator.http.get("/operator")).text
    )
    page = (await operator.http.get(f"/operator/orders/{order_id}")).text
    path = f"/operator/orders/{order_id}/refunds/short"
    assert f"{path}/resolve" in page
    assert f"{path}/retry-now" in page

    told = said(await operator.send(f"{path}/resolve", why="by bank transfer"))

    assert told == "Done. Refund short is settled by hand."
    await premises.refunds.result(order_id, "short")
    assert path not in (await operator.http.get(f"/operator/orders/{order_id}")).text
    nobody = await operator.http.get(f"/operator/orders/{order_id}/refunds/nobody/resolve")
    assert nobody.status_code == 404
