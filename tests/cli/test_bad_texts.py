"""Ids and other texts that are none, in every argument and option of the command line: one sentence
and the exit code of a wrong use, before any server is asked.

The doors are the commands' own parameters. A command that is added is tested without a change here.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, get_args, get_type_hints

import pytest
import typer
from typer.models import ArgumentInfo, OptionInfo
from typer.testing import CliRunner, Result

from durable_orders.cli import app
from durable_orders.cli.terminal import USED_WRONGLY, parse_line

BAD: Final = ["a\x00b", "a\nb", "a\n", "\x1b[31m", "\udcff", "x" * 100_000]
#: By the names of parameters. A shell hands bytes that are no UTF-8 on as "\udcff".
MORE: Final[dict[str, list[str]]] = {
    "order_id": ["", "a/b", "..", "ä", "a b"],
    "refund_id": ["", "a/b", "..", "ä", "a-b"],
    "parcel_id": ["", " ", "."],
    "dispute_id": ["", "1001", "du_", "pi_1"],
    "risk_id": ["", "1001", "du_/.."],
    "by": ["", "Ada Lovelace", "ada@example.com"],
    "payment_method": ["", "4242424242424242", "a/b"],
    "card": ["", "4242424242424242", "a/b"],
    "customer": ["", " ", " cus_1", "ada@example.com"],
    "stripe_customer": ["", " ", "customer-1", "cus_", "pm_card_visa"],
    "receipt_email": ["", "nobody", "a@b@c", "ada@localhost"],
    "name": ["", " "],
    "email": ["", "nobody", "a@b@c"],
    "address": ["", " ", "\n"],
    "note": [],
    "reason": [],
    "message": [],
    "outcome": [],
    "tracking": [],
}
GOOD: Final[dict[str, str]] = {
    **dict.fromkeys(("order_id", "refund_id", "parcel_id", "by", "note", "reason"), "r1"),
    **dict.fromkeys(("outcome", "name"), "r1"),
    **dict.fromkeys(("dispute_id", "risk_id"), "du_1"),
    "payment_method": "pm_card_visa",
    "status": "shipped",
    "scope": "shop",
}
#: Texts that are no id and no name: they have readers of their own.
OTHERS: Final = {"database_url", "amount", "given_back"}


@dataclass(frozen=True)
class Parameter:
    """A parameter of a command."""

    name: str
    is_text: bool
    is_option: bool
    is_required: bool


@dataclass(frozen=True)
class Command:
    """A command, by the words that call it."""

    words: tuple[str, ...]
    parameters: tuple[Parameter, ...]

    def arguments(self, name: str, text: str) -> list[str]:
        """Good arguments, but for this text."""
        options: list[str] = []
        arguments: list[str] = []
        for parameter in self.parameters:
            value = text if parameter.name == name else GOOD.get(parameter.name)
            if not parameter.is_option:
                assert value is not None, parameter.name
                arguments.append(value)
            elif parameter.name == name or parameter.is_required:
                options.append(f"--{parameter.name.replace('_', '-')}={value}")
        return [*self.words, *options, "--", *arguments]


def commands(group: typer.Typer, before: tuple[str, ...] = ()) -> Iterator[Command]:
    for info in group.registered_commands:
        function = info.callback
        assert function is not None
        name = info.name or function.__name__.replace("_", "-")
        yield Command((*before, name), tuple(parameters(function)))
    for part in group.registered_groups:
        assert part.typer_instance is not None
        name = part.name if isinstance(part.name, str) else ""
        yield from commands(part.typer_instance, (*before, name) if name else before)


def parameters(function: Callable[..., Any]) -> Iterator[Parameter]:
    hints = get_type_hints(function, include_extras=True)
    for name, parameter in inspect.signature(function).parameters.items():
        kind, *more = get_args(hints[name])
        [info] = [each for each in more if isinstance(each, ArgumentInfo | OptionInfo)]
        yield Parameter(
            name,
            is_text=kind in (str, str | None),
            is_option=isinstance(info, OptionInfo),
            is_required=parameter.default is inspect.Parameter.empty,
        )


COMMANDS: Final = sorted(commands(app.app), key=lambda command: command.words)
TEXTS: Final = [
    (command, parameter.name)
    for command in COMMANDS
    for parameter in command.parameters
    if parameter.is_text and parameter.name not in OTHERS
]


def run(*arguments: str) -> Result:
    return CliRunner().invoke(app.app, arguments)


@pytest.mark.parametrize(
    ("command", "name"),
    TEXTS,
    ids=[f"{' '.join(command.words)} {name}" for command, name in TEXTS],
)
def test_a_text_that_is_none_is_used_wrongly(
    command: Command, name: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)  # where there are no settings, and so no servers
    monkeypatch.delenv("DATABASE_URL", raising=False)
    # Every kind of bad text for one command of each name; for the others, which have the same
    # check, as many as show that they have it.
    is_first = command == next(each for each, other in TEXTS if other == name)
    for text in [*BAD, *MORE[name]] if is_first else [*BAD[:1], *MORE[name][:2]]:
        if name == "address" and text in {"a\nb", "a\n"}:
            continue  # an address has lines
        result = run(*command.arguments(name, text))
        assert (result.exit_code, result.stdout) == (USED_WRONGLY, ""), (text[:20], result.output)
        assert " is not a" in result.stderr
        assert result.stderr.count("\n") == 1
        assert len(result.stderr) < 600
        assert "4242" not in result.stderr


def test_every_kind_of_text_is_among_them() -> None:
    assert {name for _, name in TEXTS} == set(MORE)
    assert len(TEXTS) > 40


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("MUG=2", ("MUG", 2)),
        ("T SHIRT (L)=2", ("T SHIRT (L)", 2)),
        ("A=B/7, blau=10", ("A=B/7, blau", 10)),
        ("茶碗=1", ("茶碗", 1)),
        ("MUG= 3", ("MUG", 3)),
        ("MUG=-3", ("MUG", -3)),  # what that means, the order says
    ],
)
def test_a_line_is_a_sku_and_a_quantity(text: str, line: tuple[str, int]) -> None:
    assert parse_line(text) == line


@pytest.mark.parametrize(
    "text",
    [
        *("", "=", "=2", "MUG", "MUG=", "MUG=two", "MUG=2.5", "MUG=²", "MUG=٣", "MUG=1_0"),
        *(f"MUG={'9' * 5_000}", f"{'x' * 129}=1", " MUG=1", "A\x00=1", "A\nB=1", "\udcff=1"),
    ],
)
def test_a_line_that_is_none_is_used_wrongly(text: str) -> None:
    for command in (["place"], ["refund", "request", "1001", "r1"]):
        result = run(*command, f"--line={text}")
        assert result.exit_code == USED_WRONGLY, result.output
        assert "MUG=2 for example" in " ".join(result.stderr.split())
