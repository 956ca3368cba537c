"""Whatever is typed after a command: it ends with one of its exit codes, and never in a traceback.

The commands and their options are those of the program. One that is added is tested without a
change here.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import pytest
import typer.main
from hypothesis import given, settings
from hypothesis import strategies as st
from typer.testing import CliRunner, Result

from durable_orders.cli import app
from durable_orders.cli.terminal import REFUSED, UNREACHABLE, USED_WRONGLY
from sandbox.ports import free_port
from tests.cli.shell import Aside, Run

Words = tuple[str, ...]
EXIT_CODES: Final = {0, REFUSED, USED_WRONGLY, UNREACHABLE}


# Typer brings a click of its own, in places that are not public.
Command = Any


def commands(group: Command, before: tuple[str, ...] = ()) -> Iterator[tuple[Words, Command]]:
    for name, command in group.commands.items():
        if hasattr(command, "commands"):
            yield from commands(command, (*before, name))
        else:
            yield (*before, name), command


COMMANDS: Final = dict(commands(typer.main.get_command(app.app)))

#: Good for one argument or another, or for none.
VALUES: Final = st.one_of(
    st.sampled_from(
        [
            *(
                "",
                " ",
                "-",
                "--",
                "---",
                "-1",
                "0",
                "1",
                "10000",
                "9" * 400,
                "1e9",
                "nan",
                "٣",
                "=",
                "%",
            ),
            *(
                "1001",
                "r1",
                "par_1",
                "du_1",
                "pm_card_visa",
                "cus_1",
                "MUG=1",
                "MUG=1=2",
                "29.00",
                "@",
            ),
            *(
                "29.00 EUR",
                "EUR 29",
                "ops",
                "shop",
                "shipped",
                "true",
                "1h",
                "a/b",
                "..",
                ".",
                "/",
                "~",
            ),
            *("\x1b[31m", "a\nb", "\udcff", "ä", "[bold]", "{order_id}", "$(id)", "'", '"', "\\"),
            *("ada@example.com", "@/dev/null", "/nowhere", "--help", "--json", "x" * 100_000),
        ]
    ),
    st.text(st.characters(exclude_characters="\0"), max_size=20),
)


def lines(command: Command) -> st.SearchStrategy[list[str]]:
    """What may be typed after a command: about as many arguments as it takes, and its options."""
    options = [
        name
        for parameter in command.params
        if parameter.param_type_name == "option"
        for name in (*parameter.opts, *parameter.secondary_opts)
    ]
    wanted = sum(parameter.param_type_name == "argument" for parameter in command.params)
    arguments = st.lists(VALUES, min_size=max(wanted - 1, 0), max_size=wanted + 1)
    given_options = st.lists(
        st.one_of(
            st.sampled_from(options).map(lambda name: [name]),
            st.tuples(st.sampled_from(options), VALUES).map(list),
            st.tuples(st.sampled_from(options), VALUES).map(lambda pair: ["=".join(pair)]),
        )
        if options
        else st.nothing(),
        max_size=4,
    )
    return st.tuples(given_options, arguments).map(
        lambda both: [*(word for words in both[0] for word in words), *both[1]]
    )


def typed(command: Command, times: int) -> list[list[str]]:
    """Made-up lines, the same ones in every run."""
    found: list[list[str]] = []

    @settings(max_examples=times, derandomize=True, database=None)
    @given(lines(command))
    def collect(line: list[str]) -> None:
        found.append(line)

    collect()
    return found


def is_told(result: Result, line: tuple[str, ...]) -> None:
    about = ([word[:60] for word in line], result.output[-600:], result.exception)
    assert result.exception is None or isinstance(result.exception, SystemExit), about
    assert result.exit_code in EXIT_CODES, about
    assert "Traceback" not in result.output, about
    if result.exit_code != 0:
        assert result.stderr.strip(), about
        assert "\x1b[31m" not in result.stderr, about


@pytest.fixture
def alone(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A directory with nothing in it, and settings that name nobody who is there."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path))
    nowhere = f"127.0.0.1:{free_port()}"
    monkeypatch.setenv("DATABASE_URL", f"postgresql://orders:hunter2@{nowhere}/orders")
    monkeypatch.setenv("TEMPORAL_ADDRESS", nowhere)


@pytest.mark.parametrize("words", COMMANDS, ids=" ".join)
@pytest.mark.usefixtures("alone")
def test_any_line_ends_with_an_exit_code(words: tuple[str, ...]) -> None:
    for line in typed(COMMANDS[words], 12):
        result = CliRunner().invoke(app.app, [*words, *line])
        is_told(result, (*words, *line))
        assert "hunter2" not in result.output


#: They wait for a worker that audits, or are about the whole database.
OTHERS: Final = {"reconcile", "schedule", "store"}


@pytest.mark.usefixtures("working")
async def test_so_does_one_about_an_order_that_is_there(run: Run, aside: Aside) -> None:
    await aside.place("1001")
    await aside.orders.result("1001")
    for words, command in COMMANDS.items():
        if OTHERS & set(words):
            continue
        for line in typed(command, 6):
            takes_id = any(parameter.name == "order_id" for parameter in command.params)
            known = ["--", "1001", *line[-1:]] if takes_id else []
            for each in (line, [*line[:-1], *known]):
                is_told(await run(*words, *each), (*words, *each))
