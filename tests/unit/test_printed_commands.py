"""Commands that we print: each is one of ours, with all that it requires, and fits a terminal."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator

import pytest
import typer
from typer.testing import CliRunner

from durable_orders.cli.app import app
from durable_orders.domain import emails
from durable_orders.domain.activity_messages import Attention, OrderSummary
from durable_orders.domain.audit.advice import acknowledge_command, advice
from durable_orders.domain.audit.messages import Finding
from durable_orders.domain.audit.model import DiscrepancyKind, Remedy
from durable_orders.domain.lifecycle import Status
from durable_orders.domain.money import Money
from durable_orders.domain.operators.commands import offered_commands
from durable_orders.domain.ports import Mail
from durable_orders.domain.refunds import emails as refund_emails
from durable_orders.domain.refunds.messages import RefundAwaitingApproval, RefundRef
from durable_orders.process import PROGRAM
from tests.unit.test_audit_rules import NOW
from workflows.operator_attention import (
    COMPENSATION_COMMANDS,
    RECORD_COMMANDS,
    STEP_COMMANDS,
    AllowedCommands,
)

ROOT = typer.main.get_group(app)
EUROS = Money(29_00, "EUR")
REFUND = RefundRef("1001", "r1")
#: The program in a checkout that `make` has set up.
USUAL_PROGRAM = ".venv/bin/python client.py"


def command_paths() -> Iterator[str]:
    """Every command, with its group's name before it."""
    for name, command in ROOT.commands.items():
        inner = getattr(command, "commands", None)
        yield from (name,) if inner is None else (f"{name} {each}" for each in inner)


def accept(arguments: str) -> None:
    """Raise an error of usage unless the command line takes the arguments."""
    words = shlex.split(arguments)
    command = ROOT.commands[words.pop(0)]
    while (inner := getattr(command, "commands", None)) is not None:
        command = inner[words.pop(0)]
    command.make_context(command.name, words)


def test_what_lacks_a_required_option_would_be_noticed() -> None:
    with pytest.raises(Exception, match="reason"):
        accept("skip-step 1001")
    with pytest.raises(Exception, match="such option"):
        accept("start 1001 --by you")


def test_there_are_commands() -> None:
    assert {"place", "skip-step", "refund retry-now", "store migrate"} < set(command_paths())


@pytest.mark.parametrize("command", list(command_paths()))
def test_every_command_has_an_example_that_it_takes_and_that_fits_a_line(command: str) -> None:
    told = CliRunner().invoke(app, [*command.split(), "--help"], env={"COLUMNS": "300"}).stdout
    [example] = re.findall(rf"^ ({re.escape(PROGRAM)} {command}\b.*?) *$", told, re.M)
    arguments = example.removeprefix(f"{PROGRAM} ")
    accept(arguments)
    assert len(f" {USUAL_PROGRAM} {arguments}") < 80


def test_the_help_groups_the_commands_and_says_what_exit_codes_mean() -> None:
    told = CliRunner().invoke(app, ["--help"]).stdout
    headings = re.findall(r"^╭─ (.+?) ─+╮$", told, re.M)
    assert headings == [
        *("Options", "Orders", "Payments", "Parcels", "Operators", "Refunds", "Audit"),
        *("API keys", "Database"),
    ]
    assert "Exit codes: 0 done" in told


@pytest.mark.parametrize("asks_given_back", [False, True])
@pytest.mark.parametrize("allowed", [STEP_COMMANDS, RECORD_COMMANDS, COMPENSATION_COMMANDS])
def test_every_offered_command_is_taken_about_an_order(
    allowed: AllowedCommands, *, asks_given_back: bool
) -> None:
    can = tuple(command.kind for command in allowed)
    attention = Attention("step", "now", "it fails", can, asks_given_back=asks_given_back)
    offered = list(offered_commands(attention, "1001"))
    assert len(offered) == len(can)
    for command in offered:
        accept(command.arguments)


@pytest.mark.parametrize("allowed", [RECORD_COMMANDS, COMPENSATION_COMMANDS])
def test_every_offered_command_is_taken_about_a_refund(allowed: AllowedCommands) -> None:
    attention = Attention("step", "now", "it fails", tuple(command.kind for command in allowed))
    for command in offered_commands(attention, REFUND):
        assert command.arguments.startswith("refund ")
        accept(command.arguments)


@pytest.mark.parametrize("kind", DiscrepancyKind)
@pytest.mark.parametrize("order_id", ["1001", "B2B_10.01-a"])
def test_every_command_advised_about_a_finding_is_taken(
    kind: DiscrepancyKind, order_id: str
) -> None:
    finding = Finding(kind, order_id, "pi_1", "so it is", Remedy.FLAG, NOW, NOW)
    for command in (*advice(finding).commands, acknowledge_command(finding)):
        accept(command)


@pytest.mark.parametrize("kind", DiscrepancyKind)
@pytest.mark.parametrize("order_id", ["1001", "it's; a trap"])
def test_whatever_a_finding_is_about_is_one_word_of_a_command(
    kind: DiscrepancyKind, order_id: str
) -> None:
    finding = Finding(kind, order_id, "pi_1", "so it is", Remedy.FLAG, NOW, NOW)
    advised = advice(finding)
    for command in (*advised.commands, acknowledge_command(finding)):
        assert order_id in shlex.split(command)
    for command in advised.temporal_commands:
        assert {f"order-{order_id}", f"payment-risk-{order_id}"} & set(shlex.split(command))


@pytest.mark.parametrize(
    "mail",
    [
        emails.approval_reminder(
            OrderSummary("1001", "customer-1", EUROS, Status.AWAITING_APPROVAL), to="a@example.com"
        ),
        refund_emails.approval_reminder(
            RefundAwaitingApproval(REFUND, EUROS), prefix="testshop", to="a@example.com"
        ),
    ],
    ids=["order", "refund"],
)
def test_every_command_in_a_reminder_is_taken(mail: Mail) -> None:
    commands = re.findall(r"^  python client\.py (.+)$", mail.text, re.M)
    assert len(commands) == 2
    for command in commands:
        accept(command)
    assert "/operator/orders/1001" in mail.text
