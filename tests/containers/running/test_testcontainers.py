"""The project's own image, Temporal and PostgreSQL, each in a container of testcontainers'."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass

import docker  # type: ignore[import-untyped]
import httpx
import pytest
from docker.errors import ImageNotFound  # type: ignore[import-untyped]
from testcontainers.community.postgres import PostgresContainer
from testcontainers.core.config import testcontainers_config
from testcontainers.core.container import DockerContainer
from testcontainers.core.network import Network
from testcontainers.core.wait_strategies import HttpWaitStrategy, LogMessageWaitStrategy

from sandbox.books_client import BooksClient
from sandbox.env_file import settings as sandbox_settings
from sandbox.fault_client import FaultClient
from sandbox.temporal_server import NAMESPACE, SEARCH_ATTRIBUTES
from tests.containers.composed import ROOT, image_of
from tests.containers.images import TEMPORAL_IMAGE
from tests.support.eventually import eventually

IMAGE, SANDBOX_IMAGE = "durable-orders-tests", "durable-orders-tests-sandbox"
LABEL = "durable-orders.tests"


@contextmanager
def running(container: DockerContainer) -> Iterator[DockerContainer]:
    """The container, up; removed at the end, also when it does not come up."""
    try:
        yield container.with_kwargs(labels={LABEL: "yes"}).start()
    finally:
        container.stop()


@pytest.fixture(scope="module", autouse=True)
def without_ryuk(engine: None) -> Iterator[None]:
    """Do without testcontainers' own remover where its image is not: ``running`` removes."""
    try:
        docker.from_env().images.get(testcontainers_config.ryuk_image)
    except ImageNotFound:
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(testcontainers_config, "ryuk_disabled", True)
            yield
    else:
        yield


@pytest.fixture(scope="module")
def images(engine: None) -> Iterator[None]:
    """Our images, as the Dockerfile makes them."""
    client = docker.from_env(timeout=600)
    for target, name in (("app", IMAGE), ("sandbox", SANDBOX_IMAGE)):
        client.images.build(path=str(ROOT), target=target, tag=name, rm=True)
    yield
    for name in (IMAGE, SANDBOX_IMAGE):
        client.images.remove(name, force=True)


@dataclass
class Shop:
    """Where the parts are, for a program outside of the containers."""

    api_url: str
    world_url: str
    token: str
    worker: DockerContainer
    start_worker: Callable[[], DockerContainer]


@pytest.fixture(scope="module")
def shop(images: None) -> Iterator[Shop]:
    with ExitStack() as stack:
        network = stack.enter_context(Network())

        def start(container: DockerContainer, name: str) -> DockerContainer:
            container.with_network(network).with_network_aliases(name)
            return stack.enter_context(running(container))

        start(
            PostgresContainer(
                image_of("postgres"),
                username="orders",
                password="secret",
                dbname="orders",
                driver=None,
            ),
            "postgres",
        )
        attributes = " ".join(
            f"--search-attribute {n}={kind}" for n, kind in SEARCH_ATTRIBUTES.items()
        )
        start(
            DockerContainer(TEMPORAL_IMAGE)
            .with_command(f"server start-dev --ip 0.0.0.0 {attributes}")
            .with_exposed_ports(8233)
            .waiting_for(HttpWaitStrategy(8233, "/api/v1/namespaces").for_status_code(200)),
            "temporal",
        )
        world = start(
            DockerContainer(SANDBOX_IMAGE)
            .with_exposed_ports(8030)
            .waiting_for(HttpWaitStrategy(8030, "/books").for_status_code(200)),
            "world",
        )
        values = sandbox_settings(
            temporal_address="temporal:7233",
            namespace=NAMESPACE,
            ui_url="",
            database_url="postgresql://orders:secret@postgres:5432/orders",
            stand_in_url="http://world:8030",
        )

        def ours(*command: str) -> DockerContainer:
            container = DockerContainer(IMAGE).with_command(["python", *command])
            for name, value in values.items():
                container.with_env(name, value)
            return container

        def once(*command: str) -> str:
            """What a command says; it must end with 0."""
            container = start(ours("client.py", *command), f"once-{command[-1]}")
            ended = container.get_wrapped_container().wait(timeout=60)
            output, errors = container.get_logs()
            assert ended["StatusCode"] == 0, errors.decode()
            return output.decode()

        once("store", "migrate")
        once("store", "seed")
        [token] = re.findall(
            r"^do_\S+", once("keys", "create", "shop", "--scope", "shop"), re.MULTILINE
        )

        def start_worker() -> DockerContainer:
            worker = ours("worker.py").waiting_for(LogMessageWaitStrategy("ready: working"))
            return start(worker, "worker")

        api = start(
            ours("api.py")
            .with_env("API_HOST", "0.0.0.0")  # noqa: S104 - within the container
            .with_exposed_ports(8080)
            .waiting_for(HttpWaitStrategy(8080, "/readyz").for_status_code(200)),
            "api",
        )
        yield Shop(_url(api, 8080), _url(world, 8030), str(token), start_worker(), start_worker)


