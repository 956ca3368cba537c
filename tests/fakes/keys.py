"""In-memory fake of the API keys."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime

from durable_orders.domain.operators.api_keys import ApiKey
from tests.fakes.script import Scripted


class InMemoryKeys(Scripted):
    """``KeyBook`` in memory."""

    def __init__(self, *keys: ApiKey) -> None:
        super().__init__()
        self.keys = {key.id: key for key in keys}

    async def add(self, key: ApiKey) -> None:
        self.keys[key.id] = key

    async def revoke(self, key: ApiKey) -> None:
        del self.keys[key.id]

    async def find(self, key_id: str) -> ApiKey | None:
        return await self._play("find", lambda: self.keys.get(key_id))

    async def note_use(self, key_id: str, now: datetime) -> None:
        def note() -> None:
            if key := self.keys.get(key_id):
                self.keys[key_id] = replace(key, last_used_at=now)

        await self._play("note_use", note)
