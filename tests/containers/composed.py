"""The compose file as this repository has it, and Docker Compose where there is one."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml
from dotenv import dotenv_values

ROOT = Path(__file__).resolve().parents[2]
COMPOSE: dict[str, Any] = yaml.safe_load((ROOT / "docker-compose.yml").read_text())
SERVICES: dict[str, dict[str, Any]] = COMPOSE["services"]
SANDBOX = {
    name: value or "" for name, value in dotenv_values(ROOT / "sandbox" / "compose.env").items()
}
#: What somebody with real accounts would have in .env.
OWN_KEYS = {
    "POSTGRES_PASSWORD": "correcthorse",
    "STRIPE_API_KEY": "sk_test_51",
    "RESEND_API_KEY": "re_123",
    "MAIL_FROM": "Shop <orders@example.com>",
    "FULFILLMENT_URL": "https://warehouse.example.com/api",
    "FULFILLMENT_API_KEY": "k",
}


def compose_command() -> list[str]:
    """Docker Compose, as a plugin or by itself; skips the test when there is neither."""
    if found := shutil.which("docker-compose"):
        return [found]
    docker = shutil.which("docker")
    if docker is None or run([docker, "compose", "version"], env={}).returncode:
        pytest.skip("there is no Docker Compose here")
    return [docker, "compose"]


def run(
    command: list[str], *, env: dict[str, str], cwd: Path = ROOT
) -> subprocess.CompletedProcess[str]:
    """Run this with these variables alone, to its end."""
    return subprocess.run(
        command, check=False, env=env, cwd=cwd, capture_output=True, text=True, timeout=60
    )


def run_compose(*arguments: str, env: dict[str, str]) -> subprocess.CompletedProcess[str]:
    """Docker Compose on our file with these variables, and no `.env`."""
    command = [*compose_command(), "--project-directory", str(ROOT)]
    if "--env-file" not in arguments:
        command += ["--env-file", os.devnull]
    kept = {name: os.environ[name] for name in ("PATH", "HOME") if name in os.environ}
    return run([*command, *arguments], env=kept | env)


def resolved(*arguments: str, env: dict[str, str]) -> dict[str, dict[str, Any]]:
    """The services as Docker Compose understands them."""
    done = run_compose(*arguments, "config", "--format", "json", env=env)
    assert done.returncode == 0, done.stderr
    services: dict[str, dict[str, Any]] = json.loads(done.stdout)["services"]
    return services
