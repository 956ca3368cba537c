"""The project's own migrations and demo products, put into the sandbox's database."""

import hashlib
import os
import sys
from pathlib import Path

from sandbox.child import Child, StartError

_PROJECT = Path(__file__).resolve().parent.parent
_STORE = _PROJECT / "store"

# `python -m store migrate` and `python -m store seed` in one process, for the imports take far
# longer than the work; in a process of its own, for this package imports no production code.
_MIGRATE_AND_SEED = """
import runpy, sys
for command in ("migrate", "seed"):
    sys.argv = ["store", command]
    try:
        runpy.run_module("store", run_name="__main__", alter_sys=True)
    except SystemExit as end:
        if end.code:
            raise
"""


async def migrate_and_seed(database_url: str, directory: Path, *, note: Path) -> None:
    """Run both unless the note says that this very code did so before.

    The note is to lie beside the cluster, to be wiped with it: starting Python for the commands
    takes seconds, and then there is nothing to do. Their output goes to `directory`.
    """
    if not (_STORE / "__main__.py").exists():
        return
    code = _fingerprint()
    if _read(note) == code:
        return
    child = Child("`python -m store migrate` or `seed`", directory)
    try:
        await child.end_leftover()
        await child.start(
            [sys.executable, "-c", _MIGRATE_AND_SEED],
            env=os.environ | {"DATABASE_URL": database_url},
            cwd=_PROJECT,
        )
        await child.ended()
        if child.exit_code != 0:
            raise StartError(f"{child.name} failed.{child.last_words(20)}")
    finally:
        await child.stop()
    _write(note, code)


def _fingerprint() -> str:
    digest = hashlib.sha256()
    for source in sorted(_STORE.rglob("*.py")):
        digest.update(source.read_bytes())
    return digest.hexdigest()


def _read(note: Path) -> str:
    return note.read_text() if note.exists() else ""


def _write(note: Path, code: str) -> None:
    note.write_text(code)
