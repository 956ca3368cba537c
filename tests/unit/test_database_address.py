"""The database's address: what libpq knows and asyncpg can carry out; the rest is refused."""

from __future__ import annotations

from pathlib import Path

import pytest

from durable_orders.store.address import InvalidDatabaseUrlError, parse_database_url
from durable_orders.store.database import connect


@pytest.mark.parametrize(
    ("url", "hosts"),
    [
        ("postgresql://u:p@db:5433/orders", [("db", 5433)]),
        ("postgres://u@db/orders", [("db", 5432)]),
        ("postgresql+psycopg://u@db/orders", [("db", 5432)]),
        ("postgresql+asyncpg://u@/orders?host=/run/postgresql", [("/run/postgresql", 5432)]),
        ("postgresql://u@%2Frun%2Fpostgresql/orders", [("/run/postgresql", 5432)]),
        ("postgresql://u@a:1,b:2/orders", [("a", 1), ("b", 2)]),
        ("postgresql://u@a,b/orders?port=1,2", [("a", 1), ("b", 2)]),
        ("postgresql://u@/orders?host=a,b&port=1", [("a", 1), ("b", 1)]),
        ("postgresql://u@/orders?host=a:1,b:2", [("a", 1), ("b", 2)]),
        ("postgresql://u@[::1]:5433,[fe80::2]/orders", [("::1", 5433), ("fe80::2", 5432)]),
        ("postgresql:///orders", []),
    ],
)
def test_hosts_in_every_usual_form(url: str, hosts: list[tuple[str, int]]) -> None:
    address = parse_database_url(url)
    assert address.hosts == tuple(hosts)
    assert address.connect["database"] == "orders"


def test_a_login_may_hold_any_character() -> None:
    address = parse_database_url("postgresql://us%40er:p%3A%2F%40ss@db/or%20ders")
    assert address.connect["user"] == "us@er"
    assert address.connect["password"] == "p:/@ss"
    assert address.connect["database"] == "or ders"
    assert "ss@" not in repr(address)


def test_parameters_reach_whom_they_are_for() -> None:
    address = parse_database_url(
        "postgresql://db/orders?sslmode=require&ssl_min_protocol_version=TLSv1.3"
        "&application_name=shop&options=-c%20jit%3Doff&connect_timeout=7"
    )
    assert address.connect["dsn"] == (
        "postgresql://?sslmode=require&ssl_min_protocol_version=TLSv1.3"
    )
    assert address.server_settings == {"application_name": "shop", "options": "-c jit=off"}
    assert address.connect_timeout == 7


@pytest.mark.parametrize(
    ("query", "writable"),
    [
        ("", True),
        ("?target_session_attrs=read-write", True),
        ("?target_session_attrs=primary", True),
        ("?target_session_attrs=any", False),
    ],
)
def test_a_server_has_to_take_writes_unless_any_will_do(query: str, writable: bool) -> None:  # noqa: FBT001
    assert parse_database_url(f"postgresql://a,b/orders{query}").writable is writable


@pytest.mark.parametrize(
    ("url", "sentence"),
    [
        ("", "cannot be read: postgresql://"),
        ("secret-without-scheme", "cannot be read"),
        ("mysql://u:secret@db/orders", "begins with mysql://, not with postgresql://"),
        ("postgresql://u:secret@db:port/orders", "not like host:5432"),
        ("postgresql://u:secret@db:70000/orders", "not like host:5432"),
        ("postgresql://u:secret@a,,b/orders", "not like host:5432"),
        ("postgresql://u:secret@a..b/orders", "not like host:5432"),
        (f"postgresql://u:secret@{'x' * 64}/orders", "not like host:5432"),
        (f"postgresql://u:secret@db:{'9' * 5_000}/orders", "not like host:5432"),
        ("postgresql://u:secret@db/orders?sslrootcert=%00", "a NUL"),
        ("postgresql://u:secret@\udcff/orders", "not UTF-8"),
        (
            "postgresql://u:pass?secret=x@db/orders",
            "asyncpg does not know: it is not shown, .* Known are",
        ),
        ("postgresql://u:secret@[::1/orders", "cannot be read|without an end"),
        ("postgresql://u:secret@a,b,c/orders?port=1,2", "3 hosts and 2 ports"),
        ("postgresql://u:secret@db/orders?channel_binding=require", "not know: channel_binding"),
        ("postgresql://u:secret@db/orders?keepalives=1", "not know: keepalives. Known are"),
        ("postgresql://u:secret@db/orders?gsslib=heimdal", "gsslib .* must be one of gssapi, sspi"),
        ("postgresql://u:secret@db/orders?sslmode=on", "sslmode .* must be one of disable, allow"),
        ("postgresql://u:secret@db/orders?sslmode=require&ssl=require", "has sslmode twice"),
        ("postgresql://u:secret@db/orders?connect_timeout=soon", "must be seconds"),
        ("postgresql://u:secret@db/orders?connect_timeout=0", "must be seconds"),
        ("postgresql://u:secret@db/orders?target_session_attrs=standby", "takes no writes"),
        ("postgresql://u:secret@db/orders?target_session_attrs=write", "must be one of"),
        ("postgresql://u:secret@db/orders?sslrootcert=/nowhere", "sslrootcert .* No such file"),
        ("postgresql://u:secret@db/orders?sslkey=/nowhere", "sslkey .* No such file"),
        ("postgresql://u:secret@db/orders?nonsense", "cannot be read"),
    ],
)
def test_what_cannot_work_is_refused_without_the_password(url: str, sentence: str) -> None:
    with pytest.raises(InvalidDatabaseUrlError, match=sentence) as refused:
        connect(url)
    assert "secret" not in str(refused.value)
    assert refused.value.__cause__ is None


@pytest.mark.parametrize("name", ["sslrootcert", "sslcert", "sslcrl"])
def test_a_file_that_holds_no_certificate_is_refused(name: str, tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.write_text("no certificate")
    with pytest.raises(InvalidDatabaseUrlError, match=f"{name} .* cannot be used"):
        parse_database_url(f"postgresql://db/orders?{name}={file}")


def test_a_service_is_looked_up_at_the_start(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    url, file = "postgresql:///?service=shop", tmp_path / "services"
    monkeypatch.setenv("PGSERVICEFILE", str(file))
    with pytest.raises(InvalidDatabaseUrlError, match=r"service .* is not in PGSERVICEFILE"):
        parse_database_url(url)
    file.write_text("[other]\nhost=db\n")
    with pytest.raises(InvalidDatabaseUrlError, match=r"service .* is not in PGSERVICEFILE"):
        parse_database_url(url)
    file.write_text("host=db\n")
    with pytest.raises(InvalidDatabaseUrlError, match="cannot be read: it is PGSERVICEFILE"):
        parse_database_url(url)
    file.write_text("[shop]\nhost=db\n")
    assert parse_database_url(url).hosts == ()
