"""Whatever the environment says: settings are taken, or refused with a sentence that names one.

Made-up values are near good ones too: a character is put in, taken out or doubled. A setting that
is added is tested without a change here.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import unicodedata
from datetime import timedelta
from pathlib import Path
from typing import Any, Final
from unittest.mock import patch

import h11
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from temporalio.envconfig import ClientConfigProfile
from yarl import URL

from durable_orders.api.process import listen
from durable_orders.api.server import event_readers
from durable_orders.clients.connection import connect, translate_rpc_errors
from durable_orders.clients.errors import UnreachableError
from durable_orders.settings import (
    ApiSettings,
    CardSettings,
    DatabaseSettings,
    ProcessSettings,
    SettingsError,
    WebhookSecrets,
    WorkerSettings,
    temporal_profile,
)
from durable_orders.store import database as store

CLASSES: Final = (
    *(ApiSettings, CardSettings, DatabaseSettings, ProcessSettings, WebhookSecrets, WorkerSettings),
)
#: Stands in every value of a secret, and must stand in no sentence.
MARK: Final = "hunter2"
KEY: Final = "hunter2hunter2hunter2hunter2hunt"
GOOD: Final = {
    "DATABASE_URL": f"postgresql://orders:{MARK}@localhost:5432/orders?sslmode=disable",
    "STRIPE_API_KEY": f"sk_test_{MARK}",
    "STRIPE_API_BASE": "https://api.stripe.com",
    "RESEND_API_KEY": f"re_{MARK}",
    "RESEND_API_URL": "https://api.resend.com",
    "MAIL_FROM": "Shop <orders@example.com>",
    "FULFILLMENT_URL": "https://warehouse.example.com/api/",
    "FULFILLMENT_API_KEY": MARK,
    "STRIPE_WEBHOOK_SECRET": f"whsec_{KEY}",
    "FULFILLMENT_WEBHOOK_SECRET": f"whsec_{KEY}",
    "RESEND_WEBHOOK_SECRET": f"whsec_{KEY}",
    "API_HOST": "127.0.0.1",
    "API_ALLOWED_ORIGINS": "https://shop.example,http://[::1]:3000",
    "API_ALLOWED_HOSTS": "shop.example,api.shop.example",
    "API_TRUSTED_PROXIES": "10.0.0.7,10.1.0.0/16",
    "APPROVAL_ABOVE": "EUR=500.00,JPY=60000",
    "REFUND_APPROVAL_ABOVE": "EUR=200.00",
    "APPROVER_EMAIL": "approvals@example.com",
    "PAYMENT_URL": "https://shop.example/orders/{order_id}/pay",
    "TEMPORAL_UI_URL": "http://localhost:8233",
    "WORKER_HEALTH_FILE": "/tmp/healthy",  # noqa: S108 - not written
}
#: Whom a key is sent to, and in a header.
SENT_TO: Final = {
    "STRIPE_API_BASE": "STRIPE_API_KEY",
    "RESEND_API_URL": "RESEND_API_KEY",
    "FULFILLMENT_URL": "FULFILLMENT_API_KEY",
}
NAMES: Final = sorted({name.upper() for kind in CLASSES for name in kind.model_fields})
NASTY: Final = [
    *("", " ", "\n", "\t0", "0", "-1", "1e400", "nan", "inf", "9" * 5_000, "٣", "1_0", "0x10"),
    *("true", "null", "{}", "[]", '{"EUR": 5}', "a=b", ",", ",,", "=", "EUR=", "EUR=1,EUR=2"),
    *("http://[", "http://a b", "http://:80", "http://h:port", "http://h:99999", "http://u:p@h"),
    *("http://\udcff/", "http://ä.example", "https://", "//h", "\udcff", "\x1b[31m", "x" * 100_000),
    *("%00", "postgresql://[", "postgresql://h/%00?sslrootcert=%00"),
    "postgresql://h:" + "9" * 5_000,
]
#: Passwords that are not quoted, and texts in the wrong place.
NASTY_DSN: Final = [
    f"postgresql://u:pass?{MARK}=x@h/db",
    f"postgresql://u:pass#{MARK}@h/db",
    f"postgresql://u:pass/{MARK}@h/db",
    f"postgresql://u:{MARK}@h:{MARK}/db",
    f"postgresql://h/db?connect_timeout={MARK}",
    f"postgresql://h/db?sslmode={MARK}",
    f"postgresql://h/db?sslrootcert=/{MARK}",
    f"postgresql://h/db?target_session_attrs={MARK}",
    f"{MARK}://h/db",
]
#: What an environment can hold: bytes that are no UTF-8 arrive as lone surrogates.
CHARACTERS: Final = st.one_of(
    st.sampled_from("\n\r\t \x1b\x7f,;:=@/?#[]{}%&\"'\\\udcff\N{RIGHT-TO-LEFT OVERRIDE}ä²"),
    st.characters(exclude_characters="\0", exclude_categories=["Cs"]),
)


@st.composite
def near(draw: st.DrawFn, good: str) -> str:
    """A good value with a few characters put in, taken out or doubled."""
    value = good
    for _ in range(draw(st.integers(1, 3))):
        at = draw(st.integers(0, len(value)))
        until = min(len(value), at + draw(st.integers(0, 3)))
        value = value[:at] + draw(st.text(CHARACTERS, max_size=2)) + value[until:]
    return value


def nasty(name: str) -> list[str]:
    return [*NASTY, *NASTY_DSN] if name == "DATABASE_URL" else NASTY


@pytest.fixture(autouse=True)
def _no_env_file(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)


def check(name: str, value: str) -> None:
    """Load the settings that have this one, and make of them what the processes make of it."""
    ours = {*NAMES, *(each for each in os.environ if each.startswith("TEMPORAL_"))}
    rest = {each: text for each, text in os.environ.items() if each.upper() not in ours}
    with patch.dict(os.environ, rest | GOOD | {name: value}, clear=True):
        for kind in CLASSES:
            if name.lower() not in kind.model_fields:
                continue
            try:
                loaded = kind.load()
            except SettingsError as error:
                for line in str(error).splitlines():
                    is_sentence(line, name)
            else:
                assert MARK not in repr(loaded)
                use(loaded, name)


def is_sentence(line: str, name: str) -> None:
    assert name in line
    assert MARK not in line
    assert not {unicodedata.category(each) for each in line} & {"Cc", "Cf", "Cs", "Zl", "Zp"}
    assert line.endswith(".")
    assert len(line) < 600


def use(loaded: Any, name: str) -> None:
    if name.startswith("DATABASE"):
        store.connect(loaded.database_url.get_secret_value(), pool_size=loaded.database_pool_size)
    if isinstance(loaded, WebhookSecrets):
        event_readers(loaded)
    if isinstance(loaded, ApiSettings) and name == "API_HOST":
        with contextlib.suppress(OSError):
            listen(loaded.api_host, 0).close()
    if isinstance(loaded, WorkerSettings):
        loaded.shop_terms()
        loaded.refund_terms()
    for url, key in SENT_TO.items():
        if name in {url, key} and hasattr(loaded, key.lower()):
            secret = getattr(loaded, key.lower())
            can_be_sent(getattr(loaded, url.lower()), secret and secret.get_secret_value())


def can_be_sent(url: str, key: str | None) -> None:
    """Build a request as our HTTP client would, for h11, which is strict about it."""
    address = URL(f"{url}/things", encoded=True)
    assert address.host
    headers = {"Host": address.authority, "Authorization": f"Bearer {key}"}
    h11.Request(method="GET", target=address.raw_path_qs, headers=list(headers.items()))


@pytest.mark.parametrize("name", NAMES)
def test_a_setting_is_taken_or_refused_with_a_sentence(name: str) -> None:
    @settings(max_examples=15, derandomize=True, database=None)
    @given(st.one_of(st.text(CHARACTERS, max_size=40), near(GOOD.get(name, "1"))))
    def made_up(value: str) -> None:
        check(name, value)

    for value in nasty(name):
        check(name, value)
    made_up()


TEMPORAL_NAMES: Final = [
    *("TEMPORAL_ADDRESS", "TEMPORAL_NAMESPACE", "TEMPORAL_API_KEY", "TEMPORAL_PROFILE"),
    *("TEMPORAL_CONFIG_FILE", "TEMPORAL_TLS", "TEMPORAL_TLS_SERVER_NAME"),
    *("TEMPORAL_TLS_CLIENT_CERT_PATH", "TEMPORAL_TLS_CLIENT_CERT_DATA"),
    *("TEMPORAL_TLS_CLIENT_KEY_PATH", "TEMPORAL_TLS_CLIENT_KEY_DATA"),
    *("TEMPORAL_TLS_SERVER_CA_CERT_PATH", "TEMPORAL_TLS_SERVER_CA_CERT_DATA"),
    *("TEMPORAL_TLS_DISABLE_HOST_VERIFICATION", "TEMPORAL_GRPC_META_X_SHOP"),
]


@pytest.mark.parametrize("name", TEMPORAL_NAMES)
@settings(max_examples=15, derandomize=True, database=None)
@example("localhost:99999")
@example("/nowhere")
@example("/")
@example("x" * 100_000)
@given(value=st.one_of(st.text(CHARACTERS, max_size=40), near("temporal.example:7233")))
def test_temporals_settings_too(name: str, value: str) -> None:
    with patch.dict(os.environ, {"TEMPORAL_API_KEY": MARK, name: value}):
        try:
            profile = temporal_profile()
        except SettingsError as error:
            is_sentence(str(error), "TEMPORAL_")
        else:
            asyncio.run(first_call(profile))


async def first_call(profile: ClientConfigProfile) -> None:
    """Nobody listens there, or nobody is looked for: not before the address is read."""
    temporal = await connect(profile, lazy=True)
    with contextlib.suppress(UnreachableError), translate_rpc_errors(temporal):
        await temporal.service_client.check_health(timeout=timedelta(milliseconds=1))


@pytest.mark.parametrize(
    "text", [b"\xff", b"TEMPORAL_ADDRESS=\xff", b"\0", b"A=\0", b"=", b"A='", b"'"], ids=repr
)
def test_a_file_of_settings_may_hold_anything(text: bytes, tmp_path: Path) -> None:
    (tmp_path / ".env").write_bytes(text)
    lines: list[str] = []
    for read in (*(kind.load for kind in CLASSES), temporal_profile):
        try:
            read()
        except SettingsError as error:
            lines.append(str(error))
    assert all(line.endswith(".") for line in lines)


def test_a_profile_that_cannot_be_read_is_not_quoted(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "temporal.toml").write_text(f"[profile.default]\napi_key = {MARK}\n")
    monkeypatch.setenv("TEMPORAL_CONFIG_FILE", str(tmp_path / "temporal.toml"))
    with pytest.raises(SettingsError) as refused:
        temporal_profile()
    is_sentence(str(refused.value), "TEMPORAL_")
