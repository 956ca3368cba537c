"""The package in a fresh environment: what it brings along, and programs that use it."""

from __future__ import annotations

import json
import shutil
import zipfile
from email.message import Message
from email.parser import Parser
from itertools import count
from pathlib import Path
from typing import Any

import httpx
import pytest
from packaging.requirements import Requirement

from durable_orders.store.database import connect
from durable_orders.store.migrations import is_migrated
from sandbox.child import Child
from sandbox.ports import free_port
from tests.support.eventually import eventually
from tests.support.servers import Postgres
from tests.support.shop import basket
from tests.support.shop_with_store import ShopWithStore
from tests.wheel.conftest import PROGRAMS, ROOT, Environment, locked

#: What the bare package does without.
HEAVY = {
    *("fastapi", "starlette", "uvicorn", "jinja2", "prometheus-client"),
    *("stripe", "resend", "aiohttp", "sqlalchemy", "asyncpg", "alembic", "typer", "rich"),
}
_numbers = count(1)


def new_id() -> str:
    return f"wheel-{next(_numbers)}"


def metadata(wheel: Path) -> Message:
    with zipfile.ZipFile(wheel) as archive:
        [name] = [each for each in archive.namelist() if each.endswith(".dist-info/METADATA")]
        return Parser().parsestr(archive.read(name).decode())


# -- what is in it ---------------------------------------------------------------------------------


