"""Settings of the processes: read once from the environment and `.env`, and validated.

Each process reads only what it needs, so that the HTTP API runs without the Stripe key.
"""

from __future__ import annotations

import base64
import os
import re
from collections.abc import Mapping
from datetime import timedelta
from ipaddress import ip_network
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final, Literal, Self
from urllib.parse import quote, urlsplit, urlunsplit

from dotenv import dotenv_values
from pydantic import (
    AfterValidator,
    AnyHttpUrl,
    BeforeValidator,
    Field,
    SecretStr,
    TypeAdapter,
    ValidationError,
    model_validator,
)
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

from durable_orders.domain.refunds.messages import ShopRefundTerms
from durable_orders.domain.terms import (
    MAX_CARD_TRIES,
    CaptureMethod,
    DisputePolicy,
    FraudWarningPolicy,
    ShopTerms,
    approval_limits,
)
from durable_orders.domain.texts import EMAIL, escaped
from durable_orders.process import HAS_MAKEFILE
from durable_orders.store.address import InvalidDatabaseUrlError, parse_database_url

if TYPE_CHECKING:
    from temporalio.envconfig import ClientConfigProfile

STRIPE_API = "https://api.stripe.com"
RESEND_API = "https://api.resend.com"
_HTTP_URL: Final = TypeAdapter(AnyHttpUrl)
#: Where container engines mount secrets. A file there named as a setting is that setting.
SECRET_FILES: Final = Path("/run/secrets")


#: Characters that are shown of a text that may repeat what was set.
_LONGEST: Final = 500


class SettingsError(Exception):
    """Settings are missing or wrong; the message has a line per mistake."""


def _url(text: str) -> str:
    try:
        parts = _HTTP_URL.validate_python(text)
    except ValidationError:
        parts = None
    # Pydantic's parser is a browser's: it forgives what HTTP clients do not.
    if parts is None or not re.fullmatch(r"https?://[!-\[\]-~]+", text):
        raise ValueError("must be an http:// or https:// address")
    if parts.username or parts.password or "@" in urlsplit(text).netloc:
        raise ValueError("must have no user and no password in it")
    return text.rstrip("/")


def _dsn(secret: SecretStr) -> SecretStr:
    schemes = ("postgresql://", "postgres://", "postgresql+asyncpg://")
    if not secret.get_secret_value().startswith(schemes):
        raise ValueError("must be postgresql://user:password@host:5432/database")
    try:
        parse_database_url(secret.get_secret_value())
    except InvalidDatabaseUrlError as error:
        raise ValueError(f"is wrong: {error}") from None
    return secret


def _with_password(url: str, password: str) -> str:
    """The URL with this password; it must have a user and no password."""
    parts = urlsplit(url)
    user, at, hosts = parts.netloc.rpartition("@")
    if not (at and user):
        raise ValueError(
            "DATABASE_PASSWORD is set, and DATABASE_URL names no user whose it is: "
            "postgresql://user@host:5432/database"
        )
    if ":" in user:
        raise ValueError("DATABASE_URL has a password, and DATABASE_PASSWORD is set too: keep one")
    return urlunsplit(parts._replace(netloc=f"{user}:{quote(password, safe='')}@{hosts}"))


def _blank_is_none(value: object) -> object:
    return None if isinstance(value, str) and not value.strip() else value


def _can_be_made(file: Path | None) -> Path | None:
    if file is not None and (os.path.isdir(file) or not os.path.isdir(file.absolute().parent)):
        raise ValueError("must be a file in a directory that exists")
    return file


def _not_blank(value: object) -> object:
    if isinstance(value, str) and not value.strip():
        raise ValueError("must not be empty")
    return value.strip() if isinstance(value, str) else value


def _limits(value: object) -> object:
    if not isinstance(value, str):
        return value
    try:
        return approval_limits(value)
    except ValueError as error:
        raise ValueError(f"must be like EUR=500.00,JPY=60000: {error}") from None


def _address(value: object) -> object:
    if not isinstance(value, str) or not value.strip():
        return None
    if not EMAIL.matches(value.strip()):
        raise ValueError("must be a mail address: approvals@your-domain")
    return value.strip()


def _payment_url(text: str) -> str:
    parts = urlsplit(text)
    if parts.scheme not in {"http", "https"} or not parts.netloc or re.search(r"\s", text):
        raise ValueError("must be an http:// or https:// address, with {order_id} in it")
    if re.findall(r"\{[^{}]*\}|[{}]", text) != ["{order_id}"] or "{" in parts.netloc:
        raise ValueError(
            "must have {order_id} in it once, and no other braces: "
            "https://shop.example/orders/{order_id}/pay"
        )
    return text


