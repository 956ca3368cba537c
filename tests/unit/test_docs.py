"""What the documentation names is there: files, headings, commands, settings, tests, statuses."""

from __future__ import annotations

import functools
import re
import shlex
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Final

import typer
from typer.exceptions import TyperException

from durable_orders.api.problems import PROBLEM_TYPES
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
#: What the HTTP client looks for in the environment.
OF_HTTP: Final = {
    *("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY"),
    *("SSL_CERT_FILE", "SSL_CERT_DIR"),
}
#: Capitals in the prose that look like a setting and are a word of Temporal's.
OTHER_CAPITALS: Final = frozenset({"ALLOW_DUPLICATE_FAILED_ONLY"})
#: Names in the prose that are of others' code: Python's, Temporal's, PostgreSQL's, browsers'.
OTHER_NAMES: Final = frozenset(
    {
        *("TimeSkipper", "UnhandledCommand", "WorkflowExecutionStarted"),
        *("WorkflowExecutionCompleted", "WorkflowExecutionSignaled", "WorkflowTaskFailed"),
        *("ActivityTaskScheduled", "ActivityTaskStarted", "ActivityTaskCompleted"),
        *("MarkerRecorded", "TimerStarted", "ApproximateBacklogAge", "TemporalReportedProblems"),
        *("EventSource", "HttpOnly", "SameSite", "max_connections", "deprecate_patch"),
        *("archive_mode", "archive_command"),
    }
)

_LINK: Final = re.compile(r"\[[^\]]*\]\(([^)\s]+)\)")
_FENCED: Final = re.compile(r"^```.*?^```", re.M | re.S)
_NAMED_TEST: Final = re.compile(r"\btest_\w+\b(?!\.py)")
_SHELL: Final = re.compile(r"^```sh\n(.*?)^```", re.M | re.S)
_SPAN: Final = re.compile(r"`([^`]+)`")
#: A use of our command line: what runs it, and what it is given, up to the end of the command.
_USE: Final = re.compile(
    r"(?P<run>[^\s(=]+ )?\bclient\.py(?P<arguments>(?: (?:\"[^\"]*\"|[^|&)#\"\n])+)?)"
)


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


def shell_lines(page: Path) -> Iterator[str]:
    """The commands of the page's shell blocks, a line each."""
    for block in _SHELL.findall(page.read_text()):
        for line in block.replace("\\\n", " ").splitlines():
            yield line.strip()


def uses(page: Path) -> Iterator[re.Match[str]]:
    """Every use of our command line that the page shows, in shell blocks and in the prose."""
    for text in (
        *shell_lines(page),
        *(" ".join(span.split()) for span in _SPAN.findall(prose(page))),
    ):
        yield from _USE.finditer(text)


@functools.cache
def command_line() -> typer.core.TyperGroup:
    return typer.main.get_group(app)


def mistake_in(arguments: str) -> str | None:
    """What our command line says about these arguments; None when it accepts them."""
    words = shlex.split(arguments)
    group: typer.core.TyperGroup | None = command_line()
    while group is not None and words:
        if words[0] == "--help":
            return None
        command = group.commands.get(words[0])
        if command is None:
            return f"no such command: {words[0]}"
        name, words = words[0], words[1:]
        group = command if isinstance(command, typer.core.TyperGroup) else None
        if group is None:
            try:
                command.make_context(name, words)
            except TyperException as error:
                return str(error)
    return None


@functools.cache
def modules() -> set[str]:
    """Every Python file, by its path and by its name."""
    return {str(path.relative_to(ROOT)) for path in sources()} | {path.name for path in sources()}


def wrong(find: Callable[[Path], Iterable[str]]) -> dict[str, list[str]]:
    """What ``find`` finds on each page that it finds anything on."""
    found = {str(page.relative_to(ROOT)): sorted(find(page)) for page in PAGES}
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


def test_every_command_of_ours_is_accepted_as_it_is_written() -> None:
    def refused(page: Path) -> Iterable[str]:
        for use in uses(page):
            mistake = mistake_in(use["arguments"])
            if mistake is not None:
                yield f"{use[0]}: {mistake}"

    assert wrong(refused) == {}


def test_a_command_with_a_mistake_is_not_accepted() -> None:
    for arguments in ("skip-step 1001", "approve --by ops-7", "refund wait", "list --status gone"):
        assert mistake_in(arguments)
    for arguments in ('skip-step 1001 --reason "…"', "refund waiting", "--help", ""):
        assert mistake_in(arguments) is None


def test_every_command_can_be_pasted_in_a_checkout() -> None:
    """Not with a Python or a Temporal that happens to be on the path."""
    bare = re.compile(r"(?:^|[;&|(=] *|\w=\S+ )(?:python3?|temporal|pytest|durable-orders) ")

    def not_ours(page: Path) -> Iterable[str]:
        runs = {".venv/bin/python ", "python "}
        for use in uses(page):
            in_container = "worker python client.py" in use.string
            if use["arguments"] and (
                use["run"] not in runs or (use["run"] == "python ") != in_container
            ):
                yield use[0]
        yield from (line for line in shell_lines(page) if bare.search(line))

    assert wrong(not_ours) == {}