def test_the_wheel_holds_the_package_and_nothing_else(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        names = {Path(name) for name in archive.namelist()}
    ours = {
        file.relative_to(ROOT)
        for file in (ROOT / "durable_orders").rglob("*")
        if file.is_file() and "__pycache__" not in file.parts
    }
    assert {name for name in names if not name.parts[0].endswith(".dist-info")} == ours
    assert {name.suffix for name in ours} >= {".py", ".html", ".css", ".svg", ".typed"}


def test_the_wheel_asks_for_four_packages_and_in_ranges(wheel: Path) -> None:
    asked = [Requirement(text) for text in metadata(wheel).get_all("Requires-Dist", [])]
    assert {each.name for each in asked if each.marker is None} == {
        "temporalio",
        "pydantic",
        "pydantic-settings",
        "email-validator",
    }
    assert not [each for each in asked if {part.operator for part in each.specifier} & {"==", "~="}]


def test_the_bare_package_brings_nothing_heavy_along(bare: Environment) -> None:
    brought = bare.distributions()
    assert {"durable-orders", "temporalio", "pydantic", "pydantic-settings"} <= set(brought)
    assert set(brought) & HEAVY == set()
    assert len(brought) < 25


@pytest.mark.parametrize("extra", ["bare", "with_store", "with_cli", "with_api"])
def test_the_versions_are_the_locked_ones(extra: str, request: pytest.FixtureRequest) -> None:
    brought = request.getfixturevalue(extra).distributions()
    versions = {name: version.partition(" ")[0] for name, version in locked().items()}
    del brought["durable-orders"]
    assert {name: versions.get(name) for name in brought} == brought


def test_the_store_brings_no_web_server_and_no_provider(with_store: Environment) -> None:
    brought = with_store.distributions()
    assert {"sqlalchemy", "asyncpg", "alembic"} <= set(brought)
    assert set(brought) & HEAVY == {"sqlalchemy", "asyncpg", "alembic"}


# -- programs outside the checkout -----------------------------------------------------------------


async def told(environment: Environment, program: str, *ids: str, **settings: str) -> Any:
    """What a program says that was put somewhere outside the checkout."""
    there = environment.home / program
    shutil.copy(PROGRAMS / program, there)
    return json.loads(await environment.python(str(there), *ids, **settings))


async def test_the_clients_are_there_after_pip_install(bare: Environment) -> None:
    said = await bare.python(
        "-c",
        "import durable_orders\n"
        "from durable_orders import OrderClient, RefundClient\n"
        "print(OrderClient.__name__, RefundClient.__name__, durable_orders.__file__)",
    )
    orders, refunds, file = said.split()
    assert (orders, refunds) == ("OrderClient", "RefundClient")
    assert Path(file).is_relative_to(bare.directory)


async def test_without_the_store_orders_are_started_followed_and_cancelled(
    bare: Environment, shop: ShopWithStore
) -> None:
    completed, waiting = new_id(), new_id()
    await shop.orders.place(basket(completed))
    await shop.orders.place(basket(waiting, flagged=True))

    said = await told(bare, "without_store.py", completed, waiting, **shop.without_database)

    assert said["seen"][-1] == "completed"
    assert (said["taken"], said["refund"]) == ("29.00 EUR", "refund_outcome")
    assert (said["cancelled"], said["status"]) == ("cancelled", "cancelled")
    assert (await shop.orders.view(waiting)).order.status == "cancelled"
    assert not {"sqlalchemy", "durable_orders.store"} & set(said["loaded"])


async def test_with_the_store_they_are_placed_and_shown_too(
    with_store: Environment, shop: ShopWithStore
) -> None:
    first, second = new_id(), new_id()

    said = await told(with_store, "with_store.py", first, second, **shop.environment)

    assert said["total"] == "29.00 EUR"
    assert said["history"][0] == "order_placed"
    assert "order_completed" in said["history"]
    assert said["refunds"] == ["succeeded"]
    assert (said["cancelled"], said["status"]) == ("cancelled", "cancelled")
    assert (await shop.orders.view(first)).order.status == "completed"


async def test_without_the_extra_the_store_names_it(bare: Environment) -> None:
    done = await bare.run("python", "-I", "-c", "from durable_orders.store import open_store")
    assert done.returncode == 1
    said = done.stderr.splitlines()[-1]
    assert said.startswith("durable_orders.extras.MissingExtraError: ")
    assert said.endswith(" is not installed: pip install 'durable-orders[store]'")


# -- the command -----------------------------------------------------------------------------------


@pytest.mark.parametrize("arguments", [("--help",), ("status", "1001")])
async def test_without_the_extra_the_command_names_it(
    bare: Environment, arguments: tuple[str, ...]
) -> None:
    done = await bare.run("durable-orders", *arguments)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == "typer is not installed: pip install 'durable-orders[cli]'\n"


async def test_with_the_extra_the_command_explains_itself(with_cli: Environment) -> None:
    done = await with_cli.run("durable-orders", "--help")
    assert (done.returncode, done.stderr) == (0, "")
    assert "Usage: durable-orders [OPTIONS] COMMAND" in done.stdout


async def test_the_command_makes_a_database_and_places_an_order_in_it(
    with_cli: Environment, shop: ShopWithStore, postgres: Postgres
) -> None:
    url = await postgres.empty()
    settings = shop.environment | {"DATABASE_URL": url}
    for arguments in (("store", "migrate"), ("store", "seed"), ("store", "check")):
        done = await with_cli.run("durable-orders", *arguments, **settings)
        assert done.returncode == 0, done.stderr
    database = connect(url)
    assert await is_migrated(database)
    await database.close()

    order_id = new_id()
    placed = await with_cli.run(
        "durable-orders", "place", "--no-start", "--order-id", order_id, **settings
    )

    assert placed.returncode == 0, placed.stderr
    assert f"Start it: durable-orders start {order_id}\n" in placed.stdout
    unknown = await with_cli.run("durable-orders", "status", "nobody", **settings)
    assert (unknown.returncode, unknown.stderr) == (1, "There is no order nobody.\n")


async def test_the_command_follows_an_order(with_cli: Environment, shop: ShopWithStore) -> None:
    order_id = new_id()
    placed = await with_cli.run(
        "durable-orders", "place", "--order-id", order_id, **shop.environment
    )
    done = await with_cli.run("durable-orders", "watch", order_id, **shop.environment)
    assert (placed.returncode, done.returncode) == (0, 0), placed.stderr + done.stderr
    assert done.stdout.endswith(f"Order {order_id} is completed, 29.00 EUR\n")


async def test_a_command_that_asks_the_card_provider_names_the_extra_for_it(
    with_cli: Environment, shop: ShopWithStore
) -> None:
    settings = shop.environment | {"STRIPE_API_KEY": "sk_test_sandbox"}
    done = await with_cli.run("durable-orders", "finish-payment", "1001", **settings)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.endswith(" is not installed: pip install 'durable-orders[providers]'\n")
    assert done.stderr.count("\n") == 1


# -- the HTTP API ----------------------------------------------------------------------------------

SERVE = """
from durable_orders.api.process import main
from durable_orders.process import exit_process
exit_process(main())
"""


async def test_the_api_and_its_pages_are_served_from_the_package(
    with_api: Environment, shop: ShopWithStore
) -> None:
    port = free_port()
    api = Child("the API", with_api.home / "api")
    settings = shop.environment | {"API_PORT": str(port)}
    await api.start(
        [str(with_api.program("python")), "-I", "-c", SERVE], env=settings, cwd=with_api.home
    )
    try:
        async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}") as http:

            async def ready() -> bool:
                if not api.running:
                    raise api.died()
                try:
                    return (await http.get("/readyz")).status_code == 200
                except httpx.TransportError:
                    return False

            await eventually(ready, within=60)
            page = await http.get("/operator", follow_redirects=True)
            style = await http.get("/operator/files/operator.css")
    finally:
        await api.stop()
    assert page.status_code == 200
    assert "<form" in page.text
    assert (style.status_code, style.headers["content-type"]) == (200, "text/css; charset=utf-8")
