"""Settings are refused with a sentence per mistake."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

import pytest
from sqlalchemy import make_url
from temporalio.service import TLSConfig

from durable_orders.api.server import event_readers
from durable_orders.domain.refunds.messages import ShopRefundTerms
from durable_orders.domain.terms import (
    CaptureMethod,
    DisputePolicy,
    FraudWarningPolicy,
    ShopTerms,
)
from durable_orders.domain.webhooks import WebhookSource
from durable_orders.settings import (
    ApiSettings,
    CardSettings,
    SettingsError,
    WorkerSettings,
    temporal_profile,
)
from sandbox.env_file import settings as sandbox_settings

GOOD = {
    "DATABASE_URL": "postgresql://orders:secret@localhost/orders",
    "STRIPE_API_KEY": "sk_test_123",
    "RESEND_API_KEY": "re_123",
    "MAIL_FROM": "Shop <orders@example.com>",
    "FULFILLMENT_URL": "https://warehouse.example.com/api/",
    "FULFILLMENT_API_KEY": "key",
}


@pytest.fixture(autouse=True)
def _only_these(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """No .env of this checkout, no variable of this machine."""
    monkeypatch.chdir(tmp_path)
    for name in WorkerSettings.model_fields.keys() | ApiSettings.model_fields.keys():
        monkeypatch.delenv(name.upper(), raising=False)
    for name, value in GOOD.items():
        monkeypatch.setenv(name, value)


def mistakes() -> list[str]:
    with pytest.raises(SettingsError) as refused:
        WorkerSettings.load()
    return str(refused.value).splitlines()


def test_good_settings_are_read_with_stripe_and_resend_themselves_as_defaults() -> None:
    settings = WorkerSettings.load()
    assert settings.stripe_api_base == "https://api.stripe.com"
    assert settings.resend_api_url == "https://api.resend.com"
    assert settings.fulfillment_url == "https://warehouse.example.com/api"


def test_secrets_hide_themselves() -> None:
    shown = repr(WorkerSettings.load())
    assert "sk_test_123" not in shown
    assert "secret@" not in shown


def test_every_missing_setting_gets_a_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in GOOD:
        monkeypatch.delenv(name)
    sentences = mistakes()
    assert len(sentences) == len(GOOD)
    for name, sentence in zip(sorted(GOOD), sorted(sentences), strict=True):
        assert sentence.startswith(f"{name} is not set")


@pytest.mark.parametrize(
    ("name", "value", "complaint"),
    [
        ("STRIPE_API_KEY", "", "STRIPE_API_KEY must not be empty."),
        ("STRIPE_API_KEY", "pk_test_1", "STRIPE_API_KEY must be a secret or restricted key"),
        ("STRIPE_API_KEY", "sk_test_...", "STRIPE_API_KEY is still the placeholder of"),
        ("RESEND_API_KEY", "re_...", "RESEND_API_KEY is still the placeholder of .env.example"),
        ("FULFILLMENT_API_KEY", "...", "FULFILLMENT_API_KEY is still the placeholder of"),
        ("RESEND_API_KEY", "123", "RESEND_API_KEY must start with re_"),
        ("DATABASE_URL", "mysql://x", "DATABASE_URL must be postgresql://"),
        ("FULFILLMENT_URL", "warehouse", "FULFILLMENT_URL must be an http:// or https:// address"),
        ("MAIL_FROM", "Shop", "MAIL_FROM must hold an address"),
        ("DATABASE_POOL_SIZE", "0", "DATABASE_POOL_SIZE"),
        ("LOG_LEVEL", "loud", "LOG_LEVEL should be 'DEBUG', 'INFO'"),
        ("APPROVAL_ABOVE", "500", "APPROVAL_ABOVE must be like EUR=500.00,JPY=60000: '500' is"),
        ("APPROVAL_ABOVE", "EUR=5,00", "APPROVAL_ABOVE must be like EUR=500.00,JPY=60000: '00' is"),
        ("APPROVAL_ABOVE", '{"EUR": 5}', "APPROVAL_ABOVE must be like EUR=500.00,JPY=60000:"),
        ("APPROVAL_TIMEOUT_HOURS", "0", "APPROVAL_TIMEOUT_HOURS should be greater than 0."),
        ("APPROVAL_TIMEOUT_HOURS", "a day", "APPROVAL_TIMEOUT_HOURS must be a number."),
        ("APPROVAL_FOUR_EYES", "maybe", "APPROVAL_FOUR_EYES must be true or false."),
        ("MAX_CARD_TRIES", "five", "MAX_CARD_TRIES must be a whole number."),
        ("PAYMENT_TIMEOUT_MINUTES", "-1", "PAYMENT_TIMEOUT_MINUTES should be greater than 0."),
        ("PAYMENT_TIMEOUT_MINUTES", "nan", "PAYMENT_TIMEOUT_MINUTES should be"),
        ("PAYMENT_TIMEOUT_MINUTES", "inf", "PAYMENT_TIMEOUT_MINUTES should be less than"),
        (
            "NEW_CARD_WINDOW_MINUTES",
            "-1",
            "NEW_CARD_WINDOW_MINUTES should be greater than or equal",
        ),
        ("DELIVERY_DEADLINE_DAYS", "366", "DELIVERY_DEADLINE_DAYS should be less than or equal"),
        ("CAPTURE", "later", "CAPTURE should be 'at_checkout' or 'at_fulfillment'."),
        *(
            ("PAYMENT_URL", url, "PAYMENT_URL must be an http:// or https:// address, with")
            for url in ("shop.example/{order_id}", "ftp://shop.example/{order_id}", "/{order_id}")
        ),
        ("PAYMENT_URL", "https://shop.example/ {order_id}", "PAYMENT_URL must be an http://"),
        *(
            ("PAYMENT_URL", f"https://{rest}", "PAYMENT_URL must have {order_id} in it once")
            for rest in (
                "shop.example/pay",
                "shop.example/{order}",
                "shop.example/{order_id}/{order_id}",
                "shop.example/{order_id}/{name}",
                "shop.example/{order_id}}",
                "shop.example/{{order_id}}",
                "{order_id}.shop.example/",
            )
        ),
        ("WORKER_HEALTH_FILE", "/", "WORKER_HEALTH_FILE must be a file in a directory that exists"),
        ("WORKER_HEALTH_FILE", "/no/such/file", "WORKER_HEALTH_FILE must be a file in a directory"),
        ("ON_DISPUTE", "refund", "ON_DISPUTE should be 'hold' or 'stop'."),
        ("ON_DISPUTE", "", "ON_DISPUTE should be 'hold' or 'stop'."),
        ("ON_FRAUD_WARNING", "stop", "ON_FRAUD_WARNING should be 'show' or 'refund'."),
        ("APPROVER_EMAIL", "Grace", "APPROVER_EMAIL must be a mail address"),
        ("APPROVER_EMAIL", "Grace <g@example.com>", "APPROVER_EMAIL must be a mail address"),
    ],
)
def test_a_wrong_setting_is_named(
    monkeypatch: pytest.MonkeyPatch, name: str, value: str, complaint: str
) -> None:
    monkeypatch.setenv(name, value)
    [sentence] = mistakes()
    assert sentence.startswith(complaint)


def test_refunds_above_a_limit_wait_for_a_person(monkeypatch: pytest.MonkeyPatch) -> None:
    assert WorkerSettings.load().refund_terms() == ShopRefundTerms()
    monkeypatch.setenv("REFUND_APPROVAL_ABOVE", "EUR=200.00")
    monkeypatch.setenv("REFUND_APPROVAL_TIMEOUT_HOURS", "12")
    expected = ShopRefundTerms({"EUR": 200_00}, timedelta(hours=12), four_eyes=True)
    assert WorkerSettings.load().refund_terms() == expected


@pytest.mark.parametrize(
    ("limits", "setting", "orders", "refunds"),
    [
        ({}, None, False, False),
        ({}, "true", True, True),
        ({"APPROVAL_ABOVE": "EUR=1.00"}, None, True, False),
        ({"REFUND_APPROVAL_ABOVE": "EUR=1.00"}, None, False, True),
        ({"APPROVAL_ABOVE": "EUR=1.00", "REFUND_APPROVAL_ABOVE": "EUR=1.00"}, "no", False, False),
    ],
)
def test_four_eyes_are_wanted_where_there_is_a_limit_unless_it_is_set(
    monkeypatch: pytest.MonkeyPatch,
    limits: dict[str, str],
    setting: str | None,
    *,
    orders: bool,
    refunds: bool,
) -> None:
    for name, value in {**limits, "APPROVAL_FOUR_EYES": setting or ""}.items():
        monkeypatch.setenv(name, value)
    settings = WorkerSettings.load()
    assert settings.shop_terms().four_eyes is orders
    assert settings.refund_terms().four_eyes is refunds


def test_without_settings_of_its_own_a_shop_asks_nobody_and_charges_at_once() -> None:
    settings = WorkerSettings.load()
    assert settings.shop_terms() == ShopTerms()
    assert settings.approver_email is None


def test_a_shop_sets_its_terms(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in {
        "APPROVAL_ABOVE": "EUR=500.00, JPY=60000",
        "APPROVAL_TIMEOUT_HOURS": "48",
        "APPROVER_EMAIL": " approvals@example.com ",
        "PAYMENT_TIMEOUT_MINUTES": "0.5",
        "NEW_CARD_WINDOW_MINUTES": "15",
        "MAX_CARD_TRIES": "3",
        "PAYMENT_URL": " https://shop.example/orders/{order_id}?pay=1#card ",
        "CAPTURE": "at_fulfillment",
        "ON_DISPUTE": "stop",
        "ON_FRAUD_WARNING": "refund",
        "DELIVERY_DEADLINE_DAYS": "10",
    }.items():
        monkeypatch.setenv(name, value)
    settings = WorkerSettings.load()
    assert settings.approver_email == "approvals@example.com"
    assert settings.shop_terms() == ShopTerms(
        approval_above={"EUR": 500_00, "JPY": 60_000},
        four_eyes=True,
        approval_timeout=timedelta(days=2),
        payment_timeout=timedelta(seconds=30),
        new_card_window=timedelta(minutes=15),
        max_card_tries=3,
        payment_url="https://shop.example/orders/{order_id}?pay=1#card",
        capture=CaptureMethod.AT_FULFILLMENT,
        on_dispute=DisputePolicy.STOP,
        on_fraud_warning=FraudWarningPolicy.REFUND,
        delivery_deadline=timedelta(days=10),
    )


@pytest.mark.parametrize(
    "name", ["APPROVAL_ABOVE", "APPROVAL_FOUR_EYES", "APPROVER_EMAIL", "PAYMENT_URL"]
)
def test_an_empty_term_is_none(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.setenv(name, "")
    settings = WorkerSettings.load()
    assert settings.shop_terms() == ShopTerms()
    assert settings.approver_email is None


def test_a_live_key_is_only_ever_sent_to_stripe(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("STRIPE_API_KEY", "sk_live_123")
    assert WorkerSettings.load().stripe_api_base == "https://api.stripe.com"
    monkeypatch.setenv("STRIPE_API_BASE", "http://localhost:8300")
    [sentence] = mistakes()
    assert "a live key is only ever sent to Stripe" in sentence
    assert "sk_live_123" not in sentence


def test_a_process_beside_the_workers_needs_no_stripe_key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("STRIPE_API_KEY")
    assert CardSettings.load().stripe_api_key is None
    monkeypatch.setenv("STRIPE_API_KEY", " ")
    assert CardSettings.load().stripe_api_key is None


def test_a_process_beside_the_workers_guards_a_key_as_they_do(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    assert CardSettings.load().stripe_api_key is not None
    monkeypatch.setenv("STRIPE_API_KEY", "pk_test_123")
    with pytest.raises(SettingsError, match="must be a secret or restricted key"):
        CardSettings.load()
    monkeypatch.setenv("STRIPE_API_KEY", "sk_live_123")
    monkeypatch.setenv("STRIPE_API_BASE", "http://localhost:8300")
    with pytest.raises(SettingsError, match="only ever sent to Stripe"):
        CardSettings.load()


WAREHOUSE_SENTENCE = "must be whsec_ and the base64 of 24 to 64 random bytes, which you share with"
SECRETS = {
    "STRIPE_WEBHOOK_SECRET": "whsec_0123456789abcdef",
    "FULFILLMENT_WEBHOOK_SECRET": "whsec_MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3",
    "RESEND_WEBHOOK_SECRET": "whsec_MDEyMzQ1Njc4OWFiY2RlZg==",
}


def test_neighbours_without_a_secret_are_not_listened_to(monkeypatch: pytest.MonkeyPatch) -> None:
    assert event_readers(ApiSettings.load()) == {}
    for name, value in SECRETS.items():
        monkeypatch.setenv(name, value)
    assert set(event_readers(ApiSettings.load())) == set(WebhookSource)
    assert "0123456789" not in repr(ApiSettings.load())


@pytest.mark.parametrize(
    ("name", "value", "complaint"),
    [
        *((name, value, "must not be empty.") for name in SECRETS for value in ("", "  ")),
        ("STRIPE_WEBHOOK_SECRET", "sk_test_0123456789abcdef", "must be the signing secret of the"),
        ("STRIPE_WEBHOOK_SECRET", "whsec_", "must have 16 characters at least."),
        ("FULFILLMENT_WEBHOOK_SECRET", "0123456789abcdef0123456789abcdef", WAREHOUSE_SENTENCE),
        ("FULFILLMENT_WEBHOOK_SECRET", "MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3", WAREHOUSE_SENTENCE),
        ("FULFILLMENT_WEBHOOK_SECRET", "whsec_", WAREHOUSE_SENTENCE),
        ("FULFILLMENT_WEBHOOK_SECRET", "whsec_not base64, and long enough!!", WAREHOUSE_SENTENCE),
        ("FULFILLMENT_WEBHOOK_SECRET", "whsec_MDEyMzQ1Njc4OWFiY2RlZg==", WAREHOUSE_SENTENCE),
        ("FULFILLMENT_WEBHOOK_SECRET", f"whsec_{'A' * 88}", WAREHOUSE_SENTENCE),  # 66 bytes
        ("FULFILLMENT_WEBHOOK_SECRET", "whsk_MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3", WAREHOUSE_SENTENCE),
        ("RESEND_WEBHOOK_SECRET", "whsec_", "must be the signing secret of the webhook endpoint"),
        ("RESEND_WEBHOOK_SECRET", "whsec_!!!!!!!!!!!!!!!!!!!", "must be the signing secret of the"),
        ("RESEND_WEBHOOK_SECRET", "MDEyMzQ1Njc4OWFiY2RlZg==", "must be the signing secret of the"),
        ("RESEND_WEBHOOK_SECRET", "whsec_MDEyMzQ1Njc4OWFi", "must be the signing secret of the"),
    ],
)
def test_an_empty_or_weak_webhook_secret_is_refused(
    monkeypatch: pytest.MonkeyPatch, name: str, value: str, complaint: str
) -> None:
    monkeypatch.setenv(name, value)
    with pytest.raises(SettingsError, match=f"^{name} {complaint}"):
        ApiSettings.load()


@pytest.mark.parametrize(
    "key",
    [
        "A" * 32,  # 24 bytes
        "MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY=",
        "MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY",  # the library takes it without padding
        "+/+/" * 21,  # 63 bytes
    ],
)
def test_a_warehouses_secret_is_as_standard_webhooks_has_it(
    monkeypatch: pytest.MonkeyPatch, key: str
) -> None:
    monkeypatch.setenv("FULFILLMENT_WEBHOOK_SECRET", f"whsec_{key}")
    assert WebhookSource.WAREHOUSE in event_readers(ApiSettings.load())


def test_the_sandboxs_webhook_secrets_are_such_as_the_edge_takes(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    nowhere = dict.fromkeys(("temporal_address", "namespace", "ui_url", "stand_in_url"), "")
    written = sandbox_settings(database_url="postgresql://localhost/orders", **nowhere)
    for name in SECRETS:
        monkeypatch.setenv(name, written[name])
    assert set(event_readers(ApiSettings.load())) == set(WebhookSource)


def test_temporal_is_found_through_the_env_file_too(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.delenv("TEMPORAL_ADDRESS", raising=False)
    (tmp_path / ".env").write_text("TEMPORAL_ADDRESS=temporal.example.com:7233\n")
    assert temporal_profile().address == "temporal.example.com:7233"
    monkeypatch.setenv("TEMPORAL_ADDRESS", "elsewhere:7233")
    assert temporal_profile().address == "elsewhere:7233"


def test_a_certificate_for_temporal_is_used(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, text in (("CLIENT_CERT", "ours"), ("CLIENT_KEY", "secret"), ("SERVER_CA_CERT", "ca")):
        (tmp_path / name).write_text(text)
        monkeypatch.setenv(f"TEMPORAL_TLS_{name}_PATH", str(tmp_path / name))
    tls = temporal_profile().to_client_connect_config()["tls"]
    assert isinstance(tls, TLSConfig)
    assert (tls.client_cert, tls.client_private_key) == (b"ours", b"secret")
    assert tls.server_root_ca_cert == b"ca"


def test_by_default_the_edge_is_for_this_machine_and_no_other_origin() -> None:
    settings = ApiSettings.load()
    assert settings.api_host == "127.0.0.1"
    assert (settings.api_allowed_origins, settings.api_trusted_proxies) == ((), "127.0.0.1")


def test_proxies_and_hosts_are_written_with_commas_between(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("API_TRUSTED_PROXIES", "10.0.0.7, 10.1.0.0/16,::1, 10.2.0.5/16")
    monkeypatch.setenv("API_ALLOWED_HOSTS", " Shop.example, [::1]")
    settings = ApiSettings.load()
    assert settings.api_trusted_proxies == "10.0.0.7,10.1.0.0/16,::1,10.2.0.0/16"
    assert settings.api_allowed_hosts == ("shop.example", "[::1]")


def test_origins_are_written_with_commas_between(monkeypatch: pytest.MonkeyPatch) -> None:
    origins = ("https://shop.example", "http://localhost:3000")
    monkeypatch.setenv("API_ALLOWED_ORIGINS", " , ".join(origins))
    assert ApiSettings.load().api_allowed_origins == origins
    monkeypatch.setenv("API_ALLOWED_ORIGINS", "")
    assert ApiSettings.load().api_allowed_origins == ()


@pytest.mark.parametrize(
    ("name", "value", "sentence"),
    [
        ("API_ALLOWED_ORIGINS", "*", "must be like https://shop.example, with commas between: '*'"),
        ("API_ALLOWED_ORIGINS", "https://a.example/page", "must be like https://shop.example"),
        ("API_TRUSTED_PROXIES", "*", "'*' is neither"),
        ("API_TRUSTED_PROXIES", "10.0.0.1,garbage", "'garbage' is neither"),
        ("API_TRUSTED_PROXIES", "10.0.0.0/99", "'10.0.0.0/99' is neither"),
        ("API_ALLOWED_HOSTS", "https://shop.example", "must be host names without ports"),
        ("API_TRUSTED_PROXIES", "10.0.0.1,0.0.0.0/0", "'0.0.0.0/0' is neither"),
        ("API_TRUSTED_PROXIES", "::/0", "'::/0' is neither"),
        ("API_ALLOWED_HOSTS", "*", "must be host names"),
        ("API_ALLOWED_HOSTS", "shop.example:8080", "must be host names without ports"),
        ("API_ALLOWED_HOSTS", "[::1]:8080", "must be host names without ports"),
        ("API_MAX_CONNECTIONS", "0", "API_MAX_CONNECTIONS"),
        ("API_RATE_PER_MINUTE", "0", "API_RATE_PER_MINUTE"),
        ("API_MAX_BODY_BYTES", "7", "API_MAX_BODY_BYTES"),
    ],
)
def test_what_the_edge_cannot_do_is_refused(
    monkeypatch: pytest.MonkeyPatch, name: str, value: str, sentence: str
) -> None:
    monkeypatch.setenv(name, value)
    with pytest.raises(SettingsError) as refused:
        ApiSettings.load()
    assert str(refused.value).startswith(name)
    assert sentence in str(refused.value)


@pytest.mark.parametrize(
    ("url", "password", "complete"),
    [
        ("postgresql://orders@db/orders", "s3cret", "postgresql://orders:s3cret@db/orders"),
        (
            "postgresql://orders@a:1,b:2/x?sslmode=require",
            "p",
            "postgresql://orders:p@a:1,b:2/x?sslmode=require",
        ),
        (
            "postgresql://orders@db/orders",
            "a/b@c:d?#%",
            "postgresql://orders:a%2Fb%40c%3Ad%3F%23%25@db/orders",
        ),
        ("postgresql://orders@db/orders", " s3cret\n", "postgresql://orders:s3cret@db/orders"),
        ("postgresql://orders:own@db/orders", "", "postgresql://orders:own@db/orders"),
    ],
)
def test_a_password_completes_an_address_that_has_none(
    url: str, password: str, complete: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DATABASE_URL", url)
    monkeypatch.setenv("DATABASE_PASSWORD", password)
    for settings in (WorkerSettings.load(), ApiSettings.load()):
        assert settings.database_url.get_secret_value() == complete
        assert "s3cret" not in repr(settings)


def test_a_password_may_have_any_characters(monkeypatch: pytest.MonkeyPatch) -> None:
    password = "a/b@c:d?#%[é "
    monkeypatch.setenv("DATABASE_URL", "postgresql://orders@db/orders")
    monkeypatch.setenv("DATABASE_PASSWORD", password)
    url = make_url(WorkerSettings.load().database_url.get_secret_value())
    assert (url.password, url.host, url.database) == (password.strip(), "db", "orders")


@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("postgresql://orders:own@db/orders", "keep one"),
        ("postgresql://db/orders", "names no user"),
        ("postgresql:///orders?host=/tmp", "names no user"),
    ],
)
def test_a_password_that_belongs_to_no_user_or_is_a_second_one_is_refused(
    url: str, said: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DATABASE_URL", url)
    monkeypatch.setenv("DATABASE_PASSWORD", "s3cret")
    [mistake] = mistakes()
    assert said in mistake
    assert "s3cret" not in mistake


def test_a_setting_may_be_a_file_among_the_secrets(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("DATABASE_URL", "postgresql://orders@db/orders")
    monkeypatch.delenv("STRIPE_API_KEY")
    (tmp_path / "database_password").write_text("s3cret\n")
    (tmp_path / "stripe_api_key").write_text("sk_test_file\n")
    settings = WorkerSettings(_secrets_dir=tmp_path)  # type: ignore[call-arg]
    assert settings.stripe_api_key.get_secret_value() == "sk_test_file"
    assert settings.database_url.get_secret_value() == "postgresql://orders:s3cret@db/orders"
