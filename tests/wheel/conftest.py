"""The package, built and installed into fresh environments, as an application installs it."""

from __future__ import annotations

import asyncio
import json
import os
import re
import shutil
import subprocess
import sys
import sysconfig
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import pytest

from demo.worker_process import process_environment
from tests.support.shop_with_store import shop

__all__ = ["shop"]

ROOT: Final = Path(__file__).resolve().parents[2]
PROGRAMS: Final = Path(__file__).parent / "programs"
UV: Final = shutil.which("uv", path=sysconfig.get_path("scripts"))


def locked() -> dict[str, str]:
    """The exact versions of requirements/app.txt, with a marker behind some, by their names."""
    lines = (ROOT / "requirements" / "app.txt").read_text().splitlines()
    entries = [line.removesuffix(" \\") for line in lines if re.match(r"[a-z0-9]", line)]
    return {entry.partition("==")[0]: entry.partition("==")[2] for entry in entries}


@dataclass(frozen=True)
class Environment:
    """A virtual environment with the package; ``home`` is where its programs run."""

    directory: Path
    home: Path

    def program(self, name: str) -> Path:
        return self.directory / "bin" / name

    async def run(
        self, name: str, *arguments: str, **settings: str
    ) -> subprocess.CompletedProcess[str]:
        """Run a program of this environment, which knows nothing of the checkout."""
        environment = process_environment({"NO_COLOR": "1", **settings})
        environment.pop("PYTHONPATH", None)
        environment["PYTHONDONTWRITEBYTECODE"] = ""  # modules are compiled once, not per program
        # As in a shell where the environment is active.
        environment["PATH"] = os.pathsep.join([str(self.directory / "bin"), environment["PATH"]])
        return await asyncio.to_thread(
            subprocess.run,
            [str(self.program(name)), *arguments],
            cwd=self.home,
            env=environment,
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )

    async def python(self, *arguments: str, **settings: str) -> str:
        """What Python says, isolated from the working directory and the user's own packages."""
        done = await self.run("python", "-I", *arguments, **settings)
        assert done.returncode == 0, done.stderr
        return done.stdout

    def distributions(self) -> dict[str, str]:
        """What is installed: versions by names."""
        found = uv("pip", "list", "--python", str(self.program("python")), "--format", "json")
        return {each["name"]: each["version"] for each in json.loads(found)}


def uv(*arguments: str, words: str | None = None) -> str:
    if UV is None:
        raise RuntimeError("uv is not in this environment: install requirements/uv.txt")
    # The machine's certificates, as in the Makefile.
    command = [UV, "--system-certs", *arguments]
    done = subprocess.run(
        command, input=words, capture_output=True, text=True, cwd="/", timeout=300, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.fixture(scope="session")
def index() -> None:
    """Skip where no package index can be reached."""
    try:
        uv("pip", "compile", "--quiet", "--no-cache", "--no-deps", "-", words="hatchling\n")
    except AssertionError as error:
        pytest.skip(f"no package index can be reached: {error}")


@pytest.fixture(scope="session")
def constraints(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The locked versions, for what an index offers is newer one day."""
    file = tmp_path_factory.mktemp("constraints") / "constraints.txt"
    file.write_text("".join(f"{name}=={version}\n" for name, version in locked().items()))
    return file


@pytest.fixture(scope="session")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The package as a wheel; the backend is the locked one."""
    directory = tmp_path_factory.mktemp("dist")
    command = [sys.executable, "-m", "hatchling", "build", "--target", "wheel"]
    subprocess.run(
        [*command, "--directory", str(directory)], cwd=ROOT, check=True, capture_output=True
    )
    [built] = directory.glob("*.whl")
    return built


def empty(name: str, directories: pytest.TempPathFactory) -> Environment:
    """A fresh environment, with nothing in it, and an empty directory to run programs in."""
    environment = Environment(directories.mktemp(name) / "venv", directories.mktemp(f"{name}-home"))
    uv("venv", "--quiet", "--python", sys.executable, str(environment.directory))
    return environment


@dataclass(frozen=True)
class Installer:
    """Installs the wheel, with locked versions."""

    wheel: Path
    constraints: Path
    directories: pytest.TempPathFactory

    def __call__(self, extra: str) -> Environment:
        """A fresh environment with the package and this extra."""
        environment = empty(extra, self.directories)
        requirement = f"durable-orders[{extra}] @ {self.wheel.as_uri()}"
        python = str(environment.program("python"))
        uv(
            "pip",
            "install",
            "--quiet",
            "--python",
            python,
            "-c",
            str(self.constraints),
            requirement,
        )
        return environment


@pytest.fixture(scope="session")
def installer(
    index: None, wheel: Path, constraints: Path, tmp_path_factory: pytest.TempPathFactory
) -> Installer:
    return Installer(wheel, constraints, tmp_path_factory)


@pytest.fixture(scope="session")
def bare(index: None, constraints: Path, tmp_path_factory: pytest.TempPathFactory) -> Environment:
    """``pip install .`` in an empty environment."""
    environment = empty("bare", tmp_path_factory)
    pip = [sys.executable, "-m", "pip", "--python", str(environment.program("python"))]
    done = subprocess.run(
        [*pip, "--disable-pip-version-check", "install", "-c", str(constraints), "."],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return environment


@pytest.fixture(scope="session")
def with_store(installer: Installer) -> Environment:
    return installer("store")


@pytest.fixture(scope="session")
def with_cli(installer: Installer) -> Environment:
    return installer("cli")


@pytest.fixture(scope="session")
def with_api(installer: Installer) -> Environment:
    return installer("api")
