"""The database's address: libpq's URL, checked, as arguments for asyncpg.

https://www.postgresql.org/docs/18/libpq-connect.html#LIBPQ-CONNSTRING-URIS
"""

from __future__ import annotations

import configparser
import os
import re
import ssl
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final
from urllib.parse import parse_qsl, unquote, urlencode, urlsplit

_EXAMPLE: Final = "postgresql://user:password@host:5432/name"
_DRIVERS: Final = frozenset({"postgresql", "postgres", "postgresql+asyncpg", "postgresql+psycopg"})

#: Parameters that are ours to carry out, and SQLAlchemy's and asyncpg's names of the same.
_OTHER_NAMES: Final = {"ssl": "sslmode", "timeout": "connect_timeout", "database": "dbname"}
_OURS: Final = frozenset(
    {"host", "port", "dbname", "user", "password", "connect_timeout", "target_session_attrs"}
)
#: Those that asyncpg carries out when they stand in its DSN.
_DRIVERS_OWN: Final = frozenset(
    {
        *("passfile", "service", "krbsrvname", "gsslib"),
        *("sslmode", "sslnegotiation", "sslrootcert", "sslcert", "sslkey", "sslpassword", "sslcrl"),
        *("ssl_min_protocol_version", "ssl_max_protocol_version"),
    }
)
#: Those that the server carries out.
_SERVERS_OWN: Final = frozenset({"application_name", "options"})
#: The others of libpq. Their names may be shown; any other may be a part of a password.
_LIBPQS_OTHERS: Final = frozenset(
    {
        *("channel_binding", "client_encoding", "fallback_application_name", "gssdelegation"),
        *("gssencmode", "hostaddr", "keepalives", "keepalives_count", "keepalives_idle"),
        *("keepalives_interval", "load_balance_hosts", "max_protocol_version"),
        *("min_protocol_version", "oauth_client_id", "oauth_client_secret", "oauth_issuer"),
        *("oauth_scope", "replication", "require_auth", "requirepeer", "requiressl"),
        *("scram_client_key", "scram_server_key", "sslcertmode", "sslcompression", "sslcrldir"),
        *("sslkeylogfile", "sslsni", "tcp_user_timeout"),
    }
)
_KNOWN: Final = _OURS | _DRIVERS_OWN | _SERVERS_OWN

_CHOICES: Final[Mapping[str, tuple[str, ...]]] = {
    "sslmode": ("disable", "allow", "prefer", "require", "verify-ca", "verify-full"),
    "sslnegotiation": ("postgres", "direct"),
    "gsslib": ("gssapi", "sspi"),
    "target_session_attrs": (
        *("read-write", "primary", "any"),
        *("read-only", "standby", "prefer-standby"),
    ),
    "ssl_min_protocol_version": ("TLSv1.2", "TLSv1.3"),
    "ssl_max_protocol_version": ("TLSv1.2", "TLSv1.3"),
}
#: A process that is given one of these has to write all the same.
_CANNOT_WRITE: Final = frozenset({"read-only", "standby", "prefer-standby"})
_FILES: Final = ("sslrootcert", "sslcert", "sslkey", "sslcrl", "passfile")


class InvalidDatabaseUrlError(ValueError):
    """The text is not a PostgreSQL URL; the message says why."""


@dataclass(frozen=True)
class DatabaseAddress:
    """Where the database is, and how to connect to it.

    ``hosts``: host or directory, and port; tried in this order. Empty: where asyncpg looks by
    itself. ``connect``: the other arguments of ``asyncpg.connect``.
    """

    hosts: tuple[tuple[str, int], ...]
    connect: Mapping[str, Any] = field(repr=False)
    server_settings: Mapping[str, str]
    #: Seconds for each host.
    connect_timeout: float | None
    #: Whether a server has to take writes; False (``target_session_attrs=any``): reading will do.
    writable: bool


def parse_database_url(url: str) -> DatabaseAddress:
    """Parse ``postgresql://`` or ``postgresql+…://``, with libpq's parameters.

    Raises ``InvalidDatabaseUrlError``, which never repeats the URL: it may hold a password.
    """
    try:
        parts = urlsplit(url)
        pairs = parse_qsl(parts.query, keep_blank_values=True, strict_parsing=bool(parts.query))
    except ValueError:
        raise InvalidDatabaseUrlError(f"the database address cannot be read: {_EXAMPLE}") from None
    if parts.scheme not in _DRIVERS or "://" not in url:
        scheme = f"begins with {parts.scheme}://, not with postgresql://"
        problem = scheme if parts.scheme and "://" in url else f"cannot be read: {_EXAMPLE}"
        raise InvalidDatabaseUrlError(f"the database address {problem}")
    if not _can_be_sent(unquote(url)):
        raise InvalidDatabaseUrlError(
            "the database address has a character in it that cannot be: a NUL (%00), or one that "
            "is not UTF-8"
        )
    given = _parameters(pairs)
    login, _, hosts = parts.netloc.rpartition("@")
    user, _, password = login.partition(":")
    database = given.get("dbname") or unquote(parts.path.removeprefix("/"))
    credentials = {
        "user": given.get("user") or unquote(user),
        "password": given.get("password") or unquote(password),
        "database": database,
    }
    for_driver = {name: value for name, value in given.items() if name in _DRIVERS_OWN}
    _check_certificates(for_driver)
    _check_service(for_driver.get("service"))
    return DatabaseAddress(
        hosts=_hosts(hosts, given),
        connect={
            "dsn": f"postgresql://?{urlencode(for_driver)}" if for_driver else None,
            **{name: value for name, value in credentials.items() if value},
        },
        server_settings={name: given[name] for name in sorted(_SERVERS_OWN & given.keys())},
        connect_timeout=_connect_timeout(given.get("connect_timeout")),
        writable=given.get("target_session_attrs") != "any",
    )


