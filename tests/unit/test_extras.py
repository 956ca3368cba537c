"""Each part of the package imports what it, or the extra it needs, brings along."""

from __future__ import annotations

import ast
import sys
import tomllib
from collections.abc import Iterable
from importlib.metadata import packages_distributions
from pathlib import Path
from typing import Final

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from durable_orders import extras
from durable_orders.extras import missing_extra

ROOT: Final = Path(__file__).resolve().parents[2]
PACKAGE: Final = ROOT / "durable_orders"
PROJECT: Final = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]

#: The extras that a part of the package needs; the other parts need none.
NEEDED: Final = {
    "store": {"store"},
    "cli": {"cli", "store"},
    "providers": {"providers"},
    "api": {"api", "providers", "store"},
}
#: What we import and do not ask for, with what always brings it along.
BROUGHT_ALONG: Final = {
    "python-dotenv": "pydantic-settings",
    "starlette": "fastapi",
    "h11": "uvicorn",
    "pydantic-core": "pydantic",
}

_DISTRIBUTIONS: Final = packages_distributions()


def distributions(requirements: Iterable[str]) -> set[str]:
    """The names in these requirements, but for our own."""
    names = {str(canonicalize_name(Requirement(text).name)) for text in requirements}
    return names - {PROJECT["name"]}


def imported_by(files: Iterable[Path]) -> set[str]:
    """The modules of others that the files import, anywhere in them."""
    found = set()
    for file in files:
        for node in ast.walk(ast.parse(file.read_text())):
            match node:
                case ast.Import(names=aliases):
                    found |= {alias.name.partition(".")[0] for alias in aliases}
                case ast.ImportFrom(module=str(module)):
                    found.add(module.partition(".")[0])
    return found - sys.stdlib_module_names - {"durable_orders"}


def distribution_of(module: str) -> str:
    [name] = set(_DISTRIBUTIONS[module])
    return str(canonicalize_name(name))


def files_of(part: str) -> list[Path]:
    """The files of a part; of all that need no extra, for the empty name."""
    if part:
        return list((PACKAGE / part).rglob("*.py"))
    return [
        file for file in PACKAGE.rglob("*.py") if file.relative_to(PACKAGE).parts[0] not in NEEDED
    ]


@pytest.mark.parametrize("part", ["", *NEEDED])
def test_a_part_imports_what_its_extras_bring(part: str) -> None:
    brought = distributions(PROJECT["dependencies"])
    for extra in NEEDED.get(part, ()):
        brought |= distributions(PROJECT["optional-dependencies"][extra])
    brought |= {name for name, bringer in BROUGHT_ALONG.items() if bringer in brought}

    needed = {distribution_of(module) for module in imported_by(files_of(part))}

    assert needed
    assert needed - brought == set()


def test_an_extra_brings_the_extras_that_its_part_needs() -> None:
    for part, needed in NEEDED.items():
        for text in PROJECT["optional-dependencies"][part]:
            requirement = Requirement(text)
            if requirement.name == PROJECT["name"]:
                assert needed == {part, *requirement.extras}
                break
        else:
            assert needed == {part}


def test_the_extra_all_brings_every_other() -> None:
    [text] = PROJECT["optional-dependencies"]["all"]
    assert Requirement(text).extras == set(PROJECT["optional-dependencies"]) - {"all"}


@pytest.mark.parametrize("extra", extras.MODULES)
def test_every_module_of_an_extra_is_known(extra: str) -> None:
    declared = distributions(PROJECT["optional-dependencies"][extra])
    known = {distribution_of(module) for module in extras.MODULES[extra]}
    assert declared <= known


@pytest.mark.parametrize(
    ("module", "extra"),
    [
        ("typer", "cli"),
        ("sqlalchemy.ext.asyncio", "store"),
        ("asyncpg", "store"),
        ("stripe", "providers"),
        ("resend", "providers"),
        ("fastapi", "api"),
    ],
)
def test_a_module_that_is_missing_names_its_extra(module: str, extra: str) -> None:
    error = missing_extra(ModuleNotFoundError(f"No module named {module!r}", name=module))
    assert str(error) == (
        f"{module.partition('.')[0]} is not installed: pip install 'durable-orders[{extra}]'"
    )


@pytest.mark.parametrize("module", ["durable_orders.nothing", "temporalio", None])
def test_a_module_that_no_extra_brings_names_none(module: str | None) -> None:
    assert missing_extra(ModuleNotFoundError("", name=module)) is None
