"""Docker Compose accepts docker-compose.yml. Skipped where there is none; no engine is needed."""

from __future__ import annotations

import pytest
from pydantic_settings import BaseSettings

from durable_orders.settings import ApiSettings, CardSettings, WorkerSettings
from tests.containers.composed import OWN_KEYS, ROOT, resolved, run_compose

SANDBOX_FILE = ("--env-file", str(ROOT / "sandbox" / "compose.env"))


def test_with_own_keys_there_is_no_stand_in() -> None:
    services = resolved(env=OWN_KEYS)
    assert services.keys().isdisjoint({"world", "seed"})
    worker = services["worker"]["environment"]
    assert worker["STRIPE_API_BASE"] == "https://api.stripe.com"
    assert worker["STRIPE_API_KEY"] == OWN_KEYS["STRIPE_API_KEY"]


def test_without_keys_there_is_one() -> None:
    services = resolved(*SANDBOX_FILE, env={})
    assert {"world", "seed"} <= services.keys()
    assert services["worker"]["environment"]["STRIPE_API_BASE"] == "http://world:8030"


@pytest.mark.parametrize("missing", sorted(OWN_KEYS))
def test_a_key_that_is_missing_is_named(missing: str) -> None:
    kept = {name: value for name, value in OWN_KEYS.items() if name != missing}
    done = run_compose("config", "--quiet", env=kept)
    assert done.returncode != 0
    assert missing in done.stderr
    assert "see .env.example" in done.stderr


@pytest.mark.parametrize(("arguments", "env"), [((), OWN_KEYS), (SANDBOX_FILE, {})])
@pytest.mark.parametrize(
    ("service", "settings"),
    [("worker", WorkerSettings), ("api", ApiSettings), ("api", CardSettings)],
)
def test_a_process_accepts_what_it_is_given(
    service: str,
    settings: type[BaseSettings],
    arguments: tuple[str, ...],
    env: dict[str, str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for name, value in resolved(*arguments, env=env)[service]["environment"].items():
        if value is not None:  # not set at all
            monkeypatch.setenv(name, value)
    monkeypatch.chdir("/")  # where there is no .env
    settings()


@pytest.mark.parametrize(
    "secret", ["STRIPE_WEBHOOK_SECRET", "RESEND_WEBHOOK_SECRET", "FULFILLMENT_WEBHOOK_SECRET"]
)
def test_a_webhook_secret_reaches_the_edge_when_it_is_set(secret: str) -> None:
    without = resolved(env=OWN_KEYS)["api"]["environment"]
    assert without[secret] is None
    given = resolved(env=OWN_KEYS | {secret: "whsec_x"})["api"]["environment"]
    assert given[secret] == "whsec_x"


def test_the_base_of_the_images_and_every_other_image_can_be_set() -> None:
    chosen = {
        "PYTHON_IMAGE": "registry.example/python:3.11@sha256:" + "0" * 64,
        "POSTGRES_IMAGE": "registry.example/postgres:18.6",
        "TEMPORAL_SERVER_IMAGE": "registry.example/server:1",
        "TEMPORAL_TOOLS_IMAGE": "registry.example/tools:1",
        "TEMPORAL_UI_IMAGE": "registry.example/ui:1",
        "IMAGE": "registry.example/durable-orders",
        "IMAGE_TAG": "2026-12-01",
    }
    services = resolved(*SANDBOX_FILE, env=chosen)
    assert {
        service["build"]["args"]["PYTHON"] for service in services.values() if "build" in service
    } == {chosen["PYTHON_IMAGE"]}
    assert {name for name, one in services.items() if "registry.example" in one["image"]} == set(
        services
    )
    assert services["worker"]["image"] == "registry.example/durable-orders:2026-12-01"
