"""docker-compose.yml says what the code needs: none of these tests needs Docker."""

from __future__ import annotations

import asyncio
import re
import sys
from pathlib import Path

import pytest
import yaml
from pydantic_settings import BaseSettings
from temporalio.api.workflowservice.v1 import DescribeNamespaceRequest

from durable_orders.contracts.search_attributes import SEARCH_ATTRIBUTES
from durable_orders.settings import ApiSettings, CardSettings, WorkerSettings
from sandbox.env_file import settings as sandbox_settings
from sandbox.temporal_server import SEARCH_ATTRIBUTES as SANDBOX_ATTRIBUTES
from sandbox.temporal_server import temporal_binary
from tests.containers.composed import COMPOSE, OWN_KEYS, ROOT, SANDBOX, SERVICES, run
from tests.support.servers import Temporal
from workflows.retry_policies import GRACEFUL_SHUTDOWN

ATTRIBUTES = {key.name: key.indexed_value_type.name.capitalize() for key in SEARCH_ATTRIBUTES}
NAMESPACE_SCRIPT: str = SERVICES["temporal-namespace"]["command"][0].replace("$$", "$")
OURS = ("worker", "api", "migrate", "seed", "world")


def test_temporals_server_and_tools_have_one_version_which_the_tests_run_on() -> None:
    server, tools = (SERVICES[name]["image"] for name in ("temporal", "temporal-schema"))
    ui = SERVICES["temporal-ui"]["image"]
    assert SERVICES["temporal-namespace"]["image"] == tools
    said = run([temporal_binary(), "--version"], env={}).stdout
    versions = re.search(r"Server (\S+), UI (\S+)\)", said)
    assert versions
    assert server == f"temporalio/server:{versions[1]}"
    assert tools == f"temporalio/admin-tools:{versions[1]}"
    assert ui == f"temporalio/ui:{versions[2]}"


@pytest.mark.parametrize("image", sorted({s["image"] for s in SERVICES.values()}))
def test_no_image_is_whatever_is_newest_today(image: str) -> None:
    assert image.startswith("durable-orders") or re.search(r":\d+(\.\d+)+$", image)


def test_the_image_runs_on_the_oldest_python_that_is_checked() -> None:
    [base] = re.findall(r"^ARG PYTHON=(\S+)$", (ROOT / "Dockerfile").read_text(), re.MULTILINE)
    assert re.fullmatch(r"python:3\.11\.\d+-slim-\w+", base)


@pytest.mark.parametrize(
    ("service", "settings"), [("worker", (WorkerSettings,)), ("api", (ApiSettings, CardSettings))]
)
def test_every_setting_is_passed_and_no_other(
    service: str, settings: tuple[type[BaseSettings], ...]
) -> None:
    fields = {name.upper() for each in settings for name in each.model_fields}
    passed = SERVICES[service]["environment"]
    assert set(passed) == fields | {"TEMPORAL_ADDRESS", "TEMPORAL_NAMESPACE"}


@pytest.mark.parametrize(
    ("service", "settings"), [("worker", WorkerSettings), ("api", ApiSettings)]
)
def test_what_is_not_set_is_what_it_is_without_containers(
    service: str, settings: type[BaseSettings], monkeypatch: pytest.MonkeyPatch
) -> None:
    optional = {}
    for name, given in SERVICES[service]["environment"].items():
        if name.lower() in settings.model_fields and (
            found := re.fullmatch(r"\$\{\w+:-(.*)\}", str(given))
        ):
            optional[name] = found[1]
    optional.pop("LOG_FORMAT")  # programs read the logs of containers, people those of a terminal
    for name, value in (OWN_KEYS | {"DATABASE_URL": "postgresql://"} | optional).items():
        monkeypatch.setenv(name, value)
    monkeypatch.chdir("/")  # where there is no .env
    loaded = settings()
    fields = {name.lower(): settings.model_fields[name.lower()] for name in optional}
    assert {name: getattr(loaded, name) for name in fields} == {
        name: field.get_default(call_default_factory=True) for name, field in fields.items()
    }


@pytest.mark.parametrize("image", ["durable-orders", "durable-orders-sandbox"])
def test_an_image_is_built_by_one_service_that_all_others_wait_for(image: str) -> None:
    users = {name for name, service in SERVICES.items() if service["image"] == image}
    [builder] = {name for name in users if "build" in SERVICES[name]}
    for name in users - {builder}:
        assert builder in SERVICES[name]["depends_on"]
    # Whatever has that name at a registry is not ours.
    assert {SERVICES[name]["pull_policy"] for name in users} == {"never"}


