"""The shipped docker-compose.yml, brought up by Compose, deployed upon, taken down, put back.

The tests share one stack, and each leaves it up.
"""

from __future__ import annotations

import re
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from durable_orders.store.migrations import _known
from sandbox.fault_client import BlockingFaultClient
from tests.containers.composed import SERVICES
from tests.containers.running.stack import Stack, Watch, copy_checkout
from tests.support.eventually import eventually

#: Services that go on running.
LASTING = ("worker", "api", "temporal", "temporal-ui", "postgres", "world")
RECIPIENT = {"name": "Ada", "email": "ada@example.com", "address": "1 Square, London"}
PASSWORDS = ("postgres_password", "orders_password", "temporal_password")


@pytest.fixture(scope="module")
def stack(engine: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    root = tmp_path_factory.mktemp("stack")
    stack = Stack(copy_checkout(root / "checkout"), root / "secrets")
    stack.run("deploy/make-secrets", str(stack.secrets))
    try:
        # One after the other: a builder without BuildKit would do the same work twice.
        stack.compose("build", "migrate")
        stack.compose("build")
        stack.up()
        yield stack
    finally:
        stack.remove()


@pytest.fixture(scope="module")
def token(stack: Stack) -> str:
    said = stack.client("keys", "create", "ops", "--scope", "operator")
    [token] = re.findall(r"^do_\S+", said, re.MULTILINE)
    return str(token)


@pytest.fixture
def faults(stack: Stack) -> Iterator[BlockingFaultClient]:
    faults = BlockingFaultClient(stack.world_url)
    yield faults
    faults.clear()
    faults.close()


def check_out(stack: Stack, token: str, order_id: str) -> None:
    """Place an order over HTTP and start it."""
    with stack.http(token) as api:
        order = {
            "order_id": order_id,
            "customer_id": "customer-1",
            "recipient": RECIPIENT,
            "lines": [{"sku": "MUG", "quantity": 2}],
            "payment_method": "pm_card_visa",
        }
        api.post("/orders", json=order).raise_for_status()
        api.post("/checkout", json={"order_id": order_id}).raise_for_status()


def status_of(stack: Stack, token: str, order_id: str) -> str:
    with stack.http(token) as api:
        return str(api.get(f"/orders/{order_id}").raise_for_status().json()["status"])


async def completes(stack: Stack, token: str, order_id: str) -> None:
    """The order completes, with one payment, one parcel and one mail."""

    async def is_completed() -> bool:
        return status_of(stack, token, order_id) == "completed"

    await eventually(is_completed, within=90)
    books = books_of(stack, order_id)
    assert (books["captured"], books["refunded"]) == (29_00, 0)
    assert len(books["fulfillments"]) == 1

    async def is_mailed() -> bool:
        return len(books_of(stack, order_id)["mails"]) == 1

    await eventually(is_mailed)


def books_of(stack: Stack, order_id: str) -> dict[str, Any]:
    found: dict[str, Any] = httpx.get(f"{stack.world_url}/books/{order_id}").json()
    return found


# -- as it comes up --------------------------------------------------------------------------------


async def test_an_order_over_http_is_carried_to_its_end(stack: Stack, token: str) -> None:
    check_out(stack, token, "first")
    await completes(stack, token, "first")
    assert "adds up" in stack.client("store", "check")


@pytest.mark.parametrize("service", LASTING)
def test_a_container_may_do_nothing_it_need_not(stack: Stack, service: str) -> None:
    [container, *_] = stack.containers(service)
    host = stack.inspected(container)["HostConfig"]
    assert host["CapDrop"] == ["ALL"]
    assert not host["CapAdd"]
    assert host["SecurityOpt"] == ["no-new-privileges:true"]
    assert host["Memory"] > 0
    assert host["PidsLimit"] > 0
    assert host["ReadonlyRootfs"] is (service != "temporal-ui")
    said = stack.run("docker", "exec", container, "id", "-u").stdout
    assert said.strip() != "0"


def test_passwords_are_files_that_nobody_else_on_the_machine_can_reach(stack: Stack) -> None:
    assert stat.S_IMODE(stack.secrets.stat().st_mode) == 0o700
    passwords = {(stack.secrets / name).read_text() for name in PASSWORDS}
    assert len(passwords) == len(PASSWORDS)
    shown = [str(stack.inspected(one)) for name in LASTING for one in stack.containers(name)]
    assert not any(password in text for password in passwords for text in shown)
    again = stack.run("deploy/make-secrets", str(stack.secrets))
    assert again.stdout.count("is there already") == len(PASSWORDS)
    assert {(stack.secrets / name).read_text() for name in PASSWORDS} == passwords


@pytest.mark.parametrize(
    ("user", "password", "database", "is_let_in"),
    [
        ("orders", "orders_password", "orders", True),
        ("temporal", "temporal_password", "temporal", True),
        ("postgres", "postgres_password", "orders", True),
        ("orders", "temporal_password", "orders", False),
        ("temporal", "orders_password", "temporal", False),
        ("postgres", "orders_password", "postgres", False),
        ("temporal", "temporal_password", "orders", False),
    ],
)
def test_each_password_opens_what_is_its_own(
    stack: Stack, user: str, password: str, database: str, *, is_let_in: bool
) -> None:
    script = f'PGPASSWORD="$(cat /run/secrets/{password})" psql --host postgres "$@"'
    asked = ("--username", user, "--dbname", database, "--command", "SELECT 1")
    command = ("exec", "-T", "postgres", "sh", "-c", script, "sh", *asked)
    assert (stack.compose(*command, check=False).returncode == 0) is is_let_in


def test_postgres_has_a_connection_for_everybody_who_may_want_one(stack: Stack) -> None:
    temporal = SERVICES["temporal"]["environment"]
    of_temporal = 4 * (temporal["SQL_MAX_CONNS"] + temporal["SQL_VIS_MAX_CONNS"])
    # Ten processes with the usual pool, one more while one is replaced, and commands.
    ours = 11 * 10 + 20
    available = int(stack.sql("SHOW max_connections")) - int(
        stack.sql("SHOW superuser_reserved_connections")
    )
    assert of_temporal + ours <= available


# -- scaled, taken down, put up --------------------------------------------------------------------


async def test_three_workers_share_the_queue(stack: Stack, token: str) -> None:
    stack.up("--no-deps", "--scale", "worker=3", "worker")
    assert stack.healthy("worker") == 3
    described = stack.compose(
        *("run", "--rm", "--no-deps", "-T", "temporal-namespace"),
        "temporal task-queue describe --task-queue orders",
    ).stdout
    hosts = {one[:12] for one in stack.containers("worker")}

    async def all_poll() -> bool:
        return all(host in described for host in hosts)

    await eventually(all_poll)
    check_out(stack, token, "scaled")
    await completes(stack, token, "scaled")
    stack.up("--no-deps", "worker")
    assert len(stack.containers("worker")) == 2


async def test_down_and_up_loses_no_order(
    stack: Stack, token: str, faults: BlockingFaultClient
) -> None:
    """One that has ended, one that waits for a person, one whose warehouse does not answer."""
    stack.client("place", "--line", "MUG=2", "--order-id", "waits", "--flagged")
    slow = faults.inject("warehouse.fulfillments.create", "error", order_id="shipping")
    check_out(stack, token, "shipping")
    faults.wait_for_hits(slow)

    stack.compose("down")
    assert stack.containers("postgres") == []
    stack.up()

    faults.clear()
    assert status_of(stack, token, "first") == "completed"
    stack.client("approve", "waits", "--by", "ops-1")
    await completes(stack, token, "waits")
    await completes(stack, token, "shipping")


def test_up_fails_while_workers_crash(stack: Stack) -> None:
    bad = {"RESEND_API_KEY": "not-a-key"}
    done = stack.compose(
        *("up", "--detach", "--no-deps", "--wait", "--wait-timeout", "20", "worker"),
        check=False,
        settings=bad,
    )
    assert done.returncode != 0
    assert stack.healthy("worker") == 0
    stack.up("--no-deps", "worker")
    assert stack.healthy("worker") == 2


# -- deployed upon ---------------------------------------------------------------------------------

BROKEN_MIGRATION = f"""
from alembic import op

revision = "9999"
down_revision = "{_known()[0]}"


def upgrade() -> None:
    op.execute("CREATE TABLE half_done (id int)")
    raise RuntimeError("this migration is broken")
"""
MIGRATION = BROKEN_MIGRATION.replace("    raise RuntimeError", "    # raise RuntimeError")
VERSIONS = "durable_orders/store/migrations/versions"


def state_of(stack: Stack) -> list[object]:
    """What a deploy that changes nothing leaves alone."""
    containers = [stack.containers(name) for name in LASTING]
    revision = stack.sql("SELECT version_num FROM alembic_version")
    tables = stack.sql("SELECT count(*) FROM pg_tables")
    return [containers, stack.image_id(), revision, tables]


def test_a_broken_migration_changes_nothing(stack: Stack) -> None:
    before = state_of(stack)
    with (
        stack.changed(f"{VERSIONS}/9999_broken.py", BROKEN_MIGRATION),
        Watch(stack) as watch,
    ):
        done = stack.run("deploy/rolling-update", check=False)
    assert done.returncode == 1
    assert "the migration failed and has changed nothing" in done.stderr
    assert state_of(stack) == before
    assert watch.away.failed == 0
    assert watch.fewest_workers == 2


def test_a_version_whose_workers_do_not_start_replaces_none(stack: Stack) -> None:
    before = state_of(stack)
    with stack.changed("worker.py", "raise SystemExit('this version is broken')\n"):
        done = stack.run("deploy/rolling-update", check=False)
    assert done.returncode == 1
    assert "0 of 2 worker containers were replaced" in done.stderr
    assert "this version is broken" in done.stderr
    assert state_of(stack) == before


def test_a_version_whose_api_does_not_start_replaces_nothing(stack: Stack) -> None:
    before = state_of(stack)
    with (
        stack.changed("api.py", "raise SystemExit('this API is broken')\n"),
        Watch(stack) as watch,
    ):
        done = stack.run("deploy/rolling-update", check=False)
    assert done.returncode == 1
    assert "this API is broken" in done.stderr
    assert "no container was replaced" in done.stderr
    assert state_of(stack) == before
    assert watch.away.failed == 0


async def test_a_new_version_replaces_one_container_after_the_other(
    stack: Stack, token: str, faults: BlockingFaultClient
) -> None:
    """With a second port for the API, it is never away; orders go on meanwhile."""
    before = state_of(stack)
    slow = faults.inject("stripe.payment_intents.confirm", "delay", order_id="meanwhile", seconds=5)
    check_out(stack, token, "meanwhile")
    faults.wait_for_hits(slow)
    with (
        stack.changed(f"{VERSIONS}/9999_new.py", MIGRATION),
        Watch(stack) as watch,
    ):
        said = stack.run("deploy/rolling-update").stdout
        assert stack.sql("SELECT version_num FROM alembic_version") == "9999"
    assert "worker: 2 of 2 replaced" in said
    assert "api: 1 of 1 replaced" in said
    after = state_of(stack)
    assert set(after[0][0]).isdisjoint(before[0][0])  # type: ignore[index]
    assert after[1] != before[1]
    assert watch.fewest_workers >= 2
    print(f"the API was away: {watch.away}")  # noqa: T201 - a figure for the documentation
    assert watch.away.failed == 0
    await completes(stack, token, "meanwhile")


async def test_with_one_port_the_api_is_replaced_at_once(stack: Stack, token: str) -> None:
    stack.settings["API_PORT"] = str(stack.first_port)
    stack.up("--no-deps", "--scale", "worker=1", "api", "worker")
    with stack.changed("api.py", (stack.checkout / "api.py").read_text() + "# newer\n"):
        before = stack.containers("api")
        with Watch(stack) as watch:
            stack.run("deploy/rolling-update")
    assert stack.containers("api") != before
    print(f"the API was away: {watch.away}")  # noqa: T201 - a figure for the documentation
    check_out(stack, token, "replaced")
    await completes(stack, token, "replaced")


# -- put back --------------------------------------------------------------------------------------


def test_a_file_that_is_no_backup_changes_nothing(stack: Stack, tmp_path: Path) -> None:
    before = state_of(stack)
    broken = tmp_path / "broken.tar.gz"
    broken.write_bytes(b"not an archive")
    done = stack.run("deploy/restore", str(broken), check=False)
    assert done.returncode == 1
    assert "nothing was changed" in done.stderr
    assert state_of(stack) == before


async def test_a_backup_puts_the_databases_back_and_the_audit_finds_what_came_later(
    stack: Stack, token: str, tmp_path: Path
) -> None:
    backup = tmp_path / "backup.tar.gz"
    stack.run("deploy/backup", str(backup))
    assert stat.S_IMODE(backup.stat().st_mode) == 0o600
    check_out(stack, token, "later")
    await completes(stack, token, "later")

    stack.run("deploy/restore", str(backup))

    assert stack.containers("worker") == stack.containers("api") == []
    checked = stack.compose(
        *("run", "--rm", "--no-deps", "-T", "worker"), "python", "client.py", "store", "check"
    ).stdout
    assert "adds up" in checked
    stack.up()
    assert status_of(stack, token, "first") == "completed"
    with stack.http(token) as api:
        assert api.get("/orders/later").status_code == 404
    stack.client("reconcile", "--grace", "0")
    found = stack.client("findings")
    assert "later" in found
    assert "paid_without_order" in found
    check_out(stack, token, "after")
    await completes(stack, token, "after")
