"""Commands for the sessions of the operators' pages: list them, end those of a key."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated, TypeVar

import typer

from durable_orders.cli.terminal import AsJson, checked, example, print_json, say
from durable_orders.domain.operators.api_keys import KEY_NAME

if TYPE_CHECKING:
    from durable_orders.store.sessions import PostgresSessionRepository

T = TypeVar("T")

app: typer.Typer = typer.Typer(help="Sessions of the operators' pages: list them, end some.")


@app.command("list", epilog=example("sessions list"))
def list_(*, as_json: AsJson = False) -> None:
    """List the open sessions, oldest first, with the keys that opened them."""
    sessions = _with_sessions(lambda sessions: sessions.listed(datetime.now(UTC)))
    if as_json:
        print_json(
            [
                {"key": one.key.name, "opened_at": one.opened_at, "last_used_at": one.seen_at}
                for one in sessions
            ]
        )
        return
    for one in sessions:
        opened, used = (f"{at:%Y-%m-%d %H:%M} UTC" for at in (one.opened_at, one.seen_at))
        say(f"{one.key.name}: logged in {opened}, last used {used}")
    if not sessions:
        say("There are no open sessions.")


@app.command(epilog=example("sessions end ops-ada"))
def end(
    name: Annotated[
        str,
        typer.Argument(callback=checked(KEY_NAME), help="The name of the key that opened them."),
    ],
    *,
    as_json: AsJson = False,
) -> None:
    """End the sessions that a key has opened, at once. To keep it from others, revoke the key."""
    ended = _with_sessions(lambda sessions: sessions.end_of_key(name))
    if as_json:
        print_json({"key": name, "ended": ended})
    else:
        say(
            f"Sessions of {name} that were ended: {ended}"
            if ended
            else f"No session of {name} is open."
        )


def _with_sessions(work: Callable[[PostgresSessionRepository], Awaitable[T]]) -> T:
    from durable_orders.cli import composition  # noqa: PLC0415 - loads the SDKs, which no help needs

    return composition.run_with_sessions(work)
