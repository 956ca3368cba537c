"""The HTTP edge as a process, or several: ``python api.py``. What they do is in ``serving.py``."""

from __future__ import annotations

import os
import socket
import sys
import tempfile
from pathlib import Path

from processes import leave, side_by_side
from settings import CardSettings, EdgeSettings, SettingsError


def main() -> int:
    """Run the edge; its exit code."""
    try:
        settings, cards = EdgeSettings.load(), CardSettings.load()
    except SettingsError as error:
        return _said(str(error))
    host, port = settings.api_host, settings.api_port
    try:
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        listening = socket.create_server((host, port), family=family)
    except OSError as error:
        why = os.strerror(error.errno) if error.errno else error
        return _said(f"Cannot listen at {host}:{port}, {why}: set API_HOST and API_PORT.")
    serve = _serve_in_many if settings.api_processes > 1 else _serve
    return serve(settings, cards, listening)


# What serves takes seconds to load, so it is loaded once there is nothing left to be refused.


def _serve(settings: EdgeSettings, cards: CardSettings, listening: socket.socket) -> int:
    from serving import log, serve  # noqa: PLC0415 - see above

    return serve(settings, cards, listening, None, lambda: log.info("ready: %s", _url(listening)))


def _serve_in_many(settings: EdgeSettings, cards: CardSettings, listening: socket.socket) -> int:
    """Serve in several processes on one socket, each with its own Temporal client and pool."""
    with tempfile.TemporaryDirectory(prefix="durable-orders-metrics-") as shared:
        # Read by prometheus_client when it is imported.
        os.environ["PROMETHEUS_MULTIPROC_DIR"] = shared
        from serving import log, serve, set_up_logs  # noqa: PLC0415 - see above, and after this

        set_up_logs(settings)
        log.info("%d processes: %s", settings.api_processes, _url(listening))
        return side_by_side(settings.api_processes, serve, settings, cards, listening, Path(shared))


def _url(listening: socket.socket) -> str:
    return "http://{}:{}".format(*listening.getsockname()[:2])


def _said(sentence: str) -> int:
    print(sentence, file=sys.stderr)  # noqa: T201 - for the person who started it
    return 1


if __name__ == "__main__":
    leave(main())
