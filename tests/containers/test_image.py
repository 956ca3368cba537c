"""An image holds what its processes import: .dockerignore lets it in. None of this needs Docker."""

from __future__ import annotations

import ast
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.containers.composed import ROOT, SERVICES, run


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """By their names, what the Dockerfile makes of what .dockerignore lets in."""
    root = tmp_path_factory.mktemp("images")
    app, world = root / "app", root / "world"
    app.mkdir()
    for line in (ROOT / ".dockerignore").read_text().splitlines():
        if line.startswith("!"):
            for found in ROOT.glob(line.removeprefix("!")):
                _copy(found, app / found.relative_to(ROOT))
    world.mkdir()
    (app / "sandbox").rename(world / "sandbox")
    return {"durable-orders": app, "durable-orders-sandbox": world}


def _copy(found: Path, to: Path) -> None:
    to.parent.mkdir(parents=True, exist_ok=True)
    if found.is_dir():
        shutil.copytree(found, to, ignore=shutil.ignore_patterns("__pycache__"))
    else:
        shutil.copy(found, to)


@pytest.mark.parametrize("image", ["durable-orders", "durable-orders-sandbox"])
def test_every_module_of_ours_that_is_imported_is_there(
    image: str, images: dict[str, Path]
) -> None:
    there = images[image]
    missing = {
        f"{file.relative_to(there)} imports {name}"
        for file in there.rglob("*.py")
        for name in _imported(file)
        if _is_module(ROOT / name) and not _is_module(there / name)
    }
    assert missing == set()


def _imported(file: Path) -> Iterator[str]:
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name.split(".")[0] for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield node.module.split(".")[0]


def _is_module(path: Path) -> bool:
    return path.is_dir() or path.with_suffix(".py").exists()


@pytest.mark.parametrize("service", ["worker", "api"])
def test_a_container_without_settings_ends_with_a_sentence_that_names_them(
    service: str, images: dict[str, Path]
) -> None:
    _, *command = SERVICES[service]["command"]
    done = run([sys.executable, *command], env={}, cwd=images["durable-orders"])
    assert done.returncode == 1
    assert "DATABASE_URL is not set" in done.stderr
    assert "Traceback" not in done.stderr
