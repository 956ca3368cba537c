"""What the command line prints as a hint, pasted into a shell as it stands."""

from __future__ import annotations

import os
import shutil
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from durable_orders.cli.terminal import REFUSED
from durable_orders.domain.audit.model import Discrepancy, DiscrepancyKind
from durable_orders.domain.ids import workflow_id
from durable_orders.domain.lifecycle import Status
from durable_orders.domain.ports import NoAnswerError, RefusedError
from durable_orders.domain.refunds.refund import RefundState
from durable_orders.store.audit_findings import PostgresFindingRepository
from durable_orders.store.database import Database
from tests.cli.shell import Aside
from tests.cli.terminal import CHECKOUT, PYTHON, hint, ok, typed
from tests.fakes.cards import InMemoryCards
from tests.fakes.warehouse import InMemoryWarehouse
from tests.support.eventually import eventually
from tests.support.servers import Postgres, Temporal

pytestmark = pytest.mark.usefixtures("run")


# -- however it was started ------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("program", "directory", "shown"),
    [
        (f"{os.path.relpath(PYTHON, CHECKOUT)} client.py", CHECKOUT, None),
        (f"{PYTHON} {CHECKOUT}/client.py", CHECKOUT, "client.py"),
        (f"{os.path.relpath(PYTHON, CHECKOUT / 'docs')} ../client.py", CHECKOUT / "docs", None),
        (f"{PYTHON} {CHECKOUT}/client.py", None, None),
    ],
    ids=["in the checkout", "by whole paths", "in a folder of it", "elsewhere"],
)
async def test_a_hint_calls_the_program_as_it_was_called(
    program: str,
    directory: Path | None,
    shown: str | None,
    tmp_path: Path,
    request: pytest.FixtureRequest,
) -> None:
    directory = directory or tmp_path
    order_id = "hint-" + request.node.callspec.id.replace(" ", "-")

    start = hint(await ok(f"{program} place --no-start --order-id {order_id}", directory), "start")

    assert start.endswith(f"{shown or program} start {order_id}")
    watch = hint(await ok(start, directory), "watch")
    assert watch.endswith(f"{shown or program} watch {order_id}")


async def test_an_interpreter_on_path_is_called_by_its_name() -> None:
    place = "python client.py place --no-start --order-id hint-10"
    start = hint(await ok(place, path=PYTHON.parent), "start")
    assert start == "python client.py start hint-10"
    await ok(start, path=PYTHON.parent)


async def test_the_console_script_is_called_by_its_name_if_that_is_on_path(
    installed: Path, tmp_path: Path
) -> None:
    place = "place --no-start --order-id"

    by_name = await ok(f"durable-orders {place} hint-11", tmp_path, path=installed)
    by_path = await ok(f"'with a space/durable-orders' {place} hint-12", tmp_path)

    assert hint(by_name, "start") == "durable-orders start hint-11"
    assert hint(by_path, "start") == "'with a space/durable-orders' start hint-12"
    await ok(hint(by_name, "start"), tmp_path, path=installed)
    await ok(hint(by_path, "start"), tmp_path)


async def test_another_program_calls_the_command_line_beside_it() -> None:
    python = PYTHON.relative_to(CHECKOUT)
    printed = await ok(f"{python} -c 'from durable_orders.process import PROGRAM; print(PROGRAM)'")
    assert printed == f"{python} client.py\n"


async def test_an_application_with_the_package_installed_names_the_console_script(
    tmp_path: Path,
) -> None:
    shutil.copytree(CHECKOUT / "durable_orders", tmp_path / "durable_orders")
    (tmp_path / "client.py").write_text("# of the application\n")
    (tmp_path / "shop.py").write_text("from durable_orders.process import PROGRAM\nprint(PROGRAM)")
    assert await ok(f"{PYTHON} shop.py", tmp_path) == "durable-orders\n"


# -- whatever it is about --------------------------------------------------------------------------


async def test_an_order_that_was_not_started(ours: str) -> None:
    await ok(f"{ours} place --no-start --order-id hint-20")
    refused = await typed(f"{ours} result hint-20")
    assert "is started" in await ok(hint(refused.stderr, "start hint-20"))


async def test_an_order_whose_run_was_terminated(
    ours: str, aside: Aside, temporal_server: Temporal
) -> None:
    await aside.place("hint-21")
    temporal = await temporal_server.connect()
    await temporal.get_workflow_handle(workflow_id("hint-21")).terminate()
    refused = await typed(f"{ours} start hint-21")

    await ok(hint(refused.stderr, "temporal workflow reset"))

    assert "was started before" in await ok(f"{ours} start hint-21")


