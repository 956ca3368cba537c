"""Where the outside world keeps what it did: one SQLite file, one transaction per request.

Every effect (a charge, a parcel, a mail), the answer given for it and the idempotency key that
asked for it are committed together, before the answer is sent. A world killed at any instant and
started again on the same file has either done the whole request or none of it.
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

Doc = dict[str, Any]
"""A JSON object as a neighbour's API shows it."""

_TABLES: Final = """
CREATE TABLE IF NOT EXISTS things (
    seq      INTEGER PRIMARY KEY,
    kind     TEXT NOT NULL,
    id       TEXT NOT NULL,
    order_id TEXT,
    parent   TEXT,             -- the intent of a charge or a refund
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
class Remembered:
    """The first answer given for an idempotency key."""

    path: str
    fingerprint: str
    status: int
    body: str
    request_id: str


@dataclass(frozen=True)
class Thing:
    """One stored object with the order it belongs to."""

    kind: str
    id: str
    order_id: str | None
    body: Doc


def new_id(prefix: str, length: int = 24) -> str:
    """Make an id as Stripe's look: `pi_3Qd…`."""
    # One call for all characters: a payment makes half a dozen ids.
    return f"{prefix}_" + secrets.token_bytes(length).translate(_ID_CHARACTERS).decode()


class Ledger:
    """The world's memory. Calls are short and synchronous: a commit takes some 50 µs."""

    def __init__(self, state: Path) -> None:
        file = state if state.suffix in {".sqlite", ".db"} else state / "world.sqlite"
        file.parent.mkdir(parents=True, exist_ok=True)
        self._db = sqlite3.connect(file, isolation_level=None, check_same_thread=False)
        # NORMAL survives the death of the process, which is what is promised; FULL would add an
        # fsync per request to survive the death of the machine.
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
        """Forget everything, settings included."""
        with self.transaction():
            for table in ("things", "answers", "settings", "deliveries"):
                self._db.execute(f"DELETE FROM {table}")  # noqa: S608  a constant of this module

    # things ---------------------------------------------------------------------------------

    def add(  # a row has this many columns
        self,
        kind: str,
        body: Doc,
        *,
        order_id: str | None,
        created: int,
        parent: str | None = None,
        customer: str | None = None,
        thing_id: str | None = None,
    ) -> None:
        self._db.execute(
            "INSERT INTO things (kind, id, order_id, parent, customer, created, body)"
            " VALUES (?, ?, ?, ?, ?, ?, ?)",
            (kind, thing_id or body["id"], order_id, parent, customer, created, json.dumps(body)),
        )

    def save(self, kind: str, body: Doc, *, thing_id: str | None = None) -> None:
        """Overwrite a thing that exists."""
        self._db.execute(
            "UPDATE things SET body = ? WHERE kind = ? AND id = ?",
            (json.dumps(body), kind, thing_id or body["id"]),
        )

    def find(self, kind: str, thing_id: str) -> Doc | None:
        row = self._db.execute(
            "SELECT body FROM things WHERE kind = ? AND id = ?", (kind, thing_id)
        ).fetchone()
        return None if row is None else json.loads(row[0])

    def order_of(self, kind: str, thing_id: str) -> str | None:
        row = self._db.execute(
            "SELECT order_id FROM things WHERE kind = ? AND id = ?", (kind, thing_id)
        ).fetchone()
        return None if row is None else row[0]

    def children(self, kind: str, parent: str) -> list[Doc]:
        """The charges or refunds of an intent, oldest first."""
        rows = self._db.execute(
            "SELECT body FROM things WHERE kind = ? AND parent = ? ORDER BY seq", (kind, parent)
        )
        return [json.loads(row[0]) for row in rows]

    def things(self, kinds: tuple[str, ...], order_id: str | None = None) -> list[Thing]:
        """Everything of these kinds, oldest first; of one order when it is named."""
        marks = ", ".join("?" * len(kinds))
        query = f"SELECT kind, id, order_id, body FROM things WHERE kind IN ({marks})"  # noqa: S608
        values: tuple[str, ...] = kinds
        if order_id is not None:
            query, values = f"{query} AND order_id = ?", (*kinds, order_id)
        rows = self._db.execute(f"{query} ORDER BY seq", values)
        return [Thing(row[0], row[1], row[2], json.loads(row[3])) for row in rows]

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
    ) -> list[Doc]:
        """Newest first, as Stripe lists; one more than `limit`, so that a next page shows."""
        where, values = ["kind = ?"], [kind]
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

    # answers --------------------------------------------------------------------------------

    def remembered(self, scope: str, key: str, not_before: float) -> Remembered | None:
        row = self._db.execute(
            "SELECT path, fingerprint, status, body, request_id FROM answers"
            " WHERE scope = ? AND key = ? AND created >= ?",
            (scope, key, not_before),
        ).fetchone()
        return None if row is None else Remembered(*row)

    def remember(self, scope: str, key: str, answer: Remembered, now: float) -> None:
        self._db.execute(
            "INSERT OR REPLACE INTO answers VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
            (
                scope, key, answer.path, answer.fingerprint,
                answer.status, answer.body, answer.request_id, now,
            ),
        )  # fmt: skip

    # settings and deliveries ------------------------------------------------------------------

    def setting(self, name: str) -> Doc:
        row = self._db.execute("SELECT body FROM settings WHERE name = ?", (name,)).fetchone()
        return {} if row is None else json.loads(row[0])

    def set(self, name: str, body: Doc) -> None:
        self._db.execute("INSERT OR REPLACE INTO settings VALUES (?, ?)", (name, json.dumps(body)))

    def is_told(self, who: str) -> bool:
        """Whether anybody wants to hear what this neighbour tells."""
        return bool(self.setting("webhooks").get(who))

    def post(self, to_whom: str, body: Doc, now: float) -> None:
        """Put a webhook in the outbox, in the transaction of what it tells of."""
        self._db.execute(
            "INSERT INTO deliveries (to_whom, body, due) VALUES (?, ?, ?)",
            (to_whom, json.dumps(body), now),
        )

    def outbox(self, limit: int = 50) -> list[tuple[int, str, str, int, float]]:
        """What is still to be delivered, soonest first: (seq, to whom, body, attempts, due)."""
        return self._db.execute(
            "SELECT seq, to_whom, body, attempts, due FROM deliveries ORDER BY due, seq LIMIT ?",
            (limit,),
        ).fetchall()

    def delivered(self, seq: int) -> None:
        self._db.execute("DELETE FROM deliveries WHERE seq = ?", (seq,))

    def postpone(self, seq: int, due: float) -> None:
        self._db.execute(
            "UPDATE deliveries SET attempts = attempts + 1, due = ? WHERE seq = ?", (due, seq)
        )
