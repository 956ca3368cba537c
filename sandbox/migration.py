"""Run the project's migrations and add the demo products in the sandbox's database."""

import hashlib
import os
import sys
from pathlib import Path

from sandbox.child import Child, StartError

_PROJECT = Path(__file__).resolve().parent.parent
_STORE = _PROJECT / "durable_orders" / "store"

# `python client.py store migrate` and `… store seed` in one process, because the imports take much
# longer than the work; in a child process, because this package imports no production code. The
# command line ends its process, so the second command runs in the parent of a fork.
_MIGRATE_AND_SEED = """
import os, runpy, subprocess, sys
for command in ("migrate", "seed"):
    code = subprocess.call([sys.executable, "client.py", "store", command])
    if code:
        sys.exit(code)
"""


async def migrate_and_seed(database_url: str, directory: Path, *, stamp: Path) -> None:
    """Run both, unless the stamp file holds the fingerprint of the present code.

    The stamp saves the seconds that it takes to start Python. Keep it beside the cluster, so that
    it is wiped together with it. The output of the commands goes to `directory`.
    """
    if not _STORE.exists():
        return
    code = _fingerprint()
    if _read(stamp) == code:
        return
    child = Child("`python client.py store migrate` or `store seed`", directory)
    try:
        await child.end_orphan()
        await child.start(
            [sys.executable, "-c", _MIGRATE_AND_SEED],
            env=os.environ | {"DATABASE_URL": database_url},
            cwd=_PROJECT,
        )
        await child.ended()
        if child.exit_code != 0:
            raise StartError(f"{child.name} failed.{child.log_tail(20)}")
    finally:
        await child.stop()
    _write(stamp, code)


def _fingerprint() -> str:
    digest = hashlib.sha256()
    for source in sorted(_STORE.rglob("*.py")):
        digest.update(source.read_bytes())
    return digest.hexdigest()


def _read(stamp: Path) -> str:
    return stamp.read_text() if stamp.exists() else ""


def _write(stamp: Path, code: str) -> None:
    stamp.write_text(code)
