"""The keys of the HTTP API from the command line, on a real database."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta

import pytest

from durable_orders.domain.operators.api_keys import ApiKey, Scope, Token
from durable_orders.domain.operators.sessions import Session, SessionToken
from durable_orders.process import PROGRAM
from durable_orders.store.api_keys import PostgresApiKeyRepository
from durable_orders.store.database import Database
from durable_orders.store.sessions import PostgresSessionRepository
from sandbox.ports import free_port
from tests.cli.shell import Run, read, refused


async def test_a_key_is_made_shown_once_and_works(run: Run, database: Database) -> None:
    made = await run("keys", "create", "checkout", "--scope", "shop")

    assert made.exit_code == 0, made.output
    assert "may do what shop may" in made.stdout
    [line] = [line for line in made.stdout.splitlines() if line.startswith("do_")]
    token = Token.read(line)
    assert token
    key = await PostgresApiKeyRepository(database).find(token.key_id)
    assert key
    assert (key.name, key.scope, key.fits(token)) == ("checkout", Scope.SHOP, True)
    assert token.secret not in (await run("keys", "list", "--all", "--json")).stdout


async def test_two_keys_differ(run: Run) -> None:
    tokens = [
        Token.read(read(await run("keys", "create", name, "--scope", "read", "--json"))["token"])
        for name in ("one", "two")
    ]
    assert None not in tokens
    assert tokens[0] != tokens[1]


async def test_a_revoked_key_is_gone_and_its_name_is_free(run: Run, database: Database) -> None:
    first = read(await run("keys", "create", "till", "--scope", "operator", "--json"))
    refused(await run("keys", "create", "till", "--scope", "read"), "revoke it first", 1)

    said = await run("keys", "revoke", "till")
    assert said.stdout == ("Key till is revoked: within a few seconds every process refuses it.\n")
    assert await PostgresApiKeyRepository(database).find(first["id"]) is None
    second = read(await run("keys", "create", "till", "--scope", "read", "--json"))

    in_use = [key["id"] for key in read(await run("keys", "list", "--json"))]
    ever = [key["id"] for key in read(await run("keys", "list", "--all", "--json"))]
    assert (first["id"] in in_use, second["id"] in in_use) == (False, True)
    assert {first["id"], second["id"]} <= set(ever)
    told = (await run("keys", "list", "--all")).stdout
    assert "till: operator, made" in told
    assert ", never used, revoked" in told
    assert read(await run("keys", "revoke", "till", "--json"))["revoked_at"]


async def test_a_key_may_expire(run: Run, database: Database) -> None:
    made = await run("keys", "create", "temp", "--scope", "operator", "--expires-in-days", "7")
    assert re.search(r"may do what operator may until 20\d\d-", made.stdout), made.output
    [listed] = [key for key in read(await run("keys", "list", "--json")) if key["name"] == "temp"]
    left = datetime.fromisoformat(listed["expires_at"]) - datetime.now(UTC)
    assert timedelta(days=6) < left < timedelta(days=7)
    lines = (await run("keys", "list")).stdout.splitlines()
    [line] = [line for line in lines if line.startswith("temp: ")]
    assert ", expires 20" in line
    token = Token.of(b"goneby", bytes(32))
    gone = datetime.now(UTC) - timedelta(seconds=1)
    old = ApiKey(token.key_id, "old", Scope.READ, gone, token.digest, expires_at=gone)
    await PostgresApiKeyRepository(database).add(old)
    assert ", expired 20" in (await run("keys", "list")).stdout
    for days in ("0", "-1", "3651", "x"):
        wrong = await run("keys", "create", "t", "--scope", "read", "--expires-in-days", days)
        assert wrong.exit_code == 2


async def test_open_sessions_are_listed_and_ended(run: Run, database: Database) -> None:
    token, now = Token.of(b"atdesk", bytes(32)), datetime.now(UTC)
    key = ApiKey(token.key_id, "desk", Scope.OPERATOR, now, token.digest)
    await PostgresApiKeyRepository(database).add(key)
    assert (await run("sessions", "list")).stdout == "There are no open sessions.\n"
    session = Session(SessionToken(bytes(32)).digest, key, now, now)
    await PostgresSessionRepository(database).open(session)
    shown = (await run("sessions", "list")).stdout
    assert re.fullmatch(r"desk: logged in [\d :-]+ UTC, last used [\d :-]+ UTC\n", shown)
    [listed] = read(await run("sessions", "list", "--json"))
    assert listed["key"] == "desk"
    assert session.digest.hex() not in str(listed)
    ended = await run("sessions", "end", "desk")
    assert ended.stdout == "Sessions of desk that were ended: 1\n"
    assert (await run("sessions", "end", "desks")).stdout == "No session of desks is open.\n"
    assert read(await run("sessions", "end", "desk", "--json")) == {"key": "desk", "ended": 0}
    assert await PostgresSessionRepository(database).find(session.digest) is None
    refused(await run("sessions", "end", "a b"), "is not a name for a key", 2)


async def test_what_cannot_be_is_refused_in_a_sentence(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    revoked = await run("keys", "revoke", "nobody")
    refused(revoked, "No key nobody is in use. List those that are.", 1, f"{PROGRAM} keys list")
    refused(await run("keys", "create", "a b", "--scope", "read"), "is not a name for a key", 2)
    assert (await run("keys", "create", "c", "--scope", "all")).exit_code == 2
    monkeypatch.setenv("DATABASE_URL", f"postgresql://u:p@127.0.0.1:{free_port()}/orders")
    refused(await run("keys", "list"), "Is PostgreSQL running", 3)
