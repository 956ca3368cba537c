"""The state of the stand-in: one SQLite file, one transaction per request.

Every effect (a charge, a parcel, a mail), its response and its idempotency key are committed
together, before the response is sent. After a kill at any moment and a restart on the same file,
each request has been done completely or not at all.
"""

import json
import secrets
import sqlite3
import string
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

JsonObject = dict[str, Any]
"""A JSON object of a provider's API."""

_TABLES: Final = """
CREATE TABLE IF NOT EXISTS things (
    seq      INTEGER PRIMARY KEY,
    kind     TEXT NOT NULL,
    id       TEXT NOT NULL,
    order_id TEXT,
    parent   TEXT,             -- the intent of a charge, a refund, a dispute, …
    customer TEXT,
    created  INTEGER NOT NULL,
    body     TEXT NOT NULL,
    UNIQUE (kind, id)
);
CREATE INDEX IF NOT EXISTS things_by_order ON things (order_id, seq);
CREATE INDEX IF NOT EXISTS things_by_parent ON things (kind, parent, seq);
CREATE INDEX IF NOT EXISTS things_by_customer ON things (kind, customer, seq);
CREATE TABLE IF NOT EXISTS answers (
    scope       TEXT NOT NULL,
    key         TEXT NOT NULL,
    path        TEXT NOT NULL,
    fingerprint TEXT NOT NULL,
    status      INTEGER NOT NULL,
    body        TEXT NOT NULL,
    request_id  TEXT NOT NULL,
    created     REAL NOT NULL,
    PRIMARY KEY (scope, key)
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS settings (name TEXT PRIMARY KEY, body TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS deliveries (
    seq      INTEGER PRIMARY KEY,
    to_whom  TEXT NOT NULL,
    body     TEXT NOT NULL,
    attempts INTEGER NOT NULL DEFAULT 0,
    due      REAL NOT NULL
);
"""

_ID_CHARACTERS: Final = ((string.ascii_letters + string.digits) * 5).encode()[:256]


@dataclass(frozen=True)
class StoredResponse:
    """The first response for an idempotency key."""

    path: str
    fingerprint: str
    status: int
    body: str
    request_id: str


@dataclass(frozen=True)
class StoredObject:
    """One stored object, with the id of its order."""

    kind: str
    id: str
    order_id: str | None
    body: JsonObject


def new_id(prefix: str, length: int = 24) -> str:
    """Make an id in Stripe's form: `pi_3Qd…`."""
    # One call for all characters, because a payment makes half a dozen ids.
    return f"{prefix}_" + secrets.token_bytes(length).translate(_ID_CHARACTERS).decode()