def _url(container: DockerContainer, port: int) -> str:
    return f"http://{container.get_container_host_ip()}:{container.get_exposed_port(port)}"


async def check_out(shop: Shop, order_id: str) -> None:
    headers = {"Authorization": f"Bearer {shop.token}"}
    order = {
        "order_id": order_id,
        "customer_id": "customer-1",
        "recipient": {"name": "Ada", "email": "ada@example.com", "address": "1 Square, London"},
        "lines": [{"sku": "MUG", "quantity": 2}],
        "payment_method": "pm_card_visa",
    }
    async with httpx.AsyncClient(base_url=shop.api_url, headers=headers, timeout=30) as api:
        (await api.post("/orders", json=order)).raise_for_status()
        (await api.post("/checkout", json={"order_id": order_id})).raise_for_status()


async def completes(shop: Shop, order_id: str) -> None:
    """The order completes, with one charge, one parcel and one mail."""
    headers = {"Authorization": f"Bearer {shop.token}"}
    async with httpx.AsyncClient(base_url=shop.api_url, headers=headers, timeout=30) as api:

        async def is_completed() -> bool:
            order = (await api.get(f"/orders/{order_id}")).raise_for_status().json()
            return bool(order["status"] == "completed")

        await eventually(is_completed, within=60)
    books = await BooksClient(shop.world_url).order(order_id)
    assert [payment.captured for payment in books.payments] == [29_00]
    assert (books.refunded, len(books.parcels), len(books.mails)) == (0, 1, 1)


async def test_an_order_over_http_is_carried_to_its_end(shop: Shop) -> None:
    await check_out(shop, "1001")
    await completes(shop, "1001")


async def test_an_order_goes_on_when_the_container_of_its_worker_is_killed(shop: Shop) -> None:
    """Killed while the bank has charged the card and the worker waits for the answer."""
    async with FaultClient(shop.world_url) as faults:
        lost = await faults.inject(
            "stripe.payment_intents.confirm", "delay_after", order_id="1002", times=1, seconds=30
        )
        await check_out(shop, "1002")
        await faults.wait_for_hits(lost)
        shop.start_worker()
        shop.worker.get_wrapped_container().kill("SIGKILL")
        await completes(shop, "1002")


def test_a_container_that_does_not_come_up_in_time_is_removed(images: None) -> None:
    waits_for_ever = (
        DockerContainer(IMAGE)
        .with_command(["sleep", "600"])
        .waiting_for(LogMessageWaitStrategy("never said").with_startup_timeout(1))
    )
    with pytest.raises(TimeoutError), running(waits_for_ever):
        pass
    client = docker.from_env()
    filters = {"label": LABEL, "ancestor": IMAGE}
    left = client.containers.list(all=True, filters=filters)
    assert [one for one in left if one.attrs["Config"]["Cmd"] == ["sleep", "600"]] == []
