"""The HTTP edge as a process: ``python api.py``. What it does is in ``serving.py``."""

from __future__ import annotations

import os
import socket
import sys

from processes import exit_process
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
    # What serves takes seconds to load, so it is loaded once there is nothing left to be refused.
    from serving import serve  # noqa: PLC0415 - see above

    return serve(settings, cards, listening)


def _said(sentence: str) -> int:
    print(sentence, file=sys.stderr)  # noqa: T201 - for the person who started it
    return 1


if __name__ == "__main__":
    exit_process(main())
