"""The lock files hold what pyproject.toml asks for, and name no place to get it from."""

import re
import tomllib
from itertools import chain
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet
from packaging.utils import canonicalize_name

ROOT = Path(__file__).resolve().parents[2]
LOCKS = sorted((ROOT / "requirements").glob("*.txt"))
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
OURS = PROJECT["project"]["name"]
#: Those of the package and of all its extras.
DEPENDENCIES: list[str] = [
    *PROJECT["project"]["dependencies"],
    *chain.from_iterable(PROJECT["project"]["optional-dependencies"].values()),
]


def group(name: str) -> list[str]:
    """What a dependency group asks for, and what the groups do that it includes."""
    found: list[str] = []
    for entry in PROJECT["dependency-groups"][name]:
        found += [entry] if isinstance(entry, str) else group(entry["include-group"])
    return found


DEVELOPMENT = group("dev")
EXACT = (ROOT / "requirements" / "app.in").read_text()


def pins(requirements: str) -> dict[str, str]:
    """Names and versions, from `name[extra]==version` with or without a marker."""
    found = re.findall(r"^([A-Za-z0-9_.-]+)(?:\[[^]]*\])?==([^\s;\\]+)", requirements, re.MULTILINE)
    return {name.lower().replace("_", "-"): version for name, version in found}


def test_every_direct_dependency_has_an_exact_version_in_its_range() -> None:
    found = [Requirement(text) for text in DEPENDENCIES]
    ranges: dict[str, SpecifierSet] = {
        canonicalize_name(each.name): each.specifier for each in found if each.name != OURS
    }
    exact = pins(EXACT)

    assert set(exact) == set(ranges)
    outside = {name: version for name, version in exact.items() if version not in ranges[name]}
    assert outside == {}


def test_a_range_has_both_ends_and_room_in_between() -> None:
    """What has ``==`` could not be installed beside an application's own dependencies."""
    ends = {
        text: {each.operator for each in Requirement(text).specifier}
        for text in DEPENDENCIES
        if Requirement(text).name != OURS
    }
    assert {text: found for text, found in ends.items() if found != {">=", "<"}} == {}


def test_every_dependency_of_development_is_exact() -> None:
    assert len(pins("\n".join(DEVELOPMENT))) == len(DEVELOPMENT)


@pytest.mark.parametrize(
    ("lock", "exact"),
    [
        ("app.txt", EXACT),
        ("run.txt", "\n".join([EXACT, *group("sandbox")])),
        ("dev.txt", "\n".join([EXACT, *DEVELOPMENT])),
    ],
)
def test_every_direct_dependency_is_locked_at_its_version(lock: str, exact: str) -> None:
    wanted, locked = pins(exact), pins((ROOT / "requirements" / lock).read_text())
    assert {name: locked.get(name) for name in wanted} == wanted


@pytest.mark.parametrize(("smaller", "larger"), [("app.txt", "run.txt"), ("run.txt", "dev.txt")])
def test_each_lock_has_the_versions_of_the_smaller_one(smaller: str, larger: str) -> None:
    less, more = (pins((ROOT / "requirements" / lock).read_text()) for lock in (smaller, larger))
    assert less.items() < more.items()


@pytest.mark.parametrize("lock", [*LOCKS, ROOT / "requirements/app.in"], ids=lambda path: path.name)
def test_a_lock_names_no_address(lock: Path) -> None:
    assert "://" not in lock.read_text()


@pytest.mark.parametrize("lock", LOCKS, ids=lambda path: path.name)
def test_everything_locked_has_a_hash(lock: Path) -> None:
    text = lock.read_text()
    entries = re.split(r"^(?=[A-Za-z0-9])", text, flags=re.MULTILINE)[1:]
    assert [entry for entry in entries if "--hash=sha256:" not in entry] == []
    assert len(entries) == len(pins(text))
