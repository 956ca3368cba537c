"""Every request has an id, a line in the log, and an answer that says what went wrong."""

import logging
import re
from pathlib import Path

import httpx
import pytest
from temporalio.client import Client

from durable_orders.api.problems import PROBLEM_TYPES
from durable_orders.clients.orders import OrderClient
from durable_orders.clients.refunds import RefundClient
from durable_orders.domain.ids import workflow_id
from durable_orders.domain.refunds.refund import RefundRequest
from durable_orders.observability.context import current_request
from durable_orders.observability.logging import configure_logging
from tests.api.api_clients import asking, edge_of, is_problem
from tests.support.shop import Shop

API_PAGE = Path(__file__).resolve().parents[2] / "docs" / "http-api.md"


async def memo_of(temporal: Client, run: str) -> object:
    return await (await temporal.get_workflow_handle(run).describe()).memo()


async def test_the_callers_request_id_is_in_the_answer_and_in_the_memo_of_the_run(
    closed_shop: Shop, closed: httpx.AsyncClient
) -> None:
    order_id = await closed_shop.place()

    answer = await closed.post(
        "/checkout", json={"order_id": order_id}, headers={"X-Request-Id": "1-67891233:abc/d+e="}
    )

    assert answer.headers["x-request-id"] == "1-67891233:abc/d+e="
    memo = await memo_of(closed_shop.temporal, workflow_id(order_id))
    assert memo == {"request_id": "1-67891233:abc/d+e="}


async def test_a_run_that_no_request_started_has_no_request_in_its_memo(closed_shop: Shop) -> None:
    order_id = await closed_shop.start()
    assert await memo_of(closed_shop.temporal, workflow_id(order_id)) == {}


async def test_a_refund_remembers_the_request_too(shop: Shop) -> None:
    order_id = await shop.start()
    await shop.orders.result(order_id)
    refunds: RefundClient = edge_of(shop).refunds

    request = RefundRequest(order_id, "r1")
    await refunds.request(request, request_id="req-7")

    assert await memo_of(shop.temporal, f"refund-{order_id}-r1") == {"request_id": "req-7"}


@pytest.mark.parametrize("named", ["", "a b", "x" * 129, "<script>", "é", 'a"b', "a\tb"])
async def test_a_request_id_that_makes_no_sense_is_replaced(
    closed: httpx.AsyncClient, named: str
) -> None:
    answer = await closed.get("/healthz", headers=[(b"X-Request-Id", named.encode("latin-1"))])
    assert re.fullmatch("[0-9a-f]{32}", answer.headers["x-request-id"])


async def test_requests_without_an_id_get_different_ones(closed: httpx.AsyncClient) -> None:
    made = {(await closed.get("/healthz")).headers["x-request-id"] for _ in range(3)}
    assert len(made) == 3


async def test_every_line_of_the_log_names_its_request(
    closed_shop: Shop, capsys: pytest.CaptureFixture[str]
) -> None:
    root = logging.getLogger()
    before, level = root.handlers[:], root.level
    nowhere = await Client.connect("127.0.0.1:1", lazy=True)
    order_id = await closed_shop.place()
    configure_logging("INFO", "json", request=current_request)
    try:
        async with asking(closed_shop, OrderClient(nowhere, closed_shop.book)) as http:
            await http.post(
                "/checkout?token=secret%0A",
                json={"order_id": order_id},
                headers={"X-Request-Id": "req-1"},
            )
            await http.get("/a%0Ab", headers={"X-Request-Id": "req-2"})
    finally:
        root.handlers[:] = before
        root.setLevel(level)

    lines = [
        line for line in capsys.readouterr().err.splitlines() if '"durable_orders.api.' in line
    ]
    assert [re.findall('"request_id": "(.*?)"', line) for line in lines] == [
        ["req-1"],
        ["req-1"],
        ["req-2"],
    ]
    assert "Temporal does not answer at 127.0.0.1:1" in lines[0]
    assert '"POST /checkout 503' in lines[1]
    assert '"GET /a%0Ab 404' in lines[2]
    assert "secret" not in "".join(lines)


async def test_a_fault_of_ours_is_logged_with_its_request_and_told_without_details(
    closed_shop: Shop, closed: httpx.AsyncClient, caplog: pytest.LogCaptureFixture
) -> None:
    order_id = await closed_shop.place()
    closed_shop.book.fail_next("view", KeyError("confidential"))

    answer = await closed.get(f"/orders/{order_id}")

    is_problem(answer, 500, "a fault of ours")
    assert "confidential" not in answer.text
    assert "Traceback" not in answer.text
    [fault] = [record for record in caplog.records if record.exc_info]
    assert fault.name == "durable_orders.api.middleware"


async def test_the_type_of_every_problem_leads_to_what_it_means(closed: httpx.AsyncClient) -> None:
    for kind in PROBLEM_TYPES.values():
        told = (await closed.get(kind.uri)).json()
        assert (told["type"], told["status"]) == (kind.uri, kind.status)
    is_problem(await closed.get("/problems/none"), 404, "no problem of this kind")


async def test_a_problem_says_where_and_of_which_kind(closed: httpx.AsyncClient) -> None:
    told = (await closed.get("/orders/nobody", headers={"X-Request-Id": "req-3"})).json()
    assert told == {
        "type": "/problems/unknown-order",
        "title": "Unknown order",
        "status": 404,
        "detail": "there is no order nobody",
        "instance": "/orders/nobody",
        "request_id": "req-3",
    }


def test_the_page_about_the_api_lists_every_kind_of_problem() -> None:
    listed = re.findall(r"^\| `/problems/([\w-]+)` \| (\d+) \|", API_PAGE.read_text(), re.M)
    assert {name: int(status) for name, status in listed} == {
        kind.name: kind.status for kind in PROBLEM_TYPES.values()
    }
