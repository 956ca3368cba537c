"""The services of docker-compose.yml, brought up by Compose from a copy of this checkout."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import Any, Final

import httpx

from sandbox.ports import HOST, free_port
from tests.containers.composed import ROOT, compose_command
from tests.containers.images import is_stand_in

#: What an image is built from, and what a machine that runs the services has.
_PARTS: Final = (
    *("Dockerfile", ".dockerignore", "docker-compose.yml", "requirements/app.txt"),
    *("activities", "durable_orders", "sandbox", "workflows", "worker.py", "client.py", "api.py"),
    *("deploy", "tests/containers/stand_ins", "tests/containers/old_engine.yml"),
)
#: The engine's interface from which on it knows `start_interval`.
_NEW_ENGINE: Final = (1, 44)


def two_free_ports() -> int:
    while True:
        first = free_port()
        with httpx.Client() as client:
            try:
                client.get(f"http://{HOST}:{first + 1}", timeout=0.2)
            except httpx.ConnectError:
                return first
            except httpx.HTTPError:
                continue


@dataclass(frozen=True)
class Away:
    """Whether the API answered while something else was done."""

    asked: int
    failed: int
    longest_seconds: float


@dataclass
class Stack:
    """One Compose project with images, ports and secrets of its own."""

    checkout: Path
    secrets: Path
    project: str = field(default_factory=lambda: f"orders-tests-{os.getpid()}")
    first_port: int = field(default_factory=two_free_ports)
    ui_port: int = field(default_factory=free_port)
    world_port: int = field(default_factory=free_port)
    #: More variables for Compose.
    settings: dict[str, str] = field(default_factory=dict)

    @property
    def world_url(self) -> str:
        return f"http://{HOST}:{self.world_port}"

    @property
    def environment(self) -> dict[str, str]:
        overlays = ["docker-compose.yml"]
        if is_stand_in("temporal"):
            overlays.append("tests/containers/stand_ins/compose.yml")
        if _engine_interface() < _NEW_ENGINE:
            overlays.append("tests/containers/old_engine.yml")
        return os.environ | {
            "COMPOSE": " ".join(compose_command()),
            "COMPOSE_FILE": ":".join(overlays),
            "COMPOSE_ENV_FILES": "sandbox/compose.env",
            "COMPOSE_PROJECT_NAME": self.project,
            "COMPOSE_ANSI": "never",
            "COMPOSE_PROGRESS": "quiet",
            "IMAGE": self.project,
            "SECRETS": str(self.secrets),
            "API_PORT": f"{self.first_port}-{self.first_port + 1}",
            "TEMPORAL_UI_PORT": str(self.ui_port),
            "SANDBOX_WORLD_PORT": str(self.world_port),
            **self.settings,
        }

    def run(
        self,
        *command: str,
        check: bool = True,
        limit: float = 400,
        settings: Mapping[str, str] = MappingProxyType({}),
    ) -> subprocess.CompletedProcess[str]:
        """Run a command in the checkout, with the variables that Compose reads."""
        done = subprocess.run(
            command,
            check=False,
            cwd=self.checkout,
            env=self.environment | dict(settings),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=limit,
        )
        if check:
            assert done.returncode == 0, f"{command}: {done.stdout[-4000:]}{done.stderr[-4000:]}"
        return done

    def compose(self, *arguments: str, **how: Any) -> subprocess.CompletedProcess[str]:
        return self.run(*compose_command(), *arguments, **how)

    def up(self, *arguments: str, **how: Any) -> subprocess.CompletedProcess[str]:
        return self.compose("up", "--detach", "--wait", "--wait-timeout", "180", *arguments, **how)

    def client(self, *arguments: str) -> str:
        """What our command line says, run in a worker's container."""
        return self.compose("exec", "-T", "worker", "python", "client.py", *arguments).stdout

    def sql(self, statement: str, *, database: str = "orders") -> str:
        psql = ("psql", "--username", "postgres", "--no-align", "--tuples-only")
        return self.compose(
            "exec", "-T", "postgres", *psql, "--dbname", database, "--command", statement
        ).stdout.strip()

    def containers(self, service: str) -> list[str]:
        """The ids of the service's running containers."""
        listed = self.compose("ps", "--quiet", "--status", "running", service).stdout
        return sorted(listed.split())

    def inspected(self, container: str) -> dict[str, Any]:
        [found] = json.loads(self.run("docker", "inspect", container).stdout)
        assert isinstance(found, dict)
        return found

    def healthy(self, service: str) -> int:
        """How many of the service's containers are healthy."""
        label = f"label=com.docker.compose.project={self.project}"
        of_service = f"label=com.docker.compose.service={service}"
        command = ("docker", "ps", "--quiet", "--filter", label, "--filter", of_service)
        return len(self.run(*command, "--filter", "health=healthy").stdout.split())

    def image_id(self) -> str:
        """The image that our services are started from."""
        command = ("docker", "image", "inspect", "--format", "{{.Id}}", f"{self.project}:latest")
        return self.run(*command).stdout.strip()

    @contextmanager
    def http(self, token: str) -> Iterator[httpx.Client]:
        """The API, at whichever port of its range answers."""
        with httpx.Client(headers={"Authorization": f"Bearer {token}"}, timeout=30) as client:
            client.base_url = self._answering()
            yield client

    def _answering(self) -> str:
        for port in (self.first_port, self.first_port + 1):
            if _is_ready(port):
                return f"http://{HOST}:{port}"
        raise AssertionError("no API answers")

    @contextmanager
    def changed(self, name: str, text: str) -> Iterator[None]:
        """Another version of the code: this file of the checkout has this text meanwhile."""
        file = self.checkout / name
        before = file.read_text() if file.exists() else None
        file.write_text(text)
        try:
            yield
        finally:
            if before is None:
                file.unlink()
            else:
                file.write_text(before)

    def remove(self) -> None:
        """Remove its containers, volumes, networks and images."""
        self.compose("down", "--volumes", "--remove-orphans", "--timeout", "10", check=False)
        listed = self.run("docker", "images", "--quiet", f"{self.project}*").stdout.split()
        if listed:
            self.run("docker", "rmi", "--force", *set(listed), check=False)


