"""TCP ports of this machine: find a free one, or check that one is free."""

import socket

from sandbox import SandboxError

HOST = "127.0.0.1"


class PortBusyError(SandboxError):
    """Another process uses the port."""


def free_port() -> int:
    """A port that was free a moment ago. It is not reserved: the caller must be prepared that
    binding fails, and retry with another one."""
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        probe.bind((HOST, 0))
        return int(probe.getsockname()[1])


def require_free(port: int, *, part: str, setting: str) -> None:
    """Raise `PortBusyError` when the port is in use; `setting` is the option that changes it."""
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        # Connections of an earlier run in TIME_WAIT do not make a port busy.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((HOST, port))
        except OSError as error:
            raise PortBusyError(
                f"Port {port}, meant for {part}, cannot be used ({error.strerror}): "
                f"free it or choose another one with {setting}."
            ) from None
