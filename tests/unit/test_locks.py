"""The lock files hold what pyproject.toml asks for, and name no place to get it from."""

import re
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
LOCKS = sorted((ROOT / "requirements").glob("*.txt"))
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())


def pins(requirements: str) -> dict[str, str]:
    """Names and versions, from `name[extra]==version` with or without a marker."""
    found = re.findall(r"^([A-Za-z0-9_.-]+)(?:\[[^]]*\])?==([^\s;\\]+)", requirements, re.MULTILINE)
    return {name.lower().replace("_", "-"): version for name, version in found}


def group(name: str) -> list[str]:
    """What a dependency group asks for, and what the groups do that it includes."""
    found: list[str] = []
    for entry in PROJECT["dependency-groups"][name]:
        found += [entry] if isinstance(entry, str) else group(entry["include-group"])
    return found


@pytest.mark.parametrize(
    ("lock", "dependencies"),
    [
        ("app.txt", PROJECT["project"]["dependencies"]),
        ("run.txt", PROJECT["project"]["dependencies"] + group("sandbox")),
        ("dev.txt", PROJECT["project"]["dependencies"] + group("dev")),
    ],
)
def test_every_direct_dependency_is_locked_at_its_version(
    lock: str, dependencies: list[str]
) -> None:
    wanted = pins("\n".join(dependencies))
    assert len(wanted) == len(dependencies), "every dependency is pinned with =="
    locked = pins((ROOT / "requirements" / lock).read_text())
    assert {name: locked.get(name) for name in wanted} == wanted


@pytest.mark.parametrize(("smaller", "larger"), [("app.txt", "run.txt"), ("run.txt", "dev.txt")])
def test_each_lock_has_the_versions_of_the_smaller_one(smaller: str, larger: str) -> None:
    less, more = (pins((ROOT / "requirements" / lock).read_text()) for lock in (smaller, larger))
    assert less.items() < more.items()


@pytest.mark.parametrize("lock", LOCKS, ids=lambda path: path.name)
def test_a_lock_names_no_address(lock: Path) -> None:
    assert "://" not in lock.read_text()


@pytest.mark.parametrize("lock", LOCKS, ids=lambda path: path.name)
def test_everything_locked_has_a_hash(lock: Path) -> None:
    text = lock.read_text()
    entries = re.split(r"^(?=[A-Za-z0-9])", text, flags=re.MULTILINE)[1:]
    assert [entry for entry in entries if "--hash=sha256:" not in entry] == []
    assert len(entries) == len(pins(text))
