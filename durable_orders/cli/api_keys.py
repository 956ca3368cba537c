"""Commands for the API keys: create, list, revoke."""

from __future__ import annotations

import secrets
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Annotated, Any, TypeVar

import typer

from durable_orders.cli.terminal import AsJson, checked, example, print_json, say
from durable_orders.domain.operators.api_keys import (
    ID_BYTES,
    KEY_NAME,
    SECRET_BYTES,
    ApiKey,
    Scope,
    Token,
)
from durable_orders.process import PROGRAM

if TYPE_CHECKING:
    from durable_orders.store.api_keys import PostgresApiKeyRepository

T = TypeVar("T")

app: typer.Typer = typer.Typer(help="Keys of the HTTP API: make one, list them, revoke one.")

Name = Annotated[
    str,
    typer.Argument(
        callback=checked(KEY_NAME),
        help="The key's name: an account or a role, or the program that has it.",
    ),
]


@app.command(epilog=example("keys create shop --scope shop"))
def create(
    name: Name,
    *,
    scope: Annotated[
        Scope,
        typer.Option(
            help="read looks; shop also places, checks out and cancels; operator also decides and "
            "gives money back."
        ),
    ],
    expires_in_days: Annotated[
        int | None,
        typer.Option(
            min=1,
            max=3_650,
            help="Days until it expires. Left out: it is valid until it is revoked.",
        ),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Create a key and print its token. The token cannot be shown again."""
    token = Token.of(secrets.token_bytes(ID_BYTES), secrets.token_bytes(SECRET_BYTES))
    now = datetime.now(UTC)
    end = None if expires_in_days is None else now + timedelta(days=expires_in_days)
    key = ApiKey(token.key_id, name, scope, now, token.digest, expires_at=end)
    _with_keys(lambda keys: keys.add(key))
    if as_json:
        print_json({**_as_dict(key), "token": str(token)})
        return
    until = f" until {_format_time(end)}" if end else ""
    say(f"Key {name} may do what {scope} may{until}. Its token is shown this once, keep it safe:")
    typer.echo(str(token))
    say("Send it with every request as  Authorization: Bearer TOKEN")


@app.command("list", epilog=example("keys list"))
def list_(
    *,
    revoked: Annotated[bool, typer.Option("--all", help="Also those that were revoked.")] = False,
    as_json: AsJson = False,
) -> None:
    """List the keys in use, oldest first, without tokens: those are not stored."""
    keys = _with_keys(lambda keys: keys.listed(revoked=revoked))
    if as_json:
        print_json([_as_dict(key) for key in keys])
        return
    for key in keys:
        used = f"last used {_format_time(key.last_used_at)}" if key.last_used_at else "never used"
        end = f", revoked {_format_time(key.revoked_at)}" if key.revoked_at else ""
        if key.expires_at is not None:
            has_expired = key.has_expired(datetime.now(UTC))
            end += f", {'expired' if has_expired else 'expires'} {_format_time(key.expires_at)}"
        say(f"{key.name}: {key.scope}, made {_format_time(key.created_at)}, {used}{end}")
    if not keys:
        say(f"There are no keys. Make one: {PROGRAM} keys create shop --scope shop")


@app.command(epilog=example("keys revoke shop"))
def revoke(name: Name, *, as_json: AsJson = False) -> None:
    """Revoke a key. Its name can then be used for a new one."""
    key = _with_keys(lambda keys: keys.revoke(name, datetime.now(UTC)))
    if as_json:
        print_json(_as_dict(key))
    else:
        say(f"Key {name} is revoked: within a few seconds every process refuses it.")


def _as_dict(key: ApiKey) -> dict[str, Any]:
    return {
        "id": key.id,
        "name": key.name,
        "scope": key.scope,
        "created_at": key.created_at,
        "last_used_at": key.last_used_at,
        "revoked_at": key.revoked_at,
        "expires_at": key.expires_at,
    }


def _format_time(at: datetime | None) -> str:
    return f"{at:%Y-%m-%d %H:%M} UTC" if at else ""


def _with_keys(work: Callable[[PostgresApiKeyRepository], Awaitable[T]]) -> T:
    from durable_orders.cli import composition  # noqa: PLC0415 - loads the SDKs, which no help needs

    return composition.run_with_keys(work)