def _sent_in_header(secret: SecretStr) -> SecretStr:
    if not re.fullmatch("[!-~]+", secret.get_secret_value()):
        raise ValueError("must be printable ASCII without spaces, as it was given to you")
    if secret.get_secret_value().endswith("..."):
        raise ValueError("is still the placeholder of .env.example: fill it in")
    return secret


def _host(text: str) -> str:
    name = r"[A-Za-z0-9_-]{1,63}(\.[A-Za-z0-9_-]{1,63})*"
    if not re.fullmatch(rf"({name})?|[0-9A-Fa-f:.]+(%[A-Za-z0-9_.-]+)?", text):
        raise ValueError("must be an address of this machine, 127.0.0.1 or :: for example")
    return text


Text = Annotated[str, BeforeValidator(_not_blank)]
Secret = Annotated[SecretStr, BeforeValidator(_not_blank)]
#: A key that goes into a header of each request.
KeySecret = Annotated[Secret, AfterValidator(_sent_in_header)]
Host = Annotated[str, AfterValidator(_host)]
Url = Annotated[Text, AfterValidator(_url)]
PaymentUrl = Annotated[Text, AfterValidator(_payment_url)]
Dsn = Annotated[Secret, AfterValidator(_dsn)]


def _origins(value: object) -> object:
    if not isinstance(value, str):
        return value
    origins = [text.strip() for text in value.split(",") if text.strip()]
    for origin in origins:
        if not re.fullmatch(r"https?://[A-Za-z0-9.:\[\]-]+", origin):
            raise ValueError(f"must be like https://shop.example, with commas between: {origin!r}")
    return tuple(origins)


def _proxies(value: object) -> object:
    """The addresses and networks as uvicorn reads them: it trusts nobody of ``10.1.0.5/16``."""
    if not isinstance(value, str):
        return value
    return ",".join(map(_proxy, filter(None, map(str.strip, value.split(",")))))


def _proxy(text: str) -> str:
    refused = ValueError(
        "must be addresses or networks of your proxies, like 10.0.0.7,10.1.0.0/16: "
        f"{text!r} is neither. Whoever is trusted can claim any address of a client"
    )
    try:
        network = ip_network(text, strict=False)
    except ValueError:
        raise refused from None
    if not network.prefixlen:  # all addresses there are
        raise refused
    return str(network) if "/" in text else text


def _hosts(value: object) -> object:
    if not isinstance(value, str):
        return value
    hosts = [text.strip().lower() for text in value.split(",") if text.strip()]
    for host in hosts:
        if not re.fullmatch(r"[a-z0-9.-]+|\[[0-9a-f:.]+\]", host):
            raise ValueError(
                f"must be host names without ports, like shop.example,api.shop.example: {host!r}"
            )
    return tuple(hosts)


def _long(secret: SecretStr) -> SecretStr:
    # A guessed secret would let anyone forge events.
    if len(secret.get_secret_value().removeprefix("whsec_")) < _SHORTEST_SECRET:
        raise ValueError(f"must have {_SHORTEST_SECRET} characters at least")
    return secret


def _of_endpoint(secret: SecretStr) -> SecretStr:
    if not secret.get_secret_value().startswith("whsec_"):
        raise ValueError("must be the signing secret of the webhook endpoint, whsec_…")
    return _long(secret)


def _of_svix(secret: SecretStr) -> SecretStr:
    # The SDK would skip what is not base64, and sign with the rest of the key.
    try:
        key = base64.b64decode(_of_endpoint(secret).get_secret_value()[6:], validate=True)
    except ValueError:
        key = b""
    if len(key) < _SHORTEST_SECRET:
        raise ValueError("must be the signing secret of the webhook endpoint, whsec_… and base64")
    return secret


def _of_standard_webhooks(secret: SecretStr) -> SecretStr:
    text = secret.get_secret_value()
    key = text.removeprefix("whsec_").rstrip("=")
    try:
        decoded = base64.b64decode(key + "=" * (-len(key) % 4), validate=True)
    except ValueError:
        decoded = b""
    # The sizes are the specification's: https://www.standardwebhooks.com.
    if not (text.startswith("whsec_") and 24 <= len(decoded) <= 64):
        raise ValueError(
            "must be whsec_ and the base64 of 24 to 64 random bytes, which you share with your "
            'warehouse: echo "whsec_$(openssl rand -base64 32)" makes one'
        )
    return secret


