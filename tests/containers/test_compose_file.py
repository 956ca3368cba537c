"""docker-compose.yml says what the code needs: none of these tests needs Docker."""

from __future__ import annotations

import asyncio
import os
import re
import sys
import time
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
from workflows.retry_policies import GRACEFUL_SHUTDOWN, STOPPED_WITHIN

ATTRIBUTES = {key.name: key.indexed_value_type.name.capitalize() for key in SEARCH_ATTRIBUTES}
NAMESPACE_SCRIPT: str = SERVICES["temporal-namespace"]["command"][0].replace("$$", "$")
OURS = ("worker", "api", "migrate", "seed", "world")
[PYTHON] = re.findall(r"^ARG PYTHON=(\S+)$", (ROOT / "Dockerfile").read_text(), re.MULTILINE)
#: The variable of each image's name, and the image without it.
IMAGE = re.compile(r"\$\{\w+:-([^}]+)\}")


def default_image(service: str) -> str:
    """The image of a service where the environment names none."""
    return IMAGE.sub(r"\1", SERVICES[service]["image"])


def test_temporals_server_and_tools_have_one_version_which_the_tests_run_on() -> None:
    server, tools, ui = (
        default_image(name) for name in ("temporal", "temporal-schema", "temporal-ui")
    )
    assert default_image("temporal-namespace") == tools
    said = run([temporal_binary(), "--version"], env={}).stdout
    versions = re.search(r"Server (\S+), UI (\S+)\)", said)
    assert versions
    assert server == f"temporalio/server:{versions[1]}"
    assert tools == f"temporalio/admin-tools:{versions[1]}"
    assert ui == f"temporalio/ui:{versions[2]}"


@pytest.mark.parametrize("service", sorted(SERVICES.keys() - set(OURS)))
def test_no_image_is_whatever_is_newest_today(service: str) -> None:
    assert re.search(r":\d+(\.\d+)+$", default_image(service))


@pytest.mark.parametrize("service", SERVICES)
def test_every_image_can_be_another_of_a_registry_or_by_its_digest(service: str) -> None:
    assert re.match(r"\$\{[A-Z_]*IMAGE:-", SERVICES[service]["image"])


def test_each_image_that_is_built_takes_the_python_image() -> None:
    building = [service["build"] for service in SERVICES.values() if "build" in service]
    assert len(building) == 2
    assert {build["args"]["PYTHON"] for build in building} == {f"${{PYTHON_IMAGE:-{PYTHON}}}"}


def test_the_image_runs_on_the_oldest_python_that_is_checked() -> None:
    assert re.fullmatch(r"python:3\.11\.\d+-slim-\w+", PYTHON)


@pytest.mark.parametrize(
    ("service", "settings"), [("worker", (WorkerSettings,)), ("api", (ApiSettings, CardSettings))]
)
def test_every_setting_is_passed_and_no_other(
    service: str, settings: tuple[type[BaseSettings], ...]
) -> None:
    fields = {name.upper() for each in settings for name in each.model_fields}
    secrets = {one["target"].upper() for one in SERVICES[service]["secrets"]}
    passed = SERVICES[service]["environment"].keys() | secrets
    assert passed == fields | {"TEMPORAL_ADDRESS", "TEMPORAL_NAMESPACE"}


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


@pytest.mark.parametrize("image", ["durable-orders:latest", "durable-orders-sandbox"])
def test_an_image_is_built_by_one_service_that_all_others_wait_for(image: str) -> None:
    users = {name for name in SERVICES if default_image(name) == image}
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


@pytest.mark.parametrize("service", SERVICES)
def test_a_container_may_do_nothing_it_needs_not(service: str) -> None:
    hardened = SERVICES[service]
    assert hardened["cap_drop"] == ["ALL"]
    assert hardened["security_opt"] == ["no-new-privileges:true"]
    limits = hardened["deploy"]["resources"]["limits"]
    assert limits.keys() == {"memory", "pids"}
    assert hardened.get("read_only", False) is (service != "temporal-ui")