class Watch:
    """Asks the API all the time, as a proxy with both ports does; and counts healthy workers."""

    def __init__(self, stack: Stack) -> None:
        self._stack = stack
        self._ended = threading.Event()
        self._threads = [
            threading.Thread(target=self._ask),
            threading.Thread(target=self._count),
        ]
        self.fewest_workers = 99
        self._asked = self._failed = 0
        self._longest = 0.0

    def __enter__(self) -> Watch:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        for thread in self._threads:
            thread.join()

    @property
    def away(self) -> Away:
        return Away(self._asked, self._failed, round(self._longest, 2))

    def _ask(self) -> None:
        answered = time.monotonic()
        while not self._ended.wait(0.05):
            self._asked += 1
            if any(_is_ready(self._stack.first_port + more) for more in (0, 1)):
                answered = time.monotonic()
            else:
                self._failed += 1
                self._longest = max(self._longest, time.monotonic() - answered)

    def _count(self) -> None:
        while not self._ended.wait(0.2):
            self.fewest_workers = min(self.fewest_workers, self._stack.healthy("worker"))


def copy_checkout(to: Path) -> Path:
    """What an image is built from, to be changed by a test."""
    for name in _PARTS:
        found, copy = ROOT / name, to / name
        copy.parent.mkdir(parents=True, exist_ok=True)
        if found.is_dir():
            shutil.copytree(found, copy, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy(found, copy)
    return to


def _engine_interface() -> tuple[int, ...]:
    command = ["docker", "version", "--format", "{{.Server.APIVersion}}"]
    said = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    return tuple(map(int, said.strip().split(".")))


def _is_ready(port: int) -> bool:
    try:
        return httpx.get(f"http://{HOST}:{port}/readyz", timeout=10).status_code == 200
    except httpx.TransportError:
        return False
