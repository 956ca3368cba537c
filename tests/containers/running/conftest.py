"""Containers that really run: skipped where no engine answers, or an image is not there.

`make test-containers` provides both, where the machine can.
"""

from __future__ import annotations

import docker  # type: ignore[import-untyped]
import pytest
from docker.errors import DockerException  # type: ignore[import-untyped]

from tests.containers.images import missing


@pytest.fixture(scope="session")
def engine() -> None:
    """Skips where containers cannot run."""
    try:
        docker.from_env(timeout=5).ping()
    except DockerException:
        pytest.skip("no Docker engine answers here: make test-containers")
    if lacking := missing():
        pytest.skip(f"images are not here, {', '.join(lacking)}: make test-containers")
