"""What the linter cannot see: the modules at the top level, and what each of them may import.

The packages' own rules are in pyproject.toml, ``[tool.importlinter]``.
"""

import ast
from pathlib import Path
from typing import Final

import pytest

ROOT: Final = Path(__file__).resolve().parents[2]
PACKAGES: Final = frozenset(
    {
        *("orders", "activities", "workflows", "durable_orders", "providers", "store"),
        *("sandbox", "demo"),
    }
)
#: The top level: modules, and the packages that are a part of a process.
MODULES: Final = frozenset(path.stem for path in ROOT.glob("*.py")) | {"commands", "edge"}

#: Processes put the parts together: only they read settings and know the store and providers.
ALLOWED: Final = {
    "settings": {"orders"},
    "live": {"orders"},
    "logs": {"orders", "durable_orders"},
    "processes": set(),
    # client.py run as a program is the command line.
    "client": {"durable_orders", "cli"},
    "cli": {"commands", "processes"},
    "commands": {"orders", "durable_orders", "providers", "store", "live", "settings"},
    "inbox": {"orders", "durable_orders"},
    "edge": {"orders", "durable_orders", "inbox"},
    "api": {"processes", "serving", "settings"},
    "serving": {
        *("orders", "durable_orders", "providers", "store"),
        *("edge", "inbox", "logs", "processes", "settings"),
    },
    "worker": {
        *("orders", "activities", "workflows", "durable_orders", "providers", "store"),
        *("logs", "processes", "settings"),
    },
}


def files_of(module: str) -> list[Path]:
    """A module's file, or all files of a package."""
    return [*ROOT.glob(f"{module}.py"), *ROOT.glob(f"{module}/**/*.py")]


def imported_by(path: Path) -> set[str]:
    """The top-level names of what a file imports, wherever in it."""
    names: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names |= {alias.name.partition(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            names.add(node.module.partition(".")[0])
    return names


def test_every_module_at_the_top_level_has_a_rule() -> None:
    assert set(ALLOWED) == MODULES


@pytest.mark.parametrize("module", sorted(MODULES))
def test_a_module_at_the_top_level_imports_only_what_it_may(module: str) -> None:
    imported = set().union(*map(imported_by, files_of(module)))
    assert imported & (PACKAGES | MODULES) - {module} <= ALLOWED[module]


def test_the_client_imports_its_command_line_only_when_it_is_run() -> None:
    body = ast.parse((ROOT / "client.py").read_text()).body
    main = body.pop()
    assert isinstance(main, ast.If)
    assert ast.unparse(main.test) == "__name__ == '__main__'"
    assert "from cli import" not in "\n".join(map(ast.unparse, body))


def test_no_message_or_workflow_is_defined_in_a_module_that_is_run() -> None:
    for module in sorted(ALLOWED):
        text = "\n".join(path.read_text() for path in files_of(module))
        assert "@workflow.defn" not in text
        assert "@activity.defn" not in text
