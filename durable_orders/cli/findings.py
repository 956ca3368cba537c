"""Findings of audits, as commands print them."""

from __future__ import annotations

from durable_orders.cli.terminal import say
from durable_orders.domain.audit.advice import Advice, acknowledge_command, advice
from durable_orders.domain.audit.messages import Finding
from durable_orders.process import PROGRAM


def show_finding(one: Finding) -> None:
    """Print a finding as lines, not as a table row: ids and commands stay whole, to be copied."""
    about = f"order {one.order_id}" + (f", {one.payment_id}" if one.payment_id else "")
    say(f"{one.kind}: {about}, since {one.first_seen:%Y-%m-%d %H:%M} UTC")
    say(f"  {one.detail}")
    if one.resolution:
        say(f"  {one.resolution}")
    if note := one.acknowledged:
        say(f"  acknowledged by {note.by} {note.at:%Y-%m-%d %H:%M} UTC: {note.note}")
    elif not one.resolution:
        advised = advice(one)
        say(f"  what to do: {advised.text}")
        for command in _commands(advised):
            say(f"    {command}")
        say("  nothing more can be done:")
        say(f"    {PROGRAM} {acknowledge_command(one)}")


def advice_as_dict(advised: Advice) -> dict[str, object]:
    """An advice as JSON."""
    return {"advice": advised.text, "commands": _commands(advised)}


def _commands(advised: Advice) -> list[str]:
    """The commands of an advice, as they are typed here."""
    from durable_orders.cli import composition  # noqa: PLC0415 - loads the SDKs, which no help needs

    return [
        *(composition.temporal_command(arguments) for arguments in advised.temporal_commands),
        *(f"{PROGRAM} {arguments}" for arguments in advised.commands),
    ]
