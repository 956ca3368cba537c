"""A Docker engine for the tests: the one that answers, else Debian's, started and stopped here.

What it brings about on the machine (files, firewall rules, forwarding) is put back at the end.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Final

#: Debian's packages of the engine, and what the stand-ins are made with.
_PACKAGES: Final = ("docker.io", "iptables", "mmdebstrap")
_FORWARD: Final = Path("/proc/sys/net/ipv4/ip_forward")
_PATIENCE: Final = 60.0


class NoEngineError(Exception):
    """No engine can be had here; the message says why."""


@contextmanager
def engine() -> Iterator[dict[str, str]]:
    """The environment in which `docker` finds an engine. Raises ``NoEngineError``."""
    if _answers(os.environ):
        yield {}
        return
    if os.geteuid() or not shutil.which("apt-get"):
        raise NoEngineError("no engine answers, and only root of a Debian machine can install one")
    _install()
    with tempfile.TemporaryDirectory(prefix="engine-", ignore_cleanup_errors=True) as there:
        yield from _running(Path(there))


def _running(there: Path) -> Iterator[dict[str, str]]:
    """Start dockerd with all its files there; stop it at the end."""
    environment = {"DOCKER_HOST": f"unix://{there}/docker.sock"}
    log = there / "log"
    rules, forward = _firewall(), _FORWARD.read_text()
    for driver in ("overlay2", "vfs"):  # the first is quicker, the second works anywhere
        command = ["dockerd", "--storage-driver", driver, "--host", environment["DOCKER_HOST"]]
        for option in ("data-root", "exec-root", "pidfile"):
            command += [f"--{option}", str(there / option)]
        with log.open("w") as output:
            daemon = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=output, stderr=output
            )
        try:
            if _comes_up(daemon, os.environ | environment):
                yield environment
                return
        finally:
            _stop(daemon)
            _restore(rules, forward)
    raise NoEngineError(f"dockerd does not start: {log.read_text().strip().splitlines()[-1:]}")


def _install() -> None:
    missing = [name for name in ("dockerd", "iptables", "mmdebstrap") if not shutil.which(name)]
    if not missing:
        return
    quiet = os.environ | {"DEBIAN_FRONTEND": "noninteractive"}
    # A package that starts its service at once would leave a second engine running.
    policy = Path("/usr/sbin/policy-rc.d")
    had_policy = policy.exists()
    if not had_policy:
        policy.write_text("#!/bin/sh\nexit 101\n")
        policy.chmod(0o755)
    try:
        for command in (["update"], ["install", "--yes", "--no-install-recommends", *_PACKAGES]):
            done = subprocess.run(
                ["apt-get", "--quiet", *command],
                check=False,
                env=quiet,
                capture_output=True,
                text=True,
                timeout=600,
            )
            if done.returncode:
                said = done.stderr.strip().splitlines()[-1:]
                raise NoEngineError(f"apt-get cannot install {', '.join(missing)}: {said}")
    finally:
        if not had_policy:
            policy.unlink()


def _answers(environment: os._Environ[str] | dict[str, str]) -> bool:
    if not shutil.which("docker"):
        return False
    done = subprocess.run(
        ["docker", "version"], check=False, env=environment, capture_output=True, timeout=30
    )
    return done.returncode == 0


def _comes_up(daemon: subprocess.Popen[bytes], environment: dict[str, str]) -> bool:
    deadline = time.monotonic() + _PATIENCE
    while time.monotonic() < deadline and daemon.poll() is None:
        if _answers(environment):
            return True
        time.sleep(0.2)
    return False


def _stop(daemon: subprocess.Popen[bytes]) -> None:
    daemon.terminate()
    try:
        daemon.wait(60)
    except subprocess.TimeoutExpired:
        daemon.kill()
        daemon.wait()


def _firewall() -> dict[str, str]:
    """By table, the rules as they are."""
    return {
        table: subprocess.run(
            ["iptables-save", "--table", table], check=True, capture_output=True, text=True
        ).stdout
        for table in ("filter", "nat")
    }


def _restore(rules: dict[str, str], forward: str) -> None:
    for table, saved in rules.items():
        text = saved or _EMPTY[table]
        subprocess.run(["iptables-restore"], check=False, input=text, text=True)
    with suppress(OSError):
        _FORWARD.write_text(forward)
    subprocess.run(["ip", "link", "delete", "docker0"], check=False, capture_output=True)


#: A table that nobody has used yet.
_EMPTY: Final = {
    "filter": "*filter\n:INPUT ACCEPT\n:FORWARD ACCEPT\n:OUTPUT ACCEPT\nCOMMIT\n",
    "nat": "*nat\n:PREROUTING ACCEPT\n:INPUT ACCEPT\n:OUTPUT ACCEPT\n:POSTROUTING ACCEPT\nCOMMIT\n",
}
