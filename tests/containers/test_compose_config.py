"""Docker Compose accepts docker-compose.yml. Skipped where there is none; no engine is needed."""

from __future__ import annotations

import pytest

from settings import WorkerSettings
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
def test_the_worker_accepts_what_it_is_given(
    arguments: tuple[str, ...], env: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in resolved(*arguments, env=env)["worker"]["environment"].items():
        monkeypatch.setenv(name, value)
    monkeypatch.chdir("/")  # where there is no .env
    WorkerSettings.load()