#: Parsed from plain text; the default would be JSON.
Origins = Annotated[tuple[str, ...], NoDecode, BeforeValidator(_origins)]
Hosts = Annotated[tuple[str, ...], NoDecode, BeforeValidator(_hosts)]
Proxies = Annotated[str, BeforeValidator(_proxies)]
Limits = Annotated[Mapping[str, int], NoDecode, BeforeValidator(_limits)]
Address = Annotated[str | None, BeforeValidator(_address)]
#: None: there is no endpoint. An empty text is refused.
StripeWebhookSecret = Annotated[Secret, AfterValidator(_of_endpoint)]
SvixWebhookSecret = Annotated[Secret, AfterValidator(_of_svix)]
StandardWebhookSecret = Annotated[Secret, AfterValidator(_of_standard_webhooks)]
_SHORTEST_SECRET = 16
_HOURS_A_YEAR = 8_760
_MINUTES_A_WEEK = 10_080


def _check_stripe_key(secret: SecretStr, api_base: str) -> None:
    key = secret.get_secret_value()
    if not key.startswith(("sk_test_", "sk_live_", "rk_test_", "rk_live_")):
        raise ValueError(
            "STRIPE_API_KEY must be a secret or restricted key: sk_test_…, sk_live_… or rk_…"
        )
    is_live = key.startswith(("sk_live_", "rk_live_"))
    if is_live and api_base != STRIPE_API:
        raise ValueError(
            f"STRIPE_API_KEY is a live key but STRIPE_API_BASE is {api_base}: "
            "a live key is only ever sent to Stripe. Use a test key, or unset STRIPE_API_BASE"
        )


class _FromEnvironment(BaseSettings):
    model_config = SettingsConfigDict(
        env_file=".env",
        secrets_dir=SECRET_FILES if SECRET_FILES.is_dir() else None,
        extra="ignore",
        frozen=True,
        case_sensitive=False,
    )

    @classmethod
    def load(cls) -> Self:
        """Read the settings. Raises ``SettingsError`` with a sentence per mistake."""
        try:
            return cls()
        except ValidationError as error:
            raise SettingsError("\n".join(map(_sentence, error.errors()))) from None
        except (OSError, UnicodeDecodeError) as error:
            raise SettingsError(
                f"A file of settings cannot be read, .env or one in {SECRET_FILES}: {_why(error)}."
            ) from None


class DatabaseSettings(_FromEnvironment):
    """Settings of a process that uses PostgreSQL alone."""

    database_url: Dsn = Field(description="postgresql://user:password@host:5432/database")
    #: The password of ``database_url``, for one that holds none; then it is put there.
    database_password: Annotated[Secret | None, BeforeValidator(_blank_is_none)] = None
    database_pool_size: int = Field(default=10, ge=1, le=100)

    @model_validator(mode="before")
    @classmethod
    def _password_belongs_to_url(cls, given: dict[str, Any]) -> dict[str, Any]:
        url, password = given.get("database_url"), given.get("database_password")
        if not isinstance(url, str) or not isinstance(password, str) or not password.strip():
            return given
        return given | {"database_url": _with_password(url.strip(), password.strip())}


class ProcessSettings(DatabaseSettings):
    """Settings of a process that uses PostgreSQL and Temporal (``TEMPORAL_*``)."""

    log_level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = "INFO"
    log_format: Literal["console", "json"] = "console"
    #: The address of the Temporal Web UI; None: no links to it are printed.
    temporal_ui_url: Annotated[Url | None, BeforeValidator(_blank_is_none)] = None


class WebhookSecrets(_FromEnvironment):
    """Secrets of the webhooks. Without one, webhooks of that source are refused."""

    stripe_webhook_secret: StripeWebhookSecret | None = None
    fulfillment_webhook_secret: StandardWebhookSecret | None = None
    resend_webhook_secret: SvixWebhookSecret | None = None


class ApiSettings(ProcessSettings, WebhookSecrets):
    """Settings of the HTTP API: its address and its limits."""

    api_host: Host = "127.0.0.1"
    api_port: int = Field(default=8080, ge=0, le=65535)
    #: Per process: requests of an API key, failed requests of an address without a valid one.
    api_rate_per_minute: int = Field(default=600, ge=1, le=1_000_000)
    api_failures_per_minute: int = Field(default=30, ge=1, le=1_000_000)
    api_max_body_bytes: int = Field(default=262_144, ge=1_024, le=100_000_000)
    #: Concurrent event streams, per process: in all, and of one API key.
    api_max_streams: int = Field(default=100, ge=1, le=10_000)
    api_max_streams_per_key: int = Field(default=20, ge=1, le=10_000)
    #: Connections of clients, per process.
    api_max_connections: int = Field(default=1_000, ge=8, le=100_000)
    #: Seconds for the head of a request, again for its body, and for a pause in reading an answer.
    api_client_timeout_seconds: float = Field(default=20, ge=1, le=3_600)
    #: CORS: the origins of web pages that may call the API; none by default.
    api_allowed_origins: Origins = ()
    #: Whether the admin pages are served, at /operator.
    operator_pages: bool = True
    #: Proxies whose X-Forwarded-For and -Proto are trusted: addresses or networks, with commas.
    api_trusted_proxies: Proxies = "127.0.0.1"
    #: The names by which clients reach the API, without ports; none: any.
    api_allowed_hosts: Hosts = ()


