"""Ports on this machine: a free one, or a sentence about the one that is not."""

import socket

from sandbox import SandboxError

HOST = "127.0.0.1"


class PortBusyError(SandboxError):
    """Somebody else listens on a port that the sandbox was told to use."""


def free_port() -> int:
    """A port that was free a moment ago. Nothing reserves it: whoever binds it must be able to
    fail and ask again."""
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        probe.bind((HOST, 0))
        return int(probe.getsockname()[1])


def require_free(port: int, *, part: str, setting: str) -> None:
    """Raise `PortBusyError` when the port is taken, naming the setting that moves `part`."""
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        # Connections of an earlier run that are still being forgotten do not make a port busy.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((HOST, port))
        except OSError as error:
            raise PortBusyError(
                f"Port {port}, meant for {part}, cannot be used ({error.strerror}): "
                f"free it or choose another one with {setting}."
            ) from None
