"""A terminal that nobody prepared: real shells, in which commands are typed and pasted."""

from __future__ import annotations

import asyncio
import os
import shlex
import subprocess
import sys
from pathlib import Path
from typing import Final

import pytest

CHECKOUT: Final = Path(__file__).resolve().parents[2]
PYTHON: Final = Path(sys.executable)
#: What installing the package writes, for the interpreter in use.
CONSOLE_SCRIPT: Final = f"""#!{PYTHON}
import sys
sys.path.insert(0, {str(CHECKOUT)!r})
from durable_orders.cli.entry_point import main
sys.exit(main())
"""


async def typed(
    command: str, directory: Path = CHECKOUT, *, path: Path | None = None
) -> subprocess.CompletedProcess[str]:
    """Type the command into a shell in ``directory``; ``path`` is first on its PATH."""
    folders = [str(path)] if path else []
    return await asyncio.to_thread(
        subprocess.run,
        ["bash", "-c", command],
        cwd=directory,
        env={**os.environ, "PATH": os.pathsep.join([*folders, *_bare_path()])},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def _bare_path() -> list[str]:
    """PATH without the virtual environment."""
    folders = os.environ["PATH"].split(os.pathsep)
    return [each for each in folders if Path(each) != PYTHON.parent]


async def ok(command: str, directory: Path = CHECKOUT, *, path: Path | None = None) -> str:
    """What the command prints; it must end with 0."""
    ended = await typed(command, directory, path=path)
    assert ended.returncode == 0, f"{command}\n{ended.stdout}{ended.stderr}"
    return ended.stdout


def hint(printed: str, holds: str) -> str:
    """The printed command with this in it: all of its line, or what follows a colon."""
    [line] = [line for line in printed.splitlines() if holds in line]
    return line.rpartition(": ")[2].strip()


@pytest.fixture
def ours() -> str:
    """The program as a person calls it in a checkout: by relative paths."""
    return f"{shlex.quote(os.path.relpath(PYTHON, CHECKOUT))} client.py"


@pytest.fixture
def installed(tmp_path: Path) -> Path:
    """A folder with the console script."""
    folder = tmp_path / "with a space"
    folder.mkdir()
    script = folder / "durable-orders"
    script.write_text(CONSOLE_SCRIPT)
    script.chmod(0o755)
    return folder