class CardSettings(_FromEnvironment):
    """Access to the card provider for other processes than workers. Without a key: none."""

    stripe_api_key: Annotated[KeySecret | None, BeforeValidator(_blank_is_none)] = None
    stripe_api_base: Url = STRIPE_API

    @model_validator(mode="after")
    def _key_fits_address(self) -> Self:
        if self.stripe_api_key is not None:
            _check_stripe_key(self.stripe_api_key, self.stripe_api_base)
        return self


class WorkerSettings(ProcessSettings):
    """Settings of a worker: its providers, and the shop's terms."""

    stripe_api_key: KeySecret = Field(description="a secret key of your Stripe account, sk_test_…")
    stripe_api_base: Url = STRIPE_API
    resend_api_key: KeySecret = Field(description="an API key of your Resend account, re_…")
    resend_api_url: Url = RESEND_API
    mail_from: Text = Field(description="the sender of mails, Shop <orders@your-domain>")
    fulfillment_url: Url = Field(description="the address of your warehouse's API")
    fulfillment_api_key: KeySecret = Field(description="the bearer key of your warehouse's API")
    #: The file that a worker touches every few seconds while it can work; None: it touches none.
    worker_health_file: Annotated[
        Path | None, BeforeValidator(_blank_is_none), AfterValidator(_can_be_made)
    ] = None
    #: Concurrent activities of one worker; further ones wait in the task queue.
    max_concurrent_activities: int = Field(default=100, ge=1, le=10_000)
    #: Open orders that a worker keeps in memory; news of another one makes it replay the history.
    max_cached_workflows: int = Field(default=1_000, ge=1, le=1_000_000)

    # The shop's terms: see ``ShopTerms``. Fractions of a unit are allowed.
    approval_above: Limits = Field(default_factory=dict)
    #: Who requested a refund, or placed an order by an API key, may not approve it. None: where
    #: there is a limit.
    approval_four_eyes: Annotated[bool | None, BeforeValidator(_blank_is_none)] = None
    approval_timeout_hours: float = Field(default=24, gt=0, le=_HOURS_A_YEAR)
    #: The address that gets reminders of orders that wait for approval; None: no reminders.
    approver_email: Address = None
    refund_approval_above: Limits = Field(default_factory=dict)
    refund_approval_timeout_hours: float = Field(default=72, gt=0, le=_HOURS_A_YEAR)
    payment_timeout_minutes: float = Field(default=30, gt=0, le=_MINUTES_A_WEEK)
    #: The shop's page on which a customer who was away confirms the payment of an order.
    payment_url: Annotated[PaymentUrl | None, BeforeValidator(_blank_is_none)] = None
    new_card_window_minutes: float = Field(default=0, ge=0, le=_MINUTES_A_WEEK)
    max_card_tries: int = Field(default=MAX_CARD_TRIES, ge=1, le=20)
    capture: CaptureMethod = CaptureMethod.AT_CHECKOUT
    on_dispute: DisputePolicy = DisputePolicy.HOLD
    on_fraud_warning: FraudWarningPolicy = FraudWarningPolicy.SHOW
    delivery_deadline_days: float = Field(default=0, ge=0, le=365)

    def shop_terms(self) -> ShopTerms:
        """The terms of orders that start from now on."""
        return ShopTerms(
            approval_above=dict(self.approval_above),
            four_eyes=self._needs_four_eyes(self.approval_above),
            approval_timeout=timedelta(hours=self.approval_timeout_hours),
            payment_timeout=timedelta(minutes=self.payment_timeout_minutes),
            new_card_window=timedelta(minutes=self.new_card_window_minutes),
            max_card_tries=self.max_card_tries,
            payment_url=self.payment_url or "",
            capture=self.capture,
            on_dispute=self.on_dispute,
            on_fraud_warning=self.on_fraud_warning,
            delivery_deadline=timedelta(days=self.delivery_deadline_days),
        )

    def refund_terms(self) -> ShopRefundTerms:
        """The terms of refunds that are requested from now on."""
        return ShopRefundTerms(
            approval_above=dict(self.refund_approval_above),
            four_eyes=self._needs_four_eyes(self.refund_approval_above),
            approval_timeout=timedelta(hours=self.refund_approval_timeout_hours),
        )

    def _needs_four_eyes(self, limits: Mapping[str, int]) -> bool:
        return bool(limits) if self.approval_four_eyes is None else self.approval_four_eyes

    @model_validator(mode="after")
    def _keys_fit_addresses(self) -> Self:
        _check_stripe_key(self.stripe_api_key, self.stripe_api_base)
        if not self.resend_api_key.get_secret_value().startswith("re_"):
            raise ValueError("RESEND_API_KEY must start with re_")
        if "@" not in self.mail_from:
            raise ValueError("MAIL_FROM must hold an address: Shop <orders@your-domain>")
        return self


