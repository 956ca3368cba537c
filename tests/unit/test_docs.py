"""What the documentation names is there: files, headings, commands, settings, tests, statuses."""

from __future__ import annotations

import functools
import re
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Final

import typer

from durable_orders.cli.app import app
from durable_orders.contracts.search_attributes import SEARCH_ATTRIBUTES
from durable_orders.domain.lifecycle import FOLLOWS, Status
from durable_orders.settings import ApiSettings, WorkerSettings

ROOT: Final = Path(__file__).resolve().parents[2]
PAGES: Final = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md")])
DECISIONS: Final = sorted(
    set(ROOT.glob("docs/decisions/*.md")) - {ROOT / "docs/decisions/README.md"}
)

SETTINGS: Final = {
    name.upper() for name in (*WorkerSettings.model_fields, *ApiSettings.model_fields)
}
#: Read by Temporal's own configuration, as https://docs.temporal.io says, not by our settings.
OF_TEMPORAL: Final = re.compile(r"TEMPORAL_(ADDRESS|NAMESPACE|API_KEY|PROFILE|TLS\w*)")
#: Capitals in the prose that look like a setting and are a word of Temporal's.
OTHER_CAPITALS: Final = frozenset({"ALLOW_DUPLICATE_FAILED_ONLY"})

_LINK: Final = re.compile(r"\[[^\]]*\]\(([^)\s]+)\)")
_FENCED: Final = re.compile(r"^```.*?^```", re.M | re.S)
_NAMED_TEST: Final = re.compile(r"\btest_\w+\b(?!\.py)")


def prose(page: Path) -> str:
    """The page without its blocks of code."""
    return _FENCED.sub("", page.read_text())


def text_of(pages: list[Path]) -> str:
    return "\n".join(page.read_text() for page in pages)


def anchors(page: Path) -> set[str]:
    """What GitHub calls the headings of a page."""
    headings = re.findall(r"^#+ (.+)$", prose(page), re.M)
    return {re.sub(r"[^\w\- ]", "", heading).lower().replace(" ", "-") for heading in headings}


@functools.cache
def sources() -> list[Path]:
    """Every Python file of ours, without what is hidden."""
    folders = [path for path in ROOT.iterdir() if path.is_dir() and path.name[0] != "."]
    inner = [path for folder in folders for path in folder.rglob("*.py")]
    return sorted([*ROOT.glob("*.py"), *inner])


@functools.cache
def constants() -> set[str]:
    """Every name in capitals with an underscore, anywhere in our code."""
    return set(re.findall(r"\b[A-Z]+_[A-Z_]+\b", text_of(sources())))


@functools.cache
def written_tests() -> str:
    """Every test, as it is written."""
    return text_of([path for path in sources() if path.name.startswith("test_")])


@functools.cache
def commands() -> frozenset[str]:
    """What can follow ``python client.py``."""
    return frozenset(typer.main.get_group(app).commands)


@functools.cache
def modules() -> set[str]:
    """Every Python file, by its path and by its name."""
    return {str(path.relative_to(ROOT)) for path in sources()} | {path.name for path in sources()}


def wrong(told: Callable[[Path], Iterable[str]]) -> dict[str, list[str]]:
    """What ``told`` finds on each page that it finds anything on."""
    found = {str(page.relative_to(ROOT)): sorted(told(page)) for page in PAGES}
    return {page: faults for page, faults in found.items() if faults}


def leads_somewhere(page: Path, target: str) -> bool:
    if re.match(r"https?://", target):
        return True
    path, _, anchor = target.partition("#")
    there = (page.parent / path).resolve() if path else page
    return there.exists() and (not anchor or anchor in anchors(there))


def test_there_are_pages() -> None:
    assert {ROOT / "README.md", ROOT / "docs/operations.md", *DECISIONS} < set(PAGES)


def test_every_link_leads_somewhere() -> None:
    def broken(page: Path) -> Iterable[str]:
        return (to for to in _LINK.findall(prose(page)) if not leads_somewhere(page, to))

    assert wrong(broken) == {}


def test_every_test_named_is_where_the_page_says() -> None:
    def missing(page: Path) -> Iterable[str]:
        text = prose(page)
        linked = set(re.findall(r"\[`(test_\w+)`\]\(([^)]+\.py)\)", text))
        for name, target in linked:
            if f"def {name}(" not in (page.parent / target).read_text():
                yield f"{name} in {target}"
        for name in set(_NAMED_TEST.findall(text)) - {name for name, _ in linked}:
            if f"def {name}(" not in written_tests():
                yield name

    assert wrong(missing) == {}


