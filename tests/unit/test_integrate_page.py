"""The programs that docs/integrate.md shows are those that the tests run."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Final

import pytest

ROOT: Final = Path(__file__).resolve().parents[2]
PAGE: Final = (ROOT / "docs" / "integrate.md").read_text()
EXCERPTS: Final = re.findall(r"^```python\n(.*?)^```", PAGE, re.M | re.S)
PROGRAMS: Final = {
    path.name: path.read_text() for path in (ROOT / "examples").glob("[a-z]*_*_*.py")
}


@pytest.mark.parametrize("excerpt", EXCERPTS, ids=lambda text: text.strip().partition("\n")[0])
def test_an_excerpt_stands_in_an_example_as_it_is_shown(excerpt: str) -> None:
    assert [name for name, program in PROGRAMS.items() if excerpt in program]


def test_every_program_is_shown() -> None:
    shown = {
        name
        for name, program in PROGRAMS.items()
        if any(excerpt in program for excerpt in EXCERPTS)
    }
    assert shown == set(PROGRAMS)
    assert set(re.findall(r"\(\.\./examples/([a-z]\w+_\w+_\w+\.py)\)", PAGE)) == shown
    assert len(shown) == 6


def test_every_extra_is_listed() -> None:
    project = (ROOT / "pyproject.toml").read_text()
    section = project.partition("[project.optional-dependencies]")[2].partition("\n[")[0]
    extras = set(re.findall(r"^([a-z]+) = \[", section, re.M))
    listed = set(re.findall(r"^\| `([a-z]+)` \|", PAGE, re.M))
    assert extras == listed