def temporal_profile() -> ClientConfigProfile:
    """Temporal's connection settings: ``TEMPORAL_*`` in the environment or `.env`, or a profile.

    Supports what Temporal's own tools support (address, namespace, API key, TLS, profile
    file): https://docs.temporal.io/develop/environment-configuration. Without any of it,
    localhost:7233 and the namespace "default". Raises ``SettingsError``.
    """
    # Not every process uses Temporal, and importing its SDK takes a while.
    from temporalio.envconfig import ClientConfigProfile  # noqa: PLC0415

    try:
        from_file = {key: value for key, value in dotenv_values(Path(".env")).items() if value}
    except (OSError, UnicodeDecodeError) as error:
        raise SettingsError(f".env cannot be read: {_why(error)}.") from None
    settings = {**from_file, **os.environ}
    for name, value in settings.items():
        if name.startswith("TEMPORAL_") and re.search("[\ud800-\udfff]", f"{name}{value}"):
            raise SettingsError(f"{escaped(name)} must be text in UTF-8.")
    try:
        profile = ClientConfigProfile.load(override_env_vars=settings)
        tls = profile.to_client_connect_config().get("tls")
    except (RuntimeError, ValueError, OSError) as error:
        # Of a profile file only what is wrong: the lines that follow quote it.
        why = next(iter(str(error).splitlines()), type(error).__name__)
        raise SettingsError(
            f"The settings of Temporal, TEMPORAL_* or a profile, are wrong: {_shown(why)}."
        ) from None
    # What follows the SDK would say with the first call.
    if profile.address and not _is_temporal_address(profile.address):
        raise SettingsError("TEMPORAL_ADDRESS must be a host and a port: temporal.example:7233.")
    has_both = isinstance(tls, bool | None) or (
        (tls.client_cert is None) == (tls.client_private_key is None)
    )
    if not has_both:
        raise SettingsError(
            "TEMPORAL_TLS_CLIENT_CERT_PATH and TEMPORAL_TLS_CLIENT_KEY_PATH (or _DATA) belong "
            "together: set both or neither."
        )
    return profile


def _is_temporal_address(text: str) -> bool:
    host = r"[A-Za-z0-9._-]+|\[[0-9A-Fa-f:.]+\]"
    found = re.fullmatch(rf"(https?://)?({host})(:(?P<port>[0-9]{{1,5}}))?/?", text)
    return found is not None and int(found["port"] or 0) < 65_536


def _why(error: OSError | UnicodeDecodeError) -> str:
    return "it is not UTF-8" if isinstance(error, ValueError) else error.strerror or str(error)


#: Pydantic's words for these are about types of Python.
_WORDS: Final = {
    "bool_parsing": "must be true or false",
    "int_parsing": "must be a whole number",
    "float_parsing": "must be a number",
}


def _sentence(error: object) -> str:
    """One mistake as one sentence that names the setting to change."""
    assert isinstance(error, dict)  # noqa: S101 - pydantic's ErrorDetails is a TypedDict
    name = str(error["loc"][0]).upper() if error["loc"] else ""
    message = str(error["msg"]).removeprefix("Value error, ").removeprefix("Input ")
    message = _WORDS.get(error["type"], _shown(message))
    if error["type"] == "missing":
        field = WorkerSettings.model_fields.get(name.lower())
        what = f": {field.description}" if field and field.description else ""
        sentence = f"{name} is not set{what}. Set it in the environment or in .env"
        if not HAS_MAKEFILE:
            return f"{sentence}."
        return f"{sentence} (see .env.example); `make sandbox` writes a .env for trying things out."
    return f"{name} {message}." if name else f"{message}."


def _shown(text: str) -> str:
    """A part of a sentence, which may repeat what was set."""
    return escaped(text if len(text) <= _LONGEST else f"{text[:_LONGEST]}…")