def test_every_python_file_named_exists() -> None:
    named = re.compile(r"(?<![\w/.-])((?:[\w-]+/)*\w+\.py)\b")
    assert wrong(lambda page: set(named.findall(page.read_text())) - modules()) == {}


def test_every_target_of_make_exists() -> None:
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.M))
    named = re.compile(r"(?:`|^)make ([a-z-]+)", re.M)
    assert wrong(lambda page: set(named.findall(page.read_text())) - targets) == {}


def test_every_command_of_ours_exists() -> None:
    ours = re.compile(r"client\.py ([a-z][a-z-]*)\b")
    assert wrong(lambda page: set(ours.findall(page.read_text())) - commands()) == {}


def test_the_diagram_is_the_table_of_what_may_follow_which() -> None:
    [diagram] = re.findall(
        r"^```mermaid\nstateDiagram-v2\n(.*?)^```", text_of([ROOT / "README.md"]), re.M | re.S
    )
    edges = set(re.findall(r"^\s*(\S+) --> (\w+|\[\*\])", diagram, re.M))
    assert edges == {
        ("[*]", Status.PLACED),
        *((before, after) for before, all_after in FOLLOWS.items() for after in all_after),
        *((status, "[*]") for status in FOLLOWS if status.is_final),
    }


def test_the_settings_are_those_that_exist() -> None:
    settings = SETTINGS
    for_containers = set(re.findall(r"\$\{(\w+)", text_of([ROOT / "docker-compose.yml"])))
    example = set(re.findall(r"^(?:# )?([A-Z_]+)=", text_of([ROOT / ".env.example"]), re.M))
    unknown = example - settings - for_containers
    assert {name for name in unknown if not OF_TEMPORAL.fullmatch(name)} == set()

    needed = {
        name.upper() for name, field in WorkerSettings.model_fields.items() if field.is_required()
    }
    assert needed <= example

    table = text_of([ROOT / "docs/operations.md"]).partition("## Settings")[2].partition("\n## ")[0]
    told = set(re.findall(r"`([A-Z][A-Z_]+)`", table))
    assert settings <= told
    assert {name for name in told - settings if not OF_TEMPORAL.fullmatch(name)} == set()


def test_every_setting_and_constant_named_exists() -> None:
    capitals = re.compile(r"`([A-Z]+_[A-Z_]+)(?:[=…]\S*)?`")
    known = constants() | SETTINGS | OTHER_CAPITALS

    def unknown(page: Path) -> Iterable[str]:
        named = set(capitals.findall(prose(page))) - known
        return (name for name in named if not OF_TEMPORAL.match(name))

    assert wrong(unknown) == {}


def test_the_search_attributes_to_register_are_those_in_use() -> None:
    text = text_of([ROOT / "docs/operations.md"])
    kinds = {"KEYWORD": "Keyword", "INT": "Int", "BOOL": "Bool"}
    registered = dict(re.findall(r"--name (\w+) --type (\w+)", text))
    assert registered == {key.name: kinds[key.indexed_value_type.name] for key in SEARCH_ATTRIBUTES}


def test_every_decision_is_in_the_index_under_its_title() -> None:
    index = {
        target: title
        for title, target in re.findall(
            r"\[([^\]]+)\]\(([\w-]+\.md)\)", text_of([ROOT / "docs/decisions/README.md"])
        )
    }
    titles = {page.name: page.read_text().partition("\n")[0] for page in DECISIONS}
    assert {f"# {title}" for title in index.values()} == set(titles.values())
    assert set(index) == set(titles)


def test_no_path_of_somebodys_machine_is_shown() -> None:
    path = re.compile(r"(?<![\w.])/(?:work|tmp|root|home)/\S*")
    assert wrong(lambda page: path.findall(page.read_text())) == {}


def test_lines_fit() -> None:
    def too_long(page: Path) -> Iterable[str]:
        for line in prose(page).splitlines():
            # 100, give or take a word
            if not line.startswith("|") and "](" not in line and len(line) > 105:
                yield line

    assert wrong(too_long) == {}