def test_no_command_has_a_comment() -> None:
    """A shell of macOS takes a pasted comment for arguments."""
    assert (
        wrong(lambda page: [line for line in shell_lines(page) if re.search(r"(^|\s)#", line)])
        == {}
    )


def test_every_call_of_the_api_has_its_key() -> None:
    def without_key(page: Path) -> Iterable[str]:
        shown = [*shell_lines(page), *_SPAN.findall(prose(page))]
        calls = [text for text in shown if re.match(r"curl .*localhost:8080/", text)]
        yield from (call for call in calls if '-H "$KEY"' not in call)
        if calls and "keys create" not in page.read_text():
            yield "no key is made"

    assert wrong(without_key) == {}


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


def test_the_readme_is_short() -> None:
    assert len((ROOT / "README.md").read_text().split()) < 1500


def test_the_problems_are_those_that_exist() -> None:
    page = text_of([ROOT / "docs/http-api.md"]).partition("## Problems")[2]
    listed = re.findall(r"^\| `/problems/([\w-]+)` \| (\d+) \|", page, re.M)
    assert dict(listed) == {name: str(type_.status) for name, type_ in PROBLEM_TYPES.items()}


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
    assert {name for name in told - settings - OF_HTTP if not OF_TEMPORAL.fullmatch(name)} == set()


def test_every_setting_and_constant_named_exists() -> None:
    capitals = re.compile(r"`([A-Z]+_[A-Z_]+)(?:[=…]\S*)?`")
    known = constants() | SETTINGS | OTHER_CAPITALS

    def unknown(page: Path) -> Iterable[str]:
        named = set(capitals.findall(prose(page))) - known
        return (name for name in named if not OF_TEMPORAL.match(name))

    assert wrong(unknown) == {}


def test_every_name_of_code_is_in_the_code() -> None:
    """A class, function, field or table in the prose, as long as its name is more than a word."""
    name = re.compile(
        r"(?<![\w/.-])_?[a-z]+(?:_[a-z]+)+\b(?!\.md|\.py)|\b[A-Z][a-z]+(?:[A-Z][a-z]+)+\b"
    )
    written = text_of([*sources(), ROOT / "Makefile", ROOT / "docker-compose.yml"])
    known = OTHER_NAMES | set(re.findall(r"\w+", written))

    def unknown(page: Path) -> Iterable[str]:
        if page.name == "CHANGELOG.md":  # it has the old names, too
            return ()
        spans = "\n".join(re.sub(r"\S*/\S*", "", span) for span in _SPAN.findall(prose(page)))
        return set(name.findall(spans)) - known

    assert wrong(unknown) == {}


def test_every_module_named_exists() -> None:
    dotted = re.compile(
        r"(?<![\w/-])(?:durable_orders|workflows|activities|sandbox)(?:\.(?!md\b|py\b)[a-z_]+)+"
    )

    def missing(page: Path) -> Iterable[str]:
        for module in set(dotted.findall(page.read_text())):
            path = ROOT / module.replace(".", "/")
            if not (path.is_dir() or path.with_suffix(".py").exists()):
                yield module

    assert wrong(missing) == {}


def test_every_page_that_the_code_names_exists() -> None:
    named = re.compile(r"\bdocs/[\w/-]+\.md\b")
    others = [
        ROOT / name for name in ("docker-compose.yml", "Dockerfile", "Makefile", "pyproject.toml")
    ]
    pages = {page for path in (*sources(), *others) for page in named.findall(path.read_text())}
    assert {page for page in pages if not (ROOT / page).exists()} == set()


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


def test_every_decision_has_its_four_parts() -> None:
    for page in DECISIONS:
        parts = re.findall(
            r"^\*\*(Context|Decision|Consequences|Rejected)\.\*\*", page.read_text(), re.M
        )
        assert parts == ["Context", "Decision", "Consequences", "Rejected"], page.name


def test_no_path_of_somebodys_machine_is_shown() -> None:
    path = re.compile(r"(?<![\w.])/(?:work|tmp|root|home)/\S*")
    assert wrong(lambda page: path.findall(page.read_text())) == {}


def test_every_row_is_in_a_table_and_there_once() -> None:
    def stray(page: Path) -> Iterable[str]:
        for block in re.split(r"\n\s*\n", prose(page)):
            lines = block.strip().splitlines()
            rows = [line for line in lines if line.startswith("| ")]
            if rows and not (lines[0] == rows[0] and lines[1].startswith("| ---")):
                yield rows[0]
            yield from {row for row in rows if rows.count(row) > 1}

    assert wrong(stray) == {}


def test_lines_fit() -> None:
    def too_long(page: Path) -> Iterable[str]:
        for line in prose(page).splitlines():
            # 100, give or take a word
            if not line.startswith("|") and "](" not in line and len(line) > 105:
                yield line

    assert wrong(too_long) == {}