def test_without_keys_the_workers_talk_to_the_stand_in_alone() -> None:
    world = "http://world:8030"
    expected = sandbox_settings(
        temporal_address="", namespace="", ui_url="", database_url="", stand_in_url=world
    )
    for name in ("TEMPORAL_ADDRESS", "TEMPORAL_NAMESPACE", "TEMPORAL_UI_URL", "DATABASE_URL"):
        expected.pop(name)
    # A person follows it, outside of the containers.
    expected["PAYMENT_URL"] = expected["PAYMENT_URL"].replace(world, "http://localhost:8030")
    assert {name: SANDBOX[name] for name in expected} == expected
    assert SANDBOX["COMPOSE_PROFILES"] == "sandbox"


def test_the_example_of_an_env_file_names_every_key_that_is_required() -> None:
    required = set(re.findall(r"\$\{(\w+):\?", (ROOT / "docker-compose.yml").read_text()))
    example = (ROOT / ".env.example").read_text()
    assert required == set(OWN_KEYS)
    assert {
        name for name in required if not re.search(rf"^{name}=", example, re.MULTILINE)
    } == set()


def test_only_pages_and_the_http_edge_are_published_and_only_to_this_machine() -> None:
    published = {name for name, service in SERVICES.items() if "ports" in service}
    assert published == {"api", "temporal-ui", "world"}
    for name in published:
        assert all(port.startswith("127.0.0.1:") for port in SERVICES[name]["ports"])


@pytest.mark.parametrize("service", OURS)
def test_our_containers_may_do_nothing_they_need_not(service: str) -> None:
    ours = SERVICES[service]
    assert (ours["read_only"], ours["cap_drop"], ours["init"]) == (True, ["ALL"], True)


@pytest.mark.parametrize(("status", "is_healthy"), [(200, True), (503, False)])
async def test_the_edge_is_healthy_while_it_is_ready(status: int, *, is_healthy: bool) -> None:
    asked = []

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        asked.append(await reader.readline())
        writer.write(f"HTTP/1.1 {status} X\r\nContent-Length: 0\r\n\r\n".encode())
        await writer.drain()
        writer.close()

    async with await asyncio.start_server(answer, "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
        *_, code = SERVICES["api"]["healthcheck"]["test"]
        command = [sys.executable, "-c", code.replace(":8080", f":{port}")]
        done = await asyncio.to_thread(run, command, env={})

    assert asked == [b"GET /readyz HTTP/1.1\r\n"]
    assert (done.returncode == 0) is is_healthy


def test_a_worker_is_given_the_time_it_lets_activities_finish() -> None:
    grace = float(SERVICES["worker"]["stop_grace_period"].removesuffix("s"))
    assert grace > GRACEFUL_SHUTDOWN.total_seconds() + 5
    assert SERVICES["worker"]["deploy"]["replicas"] == 2


async def test_temporal_ends_the_polls_of_a_worker_that_stops(temporal_server: Temporal) -> None:
    """In the sandbox, whose server says what it can do, and in containers."""
    told = yaml.safe_load(COMPOSE["configs"]["temporal-config"]["content"])
    assert told["frontend.enableCancelWorkerPollsOnShutdown"] == [{"value": True}]
    client = await temporal_server.connect()
    answer = await client.workflow_service.describe_namespace(
        DescribeNamespaceRequest(namespace=temporal_server.namespace)
    )
    assert answer.namespace_info.capabilities.worker_poll_complete_on_shutdown


def test_orders_and_temporal_have_databases_of_their_own() -> None:
    assert SERVICES["worker"]["environment"]["DATABASE_URL"].endswith("@postgres:5432/orders")
    script = COMPOSE["configs"]["databases"]["content"]
    assert "CREATE DATABASE orders OWNER orders" in script
    schema = SERVICES["temporal-schema"]
    assert re.findall(r"^prepare (\w+) ", schema["command"][0], re.MULTILINE) == [
        "temporal",
        "temporal_visibility",
    ]
    assert schema["environment"]["SQL_USER"] == "temporal"


def test_search_attributes_are_the_same_everywhere() -> None:
    registered = dict(re.findall(r"^register (\w+) (\w+)$", NAMESPACE_SCRIPT, re.MULTILINE))
    assert registered == ATTRIBUTES == SANDBOX_ATTRIBUTES


async def test_the_namespace_is_prepared_on_the_real_server_and_again(
    temporal_server: Temporal,
) -> None:
    namespace = "prepared-by-compose"
    env = {
        "PATH": f"{Path(temporal_binary()).parent}:/usr/bin:/bin",
        "TEMPORAL_ADDRESS": temporal_server.address,
        "TEMPORAL_NAMESPACE": namespace,
    }
    for _ in range(2):
        done = run([*SERVICES["temporal-namespace"]["entrypoint"], NAMESPACE_SCRIPT], env=env)
        assert done.returncode == 0, done.stdout + done.stderr
    listed = run([temporal_binary(), "operator", "search-attribute", "list"], env=env).stdout
    found = dict(re.findall(r"^\s*(\w+)\s+(\w+)\s*$", listed, re.MULTILINE))
    assert {name: found.get(name) for name in ATTRIBUTES} == ATTRIBUTES
