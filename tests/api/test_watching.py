"""What others see of the edge: its readiness, its metrics, its description."""

import asyncio
import json
import re
from dataclasses import replace

import httpx
import pytest
from prometheus_client.parser import text_string_to_metric_families
from temporalio.client import Client

from durable_orders.api.app import PROTECTED_ROUTERS, create_app
from durable_orders.api.routes.health import Check
from durable_orders.readiness import check_database, check_temporal
from durable_orders.store.database import connect
from sandbox.ports import free_port
from tests.api.api_clients import asking_edge, edge_of, is_problem
from tests.support.servers import Postgres
from tests.support.shop import Shop


def samples(text: str, name: str) -> dict[tuple[str, ...], float]:
    """The values of a metric by its route, method and status, as far as it has them."""
    found: dict[tuple[str, ...], float] = {}
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            if sample.name == name:
                labels = (sample.labels.get(key) for key in ("route", "method", "status"))
                found[tuple(filter(None, labels))] = sample.value
    return found


async def test_it_is_ready_when_all_that_it_needs_is_there(closed_shop: Shop) -> None:
    async def fine() -> str | None:
        return None

    edge = replace(edge_of(closed_shop), checks={"Temporal": fine, "database": fine})
    async with asking_edge(edge, token=None) as http:
        answer = await http.get("/readyz")
    assert (answer.status_code, answer.json()) == (200, {"status": "ready"})


async def test_what_is_missing_is_named_without_its_address(
    closed_shop: Shop, postgres: Postgres, caplog: pytest.LogCaptureFixture
) -> None:
    """On the real ones: nobody listens, a database without tables, one that hangs."""
    nowhere = await Client.connect(f"127.0.0.1:{free_port()}", lazy=True)
    empty = connect(await postgres.empty())

    async def hanging() -> str | None:
        await asyncio.Event().wait()
        return None

    checks: dict[str, Check] = {
        "Temporal": lambda: check_temporal(nowhere),
        "database": lambda: check_database(empty),
        "post office": hanging,
    }
    async with asking_edge(replace(edge_of(closed_shop), checks=checks), token=None) as http:
        answer = await http.get("/readyz")
    await empty.close()

    is_problem(answer, 503, "this is missing: Temporal, database, post office")
    assert "127.0.0.1" not in answer.text
    assert "python client.py store migrate" in caplog.text
    assert "no answer within 3 s" in caplog.text


async def test_the_real_ones_are_ready(closed_shop: Shop, database_url: str) -> None:
    database = connect(database_url)
    assert await check_temporal(closed_shop.temporal) is None
    assert await check_database(database) is None
    await database.close()
    away = connect(f"postgresql://u:hidden@127.0.0.1:{free_port()}/orders")
    assert "hidden" not in str(await check_database(away))
    await away.close()


async def test_asking_often_asks_the_others_once(closed_shop: Shop) -> None:
    asked = 0

    async def counted() -> str | None:
        nonlocal asked
        asked += 1
        return None

    edge = replace(edge_of(closed_shop), checks={"database": counted})
    async with asking_edge(edge, token=None) as http:
        await asyncio.gather(*(http.get("/readyz") for _ in range(20)))
    assert asked == 1


async def test_requests_are_counted_by_route_and_not_by_order(
    closed_shop: Shop, closed: httpx.AsyncClient
) -> None:
    order_id = await closed_shop.place()
    for path in (f"/orders/{order_id}", f"/orders/{order_id}", "/orders/nobody", "/a", "/b"):
        await closed.get(path)
    await closed.request("BREW", "/orders/pot")
    await closed.get("/orders/1", headers={"Authorization": "Bearer none"})

    answer = await closed.get("/metrics")

    assert answer.headers["content-type"].startswith("text/plain; version=")
    counted = samples(answer.text, "durable_orders_http_requests_total")
    assert counted == {
        ("/orders/{order_id}", "GET", "200"): 2,
        ("/orders/{order_id}", "GET", "404"): 1,
        ("none", "GET", "404"): 2,
        ("none", "GET", "401"): 1,
        ("/orders/{order_id}", "other", "405"): 1,
    }
    timed = samples(answer.text, "durable_orders_http_request_seconds_count")
    assert timed["/orders/{order_id}", "GET"] == 3


async def test_every_operation_is_described_with_an_example_and_its_problems(
    closed: httpx.AsyncClient,
) -> None:
    description = (await closed.get("/openapi.json")).json()

    assert set(description["paths"]) == {
        "/checkout",
        "/orders",
        "/orders/{order_id}",
        "/orders/{order_id}/cancel",
        "/orders/{order_id}/approve",
        "/orders/{order_id}/reject",
        "/orders/{order_id}/payment-method",
        "/orders/{order_id}/events",
        "/orders/{order_id}/refunds",
        "/orders/{order_id}/refunds/{refund_id}",
        "/orders/{order_id}/refunds/{refund_id}/approve",
        "/orders/{order_id}/refunds/{refund_id}/reject",
        "/disputes",
        "/disputes/{risk_id}",
        "/healthz",
        "/readyz",
        "/metrics",
        "/problems/{name}",
        "/webhooks/stripe",
        "/webhooks/warehouse",
        "/webhooks/resend",
    }
    guarded = {
        getattr(route, "path", "") for router, _ in PROTECTED_ROUTERS for route in router.routes
    }
    for path, operations in description["paths"].items():
        for operation in operations.values():
            answers = operation["responses"]
            good = [answer for status, answer in answers.items() if status < "204"]
            assert all("example" in json.dumps(answer) for answer in good), path
            assert operation["description"], path
            assert ("security" in operation) == (path in guarded), path
            if path in guarded:
                assert set(answers) >= {"401", "403", "413", "422", "429", "500", "503"}
            for status, answer in answers.items():
                if status >= "400":
                    content = answer["content"]["application/problem+json"]
                    assert content["schema"] == {"$ref": "#/components/schemas/Problem"}
                    told = [example["value"] for example in content["examples"].values()]
                    assert {problem["status"] for problem in told} == {int(status)}
    assert "HTTPValidationError" not in json.dumps(description)
    [scheme] = description["components"]["securitySchemes"].values()
    assert (scheme["type"], scheme["scheme"]) == ("http", "bearer")


async def test_every_problem_fits_its_description(closed: httpx.AsyncClient) -> None:
    schema = (await closed.get("/openapi.json")).json()["components"]["schemas"]["Problem"]
    for problem in (
        (await closed.get("/orders/nobody")).json(),
        (await closed.post("/checkout", json={})).json(),
    ):
        assert set(schema["required"]) <= set(problem) <= set(schema["properties"])


async def test_the_page_of_the_description_needs_no_other_host(closed: httpx.AsyncClient) -> None:
    page = (await closed.get("/docs")).text
    parts = re.findall(r'(?:src|href)="([^"]+)"', page)

    assert len(parts) == 4
    assert "://" not in page
    for part in parts:
        answer = await closed.get(f"/{part}")
        assert answer.status_code == 200
        assert len(answer.content) > 50
    assert '"openapi.json"' in (await closed.get("/docs/start.js")).text
    is_problem(await closed.get("/docs/redoc.standalone.js"), 404, "nothing at this address")


def test_two_edges_in_one_process_count_for_themselves(closed_shop: Shop) -> None:
    one, other = create_app(edge_of(closed_shop)), create_app(edge_of(closed_shop))
    one.state.metrics.count({"method": "GET"}, 200, 0.1)
    assert b'status="200"' in one.state.metrics.text()
    assert b'status="200"' not in other.state.metrics.text()
