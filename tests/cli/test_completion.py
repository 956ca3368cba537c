"""Shell completion, by the shells themselves."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from tests.cli.terminal import ok, typed

#: Bash completes the last word of a line as if Tab had been pressed.
BASH = """
COMP_WORDS=({line}) COMP_CWORD=$(( ${{#COMP_WORDS[@]}} - 1 ))
_durable_orders_completion durable-orders "${{COMP_WORDS[COMP_CWORD]}}"
printf '%s\\n' "${{COMPREPLY[@]}}"
"""


@pytest.mark.parametrize(
    ("line", "completed"),
    [
        ("durable-orders skip", ["skip-step"]),
        ("durable-orders refund re", ["request", "reject", "retry-now", "resolve"]),
        ("durable-orders list --status awaiting_a", ["awaiting_approval"]),
    ],
)
async def test_a_command_is_completed_once_completion_is_installed(
    line: str,
    completed: list[str],
    installed: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    told = await ok("durable-orders --install-completion; true", tmp_path, path=installed)
    assert "completion installed" in told

    script = f"source ~/.bashrc; {BASH.format(line=line)}"
    assert (await ok(script, tmp_path, path=installed)).split() == completed


@pytest.mark.skipif(shutil.which("zsh") is None, reason="there is no zsh")
async def test_zsh_takes_the_script_that_is_shown(installed: Path, tmp_path: Path) -> None:
    shown = await ok("zsh -c 'durable-orders --show-completion; true'", tmp_path, path=installed)
    assert "#compdef durable-orders" in shown
    (tmp_path / "_durable-orders").write_text(shown)
    await ok("zsh -n _durable-orders", tmp_path)


async def test_a_program_that_no_shell_can_complete_offers_no_completion(ours: str) -> None:
    assert "completion" not in await ok(f"{ours} --help")
    refused = await typed(f"{ours} --show-completion")
    assert refused.returncode == 2
    assert "No such option: --show-completion" in refused.stderr