async def test_temporals_address_is_named_where_only_env_has_it(
    aside: Aside, temporal_server: Temporal, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    await aside.place("hint-22")
    temporal = await temporal_server.connect()
    await temporal.get_workflow_handle(workflow_id("hint-22")).terminate()
    for name in temporal_server.settings:
        monkeypatch.delenv(name)
    settings = "".join(f"{name}={value}\n" for name, value in temporal_server.settings.items())
    (tmp_path / ".env").write_text(settings)
    program = f"{PYTHON} {CHECKOUT}/client.py"
    refused = await typed(f"{program} start hint-22", tmp_path)

    await ok(hint(refused.stderr, "temporal workflow reset"), tmp_path)

    assert "was started before" in await ok(f"{program} start hint-22", tmp_path)


@pytest.mark.usefixtures("working")
@pytest.mark.parametrize(
    ("command", "ends_as"),
    [("retry-now", Status.COMPLETED), ("skip-step", Status.REFUNDED)],
)
async def test_a_step_that_keeps_failing(
    ours: str, aside: Aside, warehouse: InMemoryWarehouse, command: str, ends_as: Status
) -> None:
    order_id = f"hint-{command}"
    silence = NoAnswerError("nobody answers", retry_after=timedelta(milliseconds=10))
    warehouse.fail_next("fulfill", silence, times=6)
    warehouse.fail_until_healed("fulfill", NoAnswerError("nobody answers"))
    await aside.place(order_id)

    async def flagged() -> bool:
        return bool((await aside.orders.status(order_id)).attention)

    await eventually(flagged)
    printed = await ok(f"{ours} status {order_id}")
    await ok(hint(printed, f"{command} {order_id}"))
    warehouse.heal("fulfill")

    assert (await aside.orders.result(order_id)).status is ends_as


@pytest.mark.usefixtures("working")
async def test_an_undo_done_by_hand(
    ours: str, aside: Aside, warehouse: InMemoryWarehouse, cards: InMemoryCards
) -> None:
    cards.fail_until_healed("refund", RefusedError("the account is closed"))
    warehouse.refuse("hint-30", "the roof leaks")
    await aside.place("hint-30")

    async def listed() -> bool:
        return "resolve hint-30" in await ok(f"{ours} attention")

    await eventually(listed, within=20)
    await ok(hint(await ok(f"{ours} attention"), "resolve hint-30"))

    assert (await aside.orders.result("hint-30")).status is Status.REFUNDED
    cards.heal("refund")


@pytest.mark.usefixtures("working")
async def test_a_refund_paid_another_way(ours: str, aside: Aside, cards: InMemoryCards) -> None:
    await aside.place("hint-31")
    assert (await aside.orders.result("hint-31")).status is Status.COMPLETED
    cards.fail_until_healed("refund", RefusedError("the charge is disputed"))
    asked = await ok(f"{ours} refund request hint-31 r1 --line MUG=1")

    async def stuck() -> bool:
        return bool((await aside.refunds.status("hint-31", "r1")).attention)

    await eventually(stuck)
    assert "Refund r1" in asked
    printed = await ok(f"{ours} refund status hint-31 r1")
    said = await ok(hint(printed, "refund resolve hint-31 r1"))
    cards.heal("refund")

    async def settled() -> bool:
        return "settled" in await ok(hint(said, "refund status hint-31 r1"))

    await eventually(settled, within=20)
    assert (await aside.refunds.status("hint-31", "r1")).state is RefundState.SETTLED


async def test_what_an_audit_found(
    ours: str, aside: Aside, database: Database, temporal_server: Temporal
) -> None:
    await ok(f"{ours} place --no-start --order-id hint-32")
    await aside.place("hint-33")
    temporal = await temporal_server.connect()
    await temporal.get_workflow_handle(workflow_id("hint-33")).terminate()
    book, now = PostgresFindingRepository(database), datetime.now(UTC)
    for kind, order_id in (
        (DiscrepancyKind.NEVER_STARTED, "hint-32"),
        (DiscrepancyKind.STRANDED, "hint-33"),
        (DiscrepancyKind.PAID_WITHOUT_ORDER, "hint-34"),
    ):
        await book.note(Discrepancy(kind, order_id, "so it is"), now)

    printed = await ok(f"{ours} findings")
    assert "is started" in await ok(hint(printed, "start hint-32"))
    await ok(hint(printed, "temporal workflow reset"))
    assert "was started before" in await ok(f"{ours} start hint-33")
    for order_id in ("hint-32", "hint-33", "hint-34"):
        assert "acknowledged by WHO" in await ok(hint(printed, f"acknowledge {order_id}"))
    assert "so it is" not in await ok(f"{ours} findings")


async def test_an_order_that_no_audit_found_anything_about(ours: str) -> None:
    await ok(f"{ours} place --no-start --order-id hint-35")
    refused = await typed(f"{ours} acknowledge hint-35 --by me --note seen")
    assert refused.returncode == REFUSED
    assert hint(refused.stderr, "reconcile") == f"{ours} reconcile"


async def test_a_database_that_was_not_migrated(
    ours: str, postgres: Postgres, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DATABASE_URL", await postgres.empty())
    commands = ("store seed", "keys list", "status hint-1", "findings")
    refused = [await typed(f"{ours} {command}") for command in commands]
    [migrate] = {hint(each.stderr, "store migrate") for each in refused}
    await ok(migrate)
    assert "There are no keys" in await ok(f"{ours} keys list")


async def test_make_is_named_only_where_there_is_our_makefile(
    ours: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TEMPORAL_ADDRESS", "127.0.0.1:1")
    here = await typed(f"{ours} reconcile")
    elsewhere = await typed(f"{PYTHON} {CHECKOUT}/client.py reconcile", tmp_path)

    assert "(`make sandbox` runs one here)" in here.stderr
    await ok("make --dry-run sandbox")
    assert "Start it, or set TEMPORAL_ADDRESS" in elsewhere.stderr
    monkeypatch.delenv("DATABASE_URL")
    unset = await typed(f"{PYTHON} {CHECKOUT}/client.py keys list", tmp_path)
    assert unset.stderr.endswith("Set it in the environment or in .env.\n")


async def test_a_key_that_is_not_in_use(ours: str) -> None:
    refused = await typed(f"{ours} keys revoke nobody")
    await ok(hint(refused.stderr, "keys list"))