def test_each_owner_of_a_database_has_a_password_that_is_a_file() -> None:
    assert set(COMPOSE["secrets"]) == {"postgres_password", "orders_password", "temporal_password"}
    text = (ROOT / "docker-compose.yml").read_text()
    assert "PASSWORD:-" not in text
    assert "PASSWORD:?" not in text
    for name, secret in COMPOSE["secrets"].items():
        assert secret == {"file": f"${{SECRETS:-./secrets}}/{name}"}
        assert (ROOT / "sandbox" / "secrets" / name).read_text()
    assert SANDBOX["SECRETS"] == "./sandbox/secrets"


def test_postgres_has_a_connection_for_everybody_who_may_want_one() -> None:
    """Ten workers and APIs, one more while one is replaced, some commands; and Temporal."""
    temporal = SERVICES["temporal"]["environment"]
    of_temporal = 4 * (temporal["SQL_MAX_CONNS"] + temporal["SQL_VIS_MAX_CONNS"])
    pool = WorkerSettings.model_fields["database_pool_size"].default
    reserved = 3
    [allowed] = re.findall(r"max_connections=(\d+)", " ".join(SERVICES["postgres"]["command"]))
    assert of_temporal + 11 * pool + 20 + reserved <= int(allowed)


def test_the_number_of_shards_is_set_and_not_the_servers_default() -> None:
    [shards] = IMAGE.findall(SERVICES["temporal"]["environment"]["NUM_HISTORY_SHARDS"])
    assert int(shards) >= 64


@pytest.mark.parametrize("service", ["worker", "api", "temporal", "postgres", "world"])
def test_what_has_come_up_is_healthy_soon(service: str) -> None:
    assert SERVICES[service]["healthcheck"]["start_interval"] == "1s"


@pytest.mark.parametrize(("age", "is_healthy"), [(0, True), (25, True), (60, False), (None, False)])
def test_a_worker_is_healthy_while_its_file_is_fresh(
    tmp_path: Path, age: int | None, *, is_healthy: bool
) -> None:
    file = tmp_path / "healthy"
    if age is not None:
        file.touch()
        os.utime(file, times=(time.time() - age,) * 2)
    _, script = SERVICES["worker"]["healthcheck"]["test"]
    command = script.replace("$$", "$").replace("/tmp/healthy", str(file))  # noqa: S108 - a name
    done = run(["/bin/sh", "-c", command], env={"PATH": os.environ["PATH"]})
    assert (done.returncode == 0) is is_healthy
    assert SERVICES["worker"]["environment"]["WORKER_HEALTH_FILE"] == "/tmp/healthy"  # noqa: S108


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
    assert grace >= (GRACEFUL_SHUTDOWN + STOPPED_WITHIN).total_seconds() + 5
    assert SERVICES["worker"]["deploy"]["replicas"] == 2


async def test_temporal_ends_the_polls_of_a_worker_that_stops(temporal_server: Temporal) -> None:
    """In the sandbox, whose server says what it can do, and in containers."""
    told = yaml.safe_load((ROOT / COMPOSE["configs"]["temporal-config"]["file"]).read_text())
    assert told["frontend.enableCancelWorkerPollsOnShutdown"] == [{"value": True}]
    client = await temporal_server.connect()
    answer = await client.workflow_service.describe_namespace(
        DescribeNamespaceRequest(namespace=temporal_server.namespace)
    )
    assert answer.namespace_info.capabilities.worker_poll_complete_on_shutdown


def test_orders_and_temporal_have_databases_of_their_own() -> None:
    assert SERVICES["worker"]["environment"]["DATABASE_URL"].endswith("@postgres:5432/orders")
    script = (ROOT / COMPOSE["configs"]["databases"]["file"]).read_text()
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
