"""The compose file as this repository has it, and Docker Compose where there is one."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sysconfig
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
    "STRIPE_API_KEY": "sk_test_51",
    "RESEND_API_KEY": "re_123",
    "MAIL_FROM": "Shop <orders@example.com>",
    "FULFILLMENT_URL": "https://warehouse.example.com/api",
    "FULFILLMENT_API_KEY": "k",
}


def image_of(service: str) -> str:
    """The image of a service, with what the environment says instead of its default."""
    found = re.fullmatch(r"\$\{(\w+):-(.+)\}", SERVICES[service]["image"])
    assert found, "an image's name can be set"
    return os.environ.get(found[1], found[2])


def compose_binary() -> str | None:
    """Docker Compose as a program by itself, from the virtual environment or else on the PATH."""
    scripts = sysconfig.get_path("scripts")
    return shutil.which("docker-compose", path=scripts) or shutil.which("docker-compose")


def compose_command() -> list[str]:
    """Docker Compose, by itself or as a plugin; skips the test when there is neither."""
    if found := compose_binary():
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
