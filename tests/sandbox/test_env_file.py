"""The sandbox's .env: it holds keys."""

import os
from pathlib import Path

from sandbox import env_file


def test_nobody_else_may_read_it(tmp_path: Path) -> None:
    path = tmp_path / ".env"
    before = os.umask(0)
    try:
        assert env_file.write(path, {"STRIPE_API_KEY": "sk_test_sandbox"})
    finally:
        os.umask(before)
    assert path.stat().st_mode & 0o777 == 0o600


def test_one_that_others_could_read_is_replaced(tmp_path: Path) -> None:
    path = tmp_path / ".env"
    path.write_text(f"{env_file.MARK}\n")
    path.chmod(0o644)
    assert env_file.write(path, {})
    assert path.stat().st_mode & 0o777 == 0o600
