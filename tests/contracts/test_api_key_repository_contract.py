"""Contract of `ApiKeyRepository`: PostgreSQL and the fake."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from durable_orders.domain.operators.api_keys import (
    ApiKey,
    ApiKeyRepository,
    InvalidKeyNameError,
    KeyNameTakenError,
    Scope,
    Token,
)
from durable_orders.domain.ports import RefusedError
from durable_orders.store.api_keys import PostgresApiKeyRepository
from durable_orders.store.database import Database
from tests.fakes.keys import InMemoryKeys

NOW = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)
TOKEN = Token.of(b"book__", bytes(32))


@dataclass(frozen=True)
class Keys:
    """A key book under test, with its functions to add and revoke keys."""

    book: ApiKeyRepository
    add: Callable[[ApiKey], Awaitable[Any]]
    revoke: Callable[[ApiKey], Awaitable[Any]]


@pytest.fixture(params=["postgres", "memory"])
def keys(request: pytest.FixtureRequest) -> Keys:
    if request.param == "memory":
        memory = InMemoryKeys()
        return Keys(memory, memory.add, memory.revoke)
    database: Database = request.getfixturevalue("database")
    postgres = PostgresApiKeyRepository(database)
    return Keys(postgres, postgres.add, lambda key: postgres.revoke(key.name, NOW))


def a_key(token: Token, name: str) -> ApiKey:
    return ApiKey(token.key_id, name, Scope.SHOP, NOW, token.digest)


async def test_a_key_is_found_as_it_was_added_until_it_is_revoked(keys: Keys) -> None:
    assert await keys.book.find(TOKEN.key_id) is None
    key = a_key(TOKEN, "found")
    await keys.add(key)
    assert await keys.book.find(TOKEN.key_id) == key
    await keys.revoke(key)
    assert await keys.book.find(TOKEN.key_id) is None


async def test_when_it_expires_is_kept(keys: Keys) -> None:
    token, end = Token.of(b"brief_", bytes(32)), NOW + timedelta(days=1)
    key = replace(a_key(token, "brief"), expires_at=end)
    await keys.add(key)
    assert await keys.book.find(token.key_id) == key
    assert [key.has_expired(at) for at in (NOW, end - timedelta(seconds=1), end)] == [
        False,
        False,
        True,
    ]


async def test_its_use_is_noted_and_of_no_key_nothing_is(keys: Keys) -> None:
    token = Token.of(b"used__", bytes(32))
    await keys.add(a_key(token, "used"))
    later = NOW + timedelta(hours=1)
    await keys.book.note_use(token.key_id, later)
    await keys.book.note_use("0" * 12, later)
    found = await keys.book.find(token.key_id)
    assert found
    assert found.last_used_at == later


async def test_the_database_keeps_one_key_of_a_name_in_use(database: Database) -> None:
    postgres = PostgresApiKeyRepository(database)
    await postgres.add(a_key(Token.of(b"first_", bytes(32)), "twin"))
    with pytest.raises(KeyNameTakenError, match="there is a key twin already"):
        await postgres.add(a_key(Token.of(b"second", bytes(32)), "twin"))
    with pytest.raises(RefusedError, match="api_keys_pkey"):
        await postgres.add(a_key(Token.of(b"first_", bytes(32)), "other"))
    with pytest.raises(InvalidKeyNameError):
        await postgres.add(a_key(Token.of(b"third_", bytes(32)), "a\nb"))