def _parameters(pairs: list[tuple[str, str]]) -> dict[str, str]:
    """The parameters by libpq's names; each is known, given once, and one of its choices."""
    given: dict[str, str] = {}
    for their_name, value in pairs:
        name = _OTHER_NAMES.get(their_name, their_name)
        if name not in _KNOWN:
            hidden = "it is not shown, for it may be a part of a password, where ? is written %3F"
            what = name if name in _LIBPQS_OTHERS else hidden
            raise InvalidDatabaseUrlError(
                f"the database address has a parameter that asyncpg does not know: {what}. "
                f"Known are {', '.join(sorted(_KNOWN))}"
            )
        if name in given:
            raise InvalidDatabaseUrlError(f"the database address has {name} twice")
        choices = _CHOICES.get(name)
        if choices is not None and value not in choices:
            raise InvalidDatabaseUrlError(
                f"{name} in the database address must be one of {', '.join(choices)}"
            )
        if name == "target_session_attrs" and value in _CANNOT_WRITE:
            raise InvalidDatabaseUrlError(
                f"target_session_attrs={value} in the database address would lead to a server that "
                "takes no writes: name the primary, or all hosts with target_session_attrs="
                "read-write, which is the default"
            )
        given[name] = value
    return given


def _hosts(netloc: str, given: Mapping[str, str]) -> tuple[tuple[str, int], ...]:
    """The hosts of the address; the parameters count where it names none."""
    # ``?host=a:1,b:2`` is how others write it.
    names = (netloc or given.get("host", "")).split(",")
    if names == [""]:
        return ()
    ports = given.get("port", "").split(",")
    if len(ports) not in {1, len(names)}:
        raise InvalidDatabaseUrlError(
            f"the database address has {len(names)} hosts and {len(ports)} ports"
        )
    ports = ports * len(names) if len(ports) == 1 else ports
    return tuple(_host(name, port) for name, port in zip(names, ports, strict=True))


def _host(text: str, default_port: str) -> tuple[str, int]:
    name, port = unquote(text), ""
    if name.startswith("["):
        name, bracket, rest = name[1:].partition("]")
        if not bracket or (rest and not rest.startswith(":")):
            raise InvalidDatabaseUrlError("the database address has an IPv6 host without an end")
        port = rest[1:]
    elif not name.startswith("/"):
        name, _, port = name.partition(":")
    port = port or default_port or "5432"
    is_port = re.fullmatch("[0-9]{1,5}", port) is not None and 0 < int(port) < 65_536
    if not (_is_host(name) and is_port):
        raise InvalidDatabaseUrlError(
            "a host of the database address is not like host:5432, [::1]:5432 or /directory"
        )
    return name, int(port)


def _is_host(name: str) -> bool:
    """Whether it is a directory, or can be looked up."""
    try:
        return name.startswith("/") or bool(name.encode("idna"))
    except UnicodeError:
        return False


def _can_be_sent(text: str) -> bool:
    try:
        return b"\0" not in text.encode()
    except UnicodeEncodeError:
        return False


def _connect_timeout(text: str | None) -> float | None:
    if text is None:
        return None
    try:
        seconds = float(text)
    except ValueError:
        seconds = -1
    # libpq's 0 is for ever: one dead host would keep us from all others.
    if not 0 < seconds <= 3_600:
        raise InvalidDatabaseUrlError(
            "connect_timeout in the database address must be seconds, for each host: 1 to 3600"
        )
    return seconds


def _check_service(name: str | None) -> None:
    """Look for the service now: without it asyncpg would connect to a server on this machine."""
    if name is None:
        return
    file = os.environ.get("PGSERVICEFILE") or str(Path.home() / ".pg_service.conf")
    services = configparser.ConfigParser()
    try:
        found = services.read(file)
    except (configparser.Error, OSError, UnicodeDecodeError):
        raise InvalidDatabaseUrlError(
            "the file of the service in the database address cannot be read: it is PGSERVICEFILE, "
            "or ~/.pg_service.conf"
        ) from None
    if not found or name not in services.sections():
        raise InvalidDatabaseUrlError(
            "the service in the database address is not in PGSERVICEFILE, or ~/.pg_service.conf"
        )


def _check_certificates(given: Mapping[str, str]) -> None:
    """Read the files now: later they would be taken for a server that does not answer."""
    for name in _FILES:
        if path := given.get(name):
            try:
                with open(path, "rb"):
                    pass
            except OSError as error:
                raise InvalidDatabaseUrlError(
                    f"{name} in the database address cannot be read: {error.strerror}"
                ) from None
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    name = "sslrootcert"
    try:
        for name in ("sslrootcert", "sslcrl"):
            if path := given.get(name):
                context.load_verify_locations(cafile=path)
        if path := given.get("sslcert"):
            name = "sslcert"
            secret = given.get("sslpassword", "")
            context.load_cert_chain(path, given.get("sslkey") or None, lambda: secret)
    except (ssl.SSLError, ValueError):
        what = "its key does not fit" if name == "sslcert" else "it holds no certificates in PEM"
        raise InvalidDatabaseUrlError(
            f"{name} in the database address cannot be used: {what}"
        ) from None
