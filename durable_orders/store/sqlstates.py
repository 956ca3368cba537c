"""What each SQLSTATE means for the caller of a statement.

Source: appendix A of PostgreSQL's manual, "PostgreSQL Error Codes",
https://www.postgresql.org/docs/18/errcodes-appendix.html. A test walks the list that the server
itself is built from, so that a code of a later version is sorted before it is used.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Final


class Meaning(StrEnum):
    """What to do about an error of PostgreSQL."""

    #: It passes: the same statement may succeed on the same connection.
    TRY_AGAIN = "try again"
    #: The connection is of no use any more; the same statement may succeed on another one.
    NEW_CONNECTION = "throw the connection away"
    #: It lasts until an operator has changed the server, its access or ``DATABASE_URL``.
    OPERATOR = "try again once an operator has acted"
    #: It lasts until this version's migrations are applied.
    MIGRATE = "try again once the database is migrated"
    #: The statement is wrong, or breaks a rule of the tables that our code has to keep.
    OUR_BUG = "our bug"
    #: A value that somebody brought cannot be stored.
    CALLERS_MISTAKE = "the caller's mistake"


# Classes, all codes of which mean the same.
_CLASSES: Final[dict[Meaning, str]] = {
    Meaning.TRY_AGAIN: """
        53 58
        F0 HV
    """,  # resources, the system (a disk), the server's start, a server behind the server
    Meaning.NEW_CONNECTION: "08 26",  # 26: a prepared statement that another backend has
    Meaning.OPERATOR: "0P 28 3D 3F",  # role, password, database, schema
    Meaning.OUR_BUG: """
        00 01 02 03 09 0A 0B 0F 0L 0Z 10 20 21 23 24 27 2B 2D 2F 34 38 39 3B 44 54 P0
    """,
}

# The other classes, code by code.
_CODES: Final[dict[Meaning, str]] = {
    Meaning.TRY_AGAIN: """
        40000 40001 40003 40P01
        55000 55006 55P03
        57000 57014
    """,  # conflicts of transactions, recovery and locks, a cancelled statement
    Meaning.NEW_CONNECTION: """
        25006 25P02 25P03 25P04
        42P05
        57P01 57P02 57P03 57P04 57P05
        XX000
    """,  # a server that takes no writes, a transaction that was ended, a shutdown
    Meaning.OPERATOR: "42501 XX001 XX002",  # a right is missing, the files are damaged
    Meaning.MIGRATE: "42P01 42703 42883",  # a table, a column, a function
    Meaning.CALLERS_MISTAKE: """
        22000 22001 22003 22007 22008 22021 22P02 22P05
    """,  # too long, too large, no such time, a character; 22000: asyncpg cannot send it
    Meaning.OUR_BUG: """
        22002 22004 22005 22009 2200B 2200C 2200D 2200F 2200G 2200H 2200L 2200M 2200N 2200S
        2200T 22010 22011 22012 22013 22014 22015 22016 22018 22019 2201B 2201E 2201F 2201G 2201W
        2201X 22022 22023 22024 22025 22026 22027 2202E 2202G 2202H 22030 22031 22032 22033 22034
        22035 22036 22037 22038 22039 2203A 2203B 2203C 2203D 2203E 2203F 2203G 22P01 22P03 22P04
        22P06
        25000 25001 25002 25003 25004 25005 25007 25008 25P01
        40002
        42000 42601 42602 42611 42622 42701 42702 42704 42710 42712 42723 42725 42803 42804 42809
        42830 42846 428C9 42939 42P02 42P03 42P04 42P06 42P07 42P08 42P09 42P10 42P11 42P12
        42P13 42P14 42P15 42P16 42P17 42P18 42P19 42P20 42P21 42P22
        55P02 55P04
    """,
}

#: The meaning of each class, and of each code of the classes that are mixed.
SORTED: Final[dict[str, Meaning]] = {
    name: meaning
    for table in (_CLASSES, _CODES)
    for meaning, names in table.items()
    for name in names.split()
}


def meaning_of(code: str) -> Meaning:
    """What an SQLSTATE means; one that PostgreSQL does not know, or none, may pass."""
    return SORTED.get(code) or SORTED.get(code[:2]) or Meaning.TRY_AGAIN
