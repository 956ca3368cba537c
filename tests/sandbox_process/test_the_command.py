"""`python -m sandbox`, from its start to the end of its last process."""

import signal
import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path

import asyncpg  # type: ignore[import-untyped]
import httpx
import pytest

from sandbox.env_file import MARK
from sandbox.temporal_server import temporal_binary
from tests.sandbox_process.conftest import SandboxProcess, Start, sandboxes, wait_until


def temporal(sandbox: SandboxProcess, *command: str) -> str:
    return subprocess.run(
        [temporal_binary(), *command, "--address", sandbox.settings["TEMPORAL_ADDRESS"]],
        check=True,
        capture_output=True,
        text=True,
    ).stdout


async def sql(sandbox: SandboxProcess, statement: str) -> list[asyncpg.Record]:
    connection = await asyncpg.connect(sandbox.settings["DATABASE_URL"])
    try:
        return list(await connection.fetch(statement))
    finally:
        await connection.close()


@pytest.fixture(scope="class")
def running(used_state: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[SandboxProcess]:
    """Begun by a person who has a key in their environment, and a `.env` of an earlier sandbox."""
    directory = tmp_path_factory.mktemp("up")
    (directory / ".env").write_text(f"{MARK}\nTEMPORAL_ADDRESS=elsewhere:1\n")
    with sandboxes(directory, used_state) as start:
        yield start(env={"STRIPE_API_KEY": "sk_test_mine"}).wait_ready()


class TestOnceItIsUp:
    async def test_every_address_it_prints_answers(self, running: SandboxProcess) -> None:
        async with httpx.AsyncClient(follow_redirects=True) as client:
            for page in ("Temporal Web UI", "Inbox", "Books", "Dials"):
                answer = await client.get(running.address(page))
                assert answer.status_code == 200, page
        assert running.address("Temporal gRPC") == running.settings["TEMPORAL_ADDRESS"]
        assert running.address("PostgreSQL") == running.settings["DATABASE_URL"]
        assert await sql(running, "SELECT current_database()") == [("orders",)]

    def test_what_it_says_to_type_can_be_pasted(self, running: SandboxProcess) -> None:
        indented = [line for line in running.output.splitlines() if line.startswith("  ")]
        load, worker, api, place = indented
        assert worker.endswith("/worker.py")
        assert api.endswith("/api.py")
        placed = subprocess.run(
            ["bash", "-c", f"{load}\n{place}"],
            cwd=running.directory,
            check=True,
            capture_output=True,
            text=True,
        ).stdout
        assert placed.startswith("Order ")
        assert "Watch it: " in placed

    def test_temporal_knows_the_search_attributes(self, running: SandboxProcess) -> None:
        known = temporal(running, "operator", "search-attribute", "list")

        kinds = dict(line.split() for line in known.splitlines()[1:])
        assert {name: kinds[name] for name in ("OrderStatus", "CustomerId")} == {
            "OrderStatus": "Keyword",
            "CustomerId": "Keyword",
        }
        assert (kinds["OrderTotal"], kinds["NeedsAttention"]) == ("Int", "Bool")

    def test_the_settings_are_in_the_working_directory_and_the_earlier_ones_are_gone(
        self, running: SandboxProcess
    ) -> None:
        written = (running.directory / ".env").read_text()
        assert written.startswith(MARK)
        assert written == (running.state / "env").read_text()
        assert "elsewhere" not in written
        settings = running.settings
        assert settings["MAIL_FROM"] == "Durable Orders <orders@shop.example>"
        assert settings["FULFILLMENT_URL"] == settings["STRIPE_API_BASE"] + "/warehouse"

    def test_it_warns_of_variables_that_win_over_its_settings(
        self, running: SandboxProcess
    ) -> None:
        assert "STRIPE_API_KEY in your environment will win over .env" in running.output

    def test_a_second_one_on_the_same_state_is_refused_and_harms_nothing(
        self, running: SandboxProcess, sandbox: Start
    ) -> None:
        second = sandbox(state=running.state)

        assert second.ends() == 1
        assert second.output.count("\n") == 1
        assert f"A sandbox (process {running.pid}) is already running" in second.output
        assert running.running
        assert temporal(running, "operator", "cluster", "health").strip() == "SERVING"


def test_the_users_own_env_file_is_left_alone_and_a_way_around_it_is_shown(
    sandbox: Start, tmp_path: Path
) -> None:
    (tmp_path / ".env").write_text("STRIPE_API_KEY=sk_test_mine\n")

    running = sandbox().wait_ready()

    assert (tmp_path / ".env").read_text() == "STRIPE_API_KEY=sk_test_mine\n"
    assert ".env is yours and was left alone" in running.output
    shown = next(line for line in running.output.splitlines() if line.startswith("  set -a"))
    loaded = subprocess.run(
        ["sh", "-c", f'{shown}; printf "%s|%s" "$MAIL_FROM" "$TEMPORAL_ADDRESS"'],
        cwd=tmp_path,
        check=True,
        capture_output=True,
        text=True,
    ).stdout
    assert loaded == f"Durable Orders <orders@shop.example>|{running.address('Temporal gRPC')}"


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_a_request_to_stop_leaves_no_process_behind(sandbox: Start, number: signal.Signals) -> None:
    running = sandbox().wait_ready()
    assert {"temporal", "postgres"} <= {child.name() for child in running.children()}

    running.signal(number)

    assert running.ends() == 0, running.output
    assert not running.orphans()
    assert "Traceback" not in running.output


def test_ctrl_c_and_a_second_one_while_stopping_leave_no_process_behind(
    sandbox: Start,
) -> None:
    running = sandbox().wait_ready()

    running.signal(signal.SIGINT)
    wait_until(lambda: "Stopping" in running.output, "the first Ctrl-C to be noticed")
    running.signal(signal.SIGINT)

    assert running.ends() == 0, running.output
    assert not running.orphans()
    assert "Traceback" not in running.output


def test_a_stop_in_the_middle_of_the_start_leaves_no_process_behind(
    sandbox: Start, tmp_path: Path
) -> None:
    starting = sandbox(state=tmp_path / "new")
    wait_until(lambda: bool(starting.children()), "the first child")

    starting.signal(signal.SIGTERM)

    assert starting.ends() == 0, starting.output
    # The children of initdb end a moment after it.
    wait_until(lambda: not starting.orphans(), "the last process to be gone")
    assert "The sandbox is up" not in starting.output
    assert "Traceback" not in starting.output


@pytest.mark.parametrize("option", ["--temporal-port", "--ui-port", "--world-port"])
def test_a_busy_port_is_one_sentence_that_names_the_setting(sandbox: Start, option: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]

        refused = sandbox(option, str(port))
        wait_until(lambda: not refused.children() and not refused.running, "the end")

    assert refused.ends() == 1
    assert refused.output.count("\n") == 1
    assert f"Port {port}" in refused.output
    assert option in refused.output
    assert not refused.orphans()


async def test_the_state_survives_a_kill_until_it_is_reset(sandbox: Start) -> None:
    killed = sandbox().wait_ready()
    await sql(killed, "CREATE TABLE remembered AS SELECT 42 AS answer")
    start = ("workflow", "start", "--type", "Any", "--task-queue", "nobody", "-w", "remembered")
    temporal(killed, *start)

    killed.signal(signal.SIGKILL)
    killed.ends()
    restarted = sandbox().wait_ready()

    wait_until(lambda: not killed.orphans(), "the killed sandbox's processes to be gone")
    assert await sql(restarted, "SELECT answer FROM remembered") == [(42,)]
    assert "remembered" in temporal(restarted, "workflow", "describe", "-w", "remembered")

    restarted.signal(signal.SIGKILL)  # so that there are orphans to end
    restarted.ends()
    emptied = sandbox("--reset").wait_ready()

    assert await sql(emptied, "SELECT to_regclass('remembered')") == [(None,)]
    assert "remembered" not in temporal(emptied, "workflow", "list")


@pytest.mark.parametrize(
    ("name", "sentence"),
    [
        ("temporal", "The Temporal server ended by itself (signal 9)"),
        ("postgres", "PostgreSQL ended by itself (signal 9)"),
    ],
)
def test_when_a_server_dies_it_is_named_and_the_others_are_stopped(
    sandbox: Start, name: str, sentence: str
) -> None:
    running = sandbox().wait_ready()

    running.child(name).kill()

    assert running.ends() == 1
    assert sentence in running.output
    # A server that was killed before it wrote anything has an empty log.
    assert "Its last lines" in running.output or "is empty" in running.output
    assert "Traceback" not in running.output
    wait_until(lambda: not running.orphans(), "the last process to be gone")


def test_help_names_every_setting(sandbox: Start) -> None:
    asked = sandbox("--help", env={"COLUMNS": "200", "TERM": "dumb"})

    assert asked.ends() == 0
    for option in ("--state", "--temporal-port", "--ui-port", "--world-port", "--env-file"):
        assert option in asked.output
    assert "SANDBOX_UI_PORT" in asked.output