class StateStore:
    """Stores objects, responses, settings and webhooks. Synchronous: a commit takes some 50 µs."""

    def __init__(self, state: Path) -> None:
        file = state if state.suffix in {".sqlite", ".db"} else state / "world.sqlite"
        file.parent.mkdir(parents=True, exist_ok=True)
        self._db = sqlite3.connect(file, isolation_level=None, check_same_thread=False)
        # NORMAL survives a kill of the process, which is enough here. FULL would survive a power
        # failure too, with an fsync per request.
        self._db.executescript("PRAGMA journal_mode=WAL; PRAGMA synchronous=NORMAL;" + _TABLES)

    def close(self) -> None:
        self._db.close()

    @contextmanager
    def transaction(self) -> Iterator[None]:
        self._db.execute("BEGIN IMMEDIATE")
        try:
            yield
        except BaseException:
            self._db.execute("ROLLBACK")
            raise
        self._db.execute("COMMIT")

    def wipe(self) -> None:
        """Delete everything, settings included."""
        with self.transaction():
            for table in ("things", "answers", "settings", "deliveries"):
                self._db.execute(f"DELETE FROM {table}")  # noqa: S608  a constant of this module

    # objects ---------------------------------------------------------------------------------

    def add(  # a row has this many columns
        self,
        kind: str,
        body: JsonObject,
        *,
        order_id: str | None,
        created: int,
        parent: str | None = None,
        customer: str | None = None,
        object_id: str | None = None,
    ) -> None:
        self._db.execute(
            "INSERT INTO things (kind, id, order_id, parent, customer, created, body)"
            " VALUES (?, ?, ?, ?, ?, ?, ?)",
            (kind, object_id or body["id"], order_id, parent, customer, created, json.dumps(body)),
        )

    def save(self, kind: str, body: JsonObject, *, object_id: str | None = None) -> None:
        """Overwrite an existing object, and what it belongs to."""
        self._db.execute(
            "UPDATE things SET body = ?, customer = ? WHERE kind = ? AND id = ?",
            (json.dumps(body), body.get("customer"), kind, object_id or body["id"]),
        )

    def find(self, kind: str, object_id: str) -> JsonObject | None:
        row = self._db.execute(
            "SELECT body FROM things WHERE kind = ? AND id = ?", (kind, object_id)
        ).fetchone()
        return None if row is None else json.loads(row[0])

    def order_of(self, kind: str, object_id: str) -> str | None:
        row = self._db.execute(
            "SELECT order_id FROM things WHERE kind = ? AND id = ?", (kind, object_id)
        ).fetchone()
        return None if row is None else row[0]

    def children(self, kind: str, parent: str) -> list[JsonObject]:
        """The charges or refunds of an intent, oldest first."""
        rows = self._db.execute(
            "SELECT body FROM things WHERE kind = ? AND parent = ? ORDER BY seq", (kind, parent)
        )
        return [json.loads(row[0]) for row in rows]

    def objects(self, kinds: tuple[str, ...], order_id: str | None = None) -> list[StoredObject]:
        """All objects of these kinds, or those of one order, oldest first."""
        marks = ", ".join("?" * len(kinds))
        query = f"SELECT kind, id, order_id, body FROM things WHERE kind IN ({marks})"  # noqa: S608
        values: tuple[str, ...] = kinds
        if order_id is not None:
            query, values = f"{query} AND order_id = ?", (*kinds, order_id)
        rows = self._db.execute(f"{query} ORDER BY seq", values)
        return [StoredObject(row[0], row[1], row[2], json.loads(row[3])) for row in rows]

    def page(
        self,
        kind: str,
        *,
        limit: int,
        starting_after: str | None = None,
        ending_before: str | None = None,
        parent: str | None = None,
        customer: str | None = None,
        created: dict[str, int] | None = None,
        fields: dict[str, str] | None = None,
    ) -> list[JsonObject]:
        """A page, newest first as in Stripe's lists, plus one object if there is a next page.

        `fields` are values that the objects must have, by name.
        """
        where, values = ["kind = ?"], [kind]
        for name, value in (fields or {}).items():
            where.append("json_extract(body, ?) = ?")
            values += [f"$.{name}", value]
        for column, wanted in (("parent", parent), ("customer", customer)):
            if wanted is not None:
                where.append(f"{column} = ?")
                values.append(wanted)
        signs = {"gt": ">", "gte": ">=", "lt": "<", "lte": "<=", "is": "="}
        for name, moment in (created or {}).items():
            where.append(f"created {signs[name]} CAST(? AS INTEGER)")
            values.append(str(moment))
        cursor = "(SELECT seq FROM things WHERE kind = ? AND id = ?)"
        if starting_after is not None:
            where.append(f"seq < {cursor}")
            values += [kind, starting_after]
        if ending_before is not None:
            where.append(f"seq > {cursor}")
            values += [kind, ending_before]
        direction = "ASC" if ending_before is not None else "DESC"
        rows = self._db.execute(
            f"SELECT body FROM things WHERE {' AND '.join(where)}"  # noqa: S608  constants above
            f" ORDER BY seq {direction} LIMIT {limit + 1}",
            values,
        )
        return [json.loads(row[0]) for row in rows]

    # responses --------------------------------------------------------------------------------

    def stored_response(self, scope: str, key: str, not_before: float) -> StoredResponse | None:
        row = self._db.execute(
            "SELECT path, fingerprint, status, body, request_id FROM answers"
            " WHERE scope = ? AND key = ? AND created >= ?",
            (scope, key, not_before),
        ).fetchone()
        return None if row is None else StoredResponse(*row)

    def store_response(self, scope: str, key: str, response: StoredResponse, now: float) -> None:
        self._db.execute(
            "INSERT OR REPLACE INTO answers VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
            (
                scope, key, response.path, response.fingerprint,
                response.status, response.body, response.request_id, now,
            ),
        )  # fmt: skip

    # settings and deliveries ------------------------------------------------------------------

    def setting(self, name: str) -> JsonObject:
        row = self._db.execute("SELECT body FROM settings WHERE name = ?", (name,)).fetchone()
        return {} if row is None else json.loads(row[0])

    def set(self, name: str, body: JsonObject) -> None:
        self._db.execute("INSERT OR REPLACE INTO settings VALUES (?, ?)", (name, json.dumps(body)))

    def has_webhook(self, provider: str) -> bool:
        """Whether this provider's webhook endpoint is set."""
        return bool(self.setting("webhooks").get(provider))

    def enqueue_webhook(self, provider: str, body: JsonObject, now: float) -> None:
        """Put a webhook into the outbox, in the transaction of its event."""
        self._db.execute(
            "INSERT INTO deliveries (to_whom, body, due) VALUES (?, ?, ?)",
            (provider, json.dumps(body), now),
        )

    def outbox(self, limit: int = 200) -> list[tuple[int, str, str, int, float]]:
        """Webhooks still to be delivered, soonest first: (seq, provider, body, attempts, due)."""
        return self._db.execute(
            "SELECT seq, to_whom, body, attempts, due FROM deliveries ORDER BY due, seq LIMIT ?",
            (limit,),
        ).fetchall()

    def remove_delivery(self, seq: int) -> None:
        self._db.execute("DELETE FROM deliveries WHERE seq = ?", (seq,))

    def reschedule(self, seq: int, due: float) -> None:
        self._db.execute(
            "UPDATE deliveries SET attempts = attempts + 1, due = ? WHERE seq = ?", (due, seq)
        )
