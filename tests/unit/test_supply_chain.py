"""The bill of materials, the look-up of advisories, and what hosted CI does."""

from __future__ import annotations

import asyncio
import os
import re
import shlex
import shutil
import subprocess
import sys
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from json import loads
from pathlib import Path
from typing import Any

import pytest
import yaml
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from tests.support.http_server import listening
from tests.unit.test_locks import ROOT, pins
from tests.unit.test_make import done_by, has_installed

LOCK = (ROOT / "requirements/app.txt").read_text()
#: Where nothing listens, as a proxy: there is no network.
NO_NETWORK = dict.fromkeys(("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"), "http://127.0.0.1:9")


# -- the bill of materials -------------------------------------------------------------------------


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    for name in ("Makefile", "pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, tmp_path)
    shutil.copytree(ROOT / "requirements", tmp_path / "requirements")
    has_installed(tmp_path, "uv", "run", "dev")
    return tmp_path


def sbom_of(checkout: Path) -> Any:
    """What `make sbom` writes, in this environment and without a network."""
    for line in done_by(checkout, "sbom").splitlines():
        command = [
            sys.executable if word == ".venv/bin/python" else word for word in shlex.split(line)
        ]
        subprocess.run(command, cwd=checkout, check=True, env=os.environ | NO_NETWORK)
    return loads((checkout / "dist/sbom.json").read_text())


def test_the_bill_of_materials_is_the_lock_with_its_hashes(checkout: Path) -> None:
    bill = sbom_of(checkout)
    assert (bill["bomFormat"], bill["specVersion"]) == ("CycloneDX", "1.6")
    assert bill["metadata"]["component"]["name"] == "durable-orders"
    found = {one["name"]: one for one in bill["components"]}
    assert {name: one["version"] for name, one in found.items()} == pins(LOCK)
    assert {one["purl"] for one in found.values()} == {
        f"pkg:pypi/{name}@{version}" for name, version in pins(LOCK).items()
    }
    hashes = {
        one["content"]
        for component in found.values()
        for reference in component["externalReferences"]
        for one in reference["hashes"]
    }
    assert hashes == set(re.findall(r"--hash=sha256:([0-9a-f]{64})", LOCK))


# -- advisories ------------------------------------------------------------------------------------


@dataclass
class Index:
    """An index of advisories in OSV's form. ``fixed`` has the packages with an advisory, and the
    version that fixes each; ``status`` is what it answers with, ``hangs`` when it does not.
    """

    fixed: dict[str, str] = field(default_factory=dict)
    status: int = 200
    hangs: bool = False
    let_go: asyncio.Event = field(default_factory=asyncio.Event)
    queried: set[str] = field(default_factory=set)
    url: str = ""

    async def answer(self, request: Request) -> Response:
        if self.hangs:
            await self.let_go.wait()
        package = (await request.json())["package"]
        self.queried.add(package["name"])
        return JSONResponse(self._found(package), status_code=self.status)

    def _found(self, package: dict[str, str]) -> dict[str, Any]:
        version = self.fixed.get(package["name"])
        if version is None:
            return {}
        events = [{"introduced": "0"}, {"fixed": version}]
        ranges = [{"type": "ECOSYSTEM", "events": events}]
        advisory = {
            "id": "GHSA-aaaa-bbbb-cccc",
            "details": "made up",
            "published": "2026-01-01T00:00:00Z",
            "affected": [{"package": package, "ranges": ranges}],
        }
        return {"vulns": [advisory]}


@pytest.fixture
async def index() -> AsyncIterator[Index]:
    index = Index()
    async with listening(Starlette(routes=[Route("/", index.answer, methods=["POST"])])) as url:
        index.url = url
        yield index
        index.let_go.set()


async def look_up(url: str, *, limit: float = 60) -> tuple[int, str]:
    """The exit code and the output of `make advisories`."""
    settings = {"ADVISORIES_URL": url, "ADVISORIES_LIMIT_SECONDS": str(limit)}
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        ".ci/advisories.py",
        cwd=ROOT,
        env=os.environ | settings,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    output, _ = await process.communicate()
    return process.returncode or 0, output.decode()


UNREACHABLE = (
    "advisories: requirements/app.txt is not looked up, the index of advisories does not answer\n"
)


async def test_an_advisory_fails_and_is_named(index: Index) -> None:
    index.fixed = {"jinja2": "99.0"}
    code, output = await look_up(index.url)
    jinja2 = pins(LOCK)["jinja2"]
    assert output == f"advisories: jinja2 {jinja2} has GHSA-aaaa-bbbb-cccc, fixed in 99.0\n"
    assert code == 1


async def test_without_an_advisory_one_line_says_what_was_looked_up(index: Index) -> None:
    code, output = await look_up(index.url)
    assert re.fullmatch(r"advisories: none for (\d+) packages of requirements/app.txt\n", output)
    assert code == 0
    # What only another system or Python needs is not asked for here.
    assert {"jinja2", "stripe", "temporalio", "fastapi"} <= index.queried <= set(pins(LOCK))


async def test_an_index_that_is_not_there_fails_nothing() -> None:
    assert await look_up("http://127.0.0.1:9") == (0, UNREACHABLE)


@pytest.mark.parametrize("status", [404, 503])
async def test_an_index_that_answers_an_error_is_no_all_clear(index: Index, status: int) -> None:
    index.status = status
    assert await look_up(index.url) == (0, UNREACHABLE)


async def test_an_index_that_hangs_holds_nothing_up_for_long(index: Index) -> None:
    index.hangs = True
    began = time.monotonic()
    assert await look_up(index.url, limit=2) == (0, UNREACHABLE)
    assert time.monotonic() - began < 20


# -- hosted CI -------------------------------------------------------------------------------------

HOSTED = yaml.safe_load((ROOT / ".github/workflows/ci.yml").read_text())


def test_ci_looks_advisories_up() -> None:
    steps = re.findall(r"^step (.+)$", (ROOT / ".ci/run").read_text(), re.M)
    assert "make advisories" in steps


def test_hosted_ci_runs_what_ci_runs_and_may_only_read() -> None:
    assert HOSTED["permissions"] == {"contents": "read"}
    [job] = HOSTED["jobs"].values()
    assert "permissions" not in job
    assert job["timeout-minutes"] <= 120
    *prepared, last = job["steps"]
    assert last == {"run": ".ci/run"}
    assert all(re.fullmatch(r"actions/[\w-]+@v\d+\.\d+\.\d+", step["uses"]) for step in prepared)
    assert (ROOT / ".ci/run").stat().st_mode & 0o111


def test_hosted_ci_runs_on_the_oldest_python_that_is_supported() -> None:
    [job] = HOSTED["jobs"].values()
    [python] = [step["with"]["python-version"] for step in job["steps"] if "python" in str(step)]
    assert python == "3.11"
