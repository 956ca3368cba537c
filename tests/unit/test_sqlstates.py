"""The table of SQLSTATEs, against the list that PostgreSQL is built from."""

from __future__ import annotations

from collections import Counter

import pytest

from durable_orders.store import sqlstates
from durable_orders.store.sqlstates import SORTED, Meaning, meaning_of
from sandbox.postgres import postgres_programs

_ERRCODES = postgres_programs().parent / "share" / "postgresql" / "errcodes.txt"

#: Every code, once: some have a second name.
CODES = sorted(
    {
        line.split()[0]
        for line in _ERRCODES.read_text().splitlines()
        if line and not line.startswith(("#", "Section:"))
    }
)
MIXED = {name[:2] for name in SORTED if len(name) == 5}


def test_the_list_is_postgresqls() -> None:
    assert len(CODES) > 250
    assert {"08006", "25006", "42P05", "53300", "57P01", "XX002"} <= set(CODES)


@pytest.mark.parametrize("code", CODES)
def test_every_code_is_sorted_on_purpose(code: str) -> None:
    assert (code in SORTED) != (code[:2] in SORTED), (
        f"{code} needs a line of its own, since others of its class mean something else"
        if code[:2] in MIXED
        else f"the class of {code} is not in the table"
    )


def test_no_code_is_sorted_twice_and_none_is_unknown_to_postgresql() -> None:
    tables = (sqlstates._CLASSES, sqlstates._CODES)
    names = [name for table in tables for names in table.values() for name in names.split()]
    assert [name for name, times in Counter(names).items() if times > 1] == []
    assert set(names) <= set(CODES) | {code[:2] for code in CODES}


@pytest.mark.parametrize(
    ("code", "meaning"),
    [
        ("08006", Meaning.NEW_CONNECTION),
        ("25006", Meaning.NEW_CONNECTION),  # the primary has become a standby
        ("25001", Meaning.OUR_BUG),
        ("26000", Meaning.NEW_CONNECTION),  # the pooler gave us another backend
        ("42P05", Meaning.NEW_CONNECTION),
        ("42601", Meaning.OUR_BUG),
        ("42501", Meaning.OPERATOR),
        ("42P01", Meaning.MIGRATE),
        ("42883", Meaning.MIGRATE),
        ("40001", Meaning.TRY_AGAIN),
        ("40P01", Meaning.TRY_AGAIN),
        ("53100", Meaning.TRY_AGAIN),
        ("53300", Meaning.TRY_AGAIN),
        ("55P03", Meaning.TRY_AGAIN),
        ("57014", Meaning.TRY_AGAIN),
        ("57P01", Meaning.NEW_CONNECTION),
        ("57P03", Meaning.NEW_CONNECTION),
        ("22021", Meaning.CALLERS_MISTAKE),
        ("23505", Meaning.OUR_BUG),
        ("P0001", Meaning.OUR_BUG),
        ("28P01", Meaning.OPERATOR),
        ("", Meaning.TRY_AGAIN),  # no answer at all
        ("ZZ999", Meaning.TRY_AGAIN),  # an extension's own
    ],
)
def test_what_orders_meet_in_production(code: str, meaning: Meaning) -> None:
    assert meaning_of(code) is meaning
