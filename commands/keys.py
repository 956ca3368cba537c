"""Commands for the API keys: create, list, revoke."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from typing import Annotated, Any, TypeVar

import typer

from commands.terminal import (
    PROGRAM,
    REFUSED,
    UNREACHABLE,
    USED_WRONGLY,
    AsJson,
    print_json,
    say,
    stop,
)
from orders.keys import (
    ID_BYTES,
    SECRET_BYTES,
    ApiKey,
    InvalidKeyNameError,
    KeyNameTakenError,
    NoSuchKeyError,
    Scope,
    Token,
)
from orders.ports import ProviderError
from settings import DatabaseSettings, SettingsError
from store import database as store
from store.keys import PostgresKeys

T = TypeVar("T")

app: typer.Typer = typer.Typer(help="Keys of the HTTP API: make one, list them, revoke one.")

Name = Annotated[str, typer.Argument(help="What the key is called: who has it, the shop say.")]


@app.command(epilog="Example: python client.py keys create shop --scope shop")
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
    as_json: AsJson = False,
) -> None:
    """Create a key and print its token. The token cannot be shown again."""
    token = Token.of(secrets.token_bytes(ID_BYTES), secrets.token_bytes(SECRET_BYTES))
    key = ApiKey(token.key_id, name, scope, datetime.now(UTC), token.digest)
    _with_keys(lambda keys: keys.add(key))
    if as_json:
        print_json({**_as_dict(key), "token": str(token)})
        return
    say(f"Key {name} may do what {scope} may. Its token is shown this once, keep it safe:")
    typer.echo(str(token))
    say("Send it with every request as  Authorization: Bearer TOKEN")


@app.command("list", epilog="Example: python client.py keys list")
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
        say(f"{key.name}: {key.scope}, made {_format_time(key.created_at)}, {used}{end}")
    if not keys:
        say(f"There are no keys. Make one: {PROGRAM} keys create shop --scope shop")


@app.command(epilog="Example: python client.py keys revoke shop")
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
    }


def _format_time(at: datetime | None) -> str:
    return f"{at:%Y-%m-%d %H:%M} UTC" if at else ""


def _with_keys(work: Callable[[PostgresKeys], Awaitable[T]]) -> T:
    """Run the work, or exit with a sentence about the error."""

    async def run() -> T:
        url = DatabaseSettings.load().database_url.get_secret_value()
        database = store.connect(url, pool_size=1)
        try:
            return await work(PostgresKeys(database))
        finally:
            await database.close()

    try:
        return asyncio.run(run())
    except (SettingsError, store.InvalidDatabaseUrlError, InvalidKeyNameError) as error:
        stop(USED_WRONGLY, str(error))
    except NoSuchKeyError as error:
        stop(REFUSED, f"{error}: {PROGRAM} keys list shows those that are")
    except KeyNameTakenError as error:
        stop(REFUSED, str(error))
    except ProviderError as error:
        hint = ". Is PostgreSQL running where DATABASE_URL points?"
        stop(UNREACHABLE, " ".join(str(error).split()) + hint)
