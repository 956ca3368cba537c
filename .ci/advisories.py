"""Look the application's locked packages up among the known advisories: `make advisories`.

Fails when there is one that is not accepted below. Where the index of advisories does not answer,
one line says so and nothing fails: a build needs no such service.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any, Final

ROOT: Final = Path(__file__).resolve().parents[1]
LOCK: Final = ROOT / "requirements" / "app.txt"

#: Advisories that do not concern us: the id, and why. An entry goes when its package has moved on.
ACCEPTED: Final[dict[str, str]] = {}

#: Another index of the same form, and how long all of it may take, in seconds.
URL: Final = os.environ.get("ADVISORIES_URL", "")
LIMIT: Final = float(os.environ.get("ADVISORIES_LIMIT_SECONDS", "120"))
_REQUEST_LIMIT: Final = 10


def pip_audit(*arguments: str, limit: float | None = None) -> subprocess.CompletedProcess[str]:
    command = [
        *(sys.executable, "-m", "pip_audit", "--requirement", str(LOCK), "--disable-pip"),
        *("--require-hashes", "--progress-spinner", "off", *arguments),
    ]
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=limit)


def look_up() -> list[dict[str, Any]]:
    """Each locked package with its advisories; none when the index did not answer for it."""
    with tempfile.TemporaryDirectory() as there:
        report = Path(there) / "report.json"
        arguments = [
            *("--vulnerability-service", "osv", "--timeout", str(_REQUEST_LIMIT)),
            *("--format", "json", "--output", str(report)),
            *(("--osv-url", URL) if URL else ()),
        ]
        try:
            pip_audit(*arguments, limit=LIMIT)
        except subprocess.TimeoutExpired:
            return []
        found = json.loads(report.read_text())["dependencies"] if report.exists() else []
    # One that was skipped was not found: a mirror of packages that knows no advisories, say.
    return [package for package in found if "vulns" in package]


def main() -> int:
    """Print a line for each advisory, or one line; the exit code."""
    name = LOCK.relative_to(ROOT)
    rehearsal = pip_audit("--dry-run")  # asks nobody
    if rehearsal.returncode:
        print(f"advisories: {name} cannot be looked up:\n{rehearsal.stderr}", file=sys.stderr)
        return 1
    looked_up = look_up()
    if not looked_up:
        print(f"advisories: {name} is not looked up, the index of advisories does not answer")
        return 0
    unaccepted = [
        f"advisories: {package['name']} {package['version']} has {one['id']}, "
        f"fixed in {', '.join(one['fix_versions']) or 'no version yet'}"
        for package in looked_up
        for one in package["vulns"]
        if not {one["id"], *one["aliases"]} & ACCEPTED.keys()
    ]
    print("\n".join(unaccepted) or f"advisories: none for {len(looked_up)} packages of {name}")
    return 1 if unaccepted else 0


if __name__ == "__main__":
    sys.exit(main())
