"""The process of the HTTP API: read the settings, listen, then load and run the server."""

from __future__ import annotations

import os
import socket
import sys

from durable_orders.settings import ApiSettings, CardSettings, SettingsError


def main() -> int:
    """Run the edge; its exit code."""
    try:
        settings, cards = ApiSettings.load(), CardSettings.load()
    except SettingsError as error:
        return _said(str(error))
    host, port = settings.api_host, settings.api_port
    try:
        listening = listen(host, port)
    except OSError as error:
        why = os.strerror(error.errno) if error.errno else error
        return _said(f"Cannot listen at {host}:{port}, {why}: set API_HOST and API_PORT.")
    # What serves takes seconds to load, so it is loaded once there is nothing left to be refused.
    from durable_orders.api.server import serve  # noqa: PLC0415 - see above

    return serve(settings, cards, listening)


def listen(host: str, port: int) -> socket.socket:
    """Return a listening socket, for IPv6 alone if the host has a colon. Raises ``OSError``."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    # Not socket.create_server, which names no protocol: asyncio sets TCP_NODELAY on a socket's
    # connections only if it is named. Without that, an answer in two parts waits some 40 ms for the
    # client to acknowledge the first one.
    listening = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    try:
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == socket.AF_INET6:
            listening.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        listening.bind((host, port))
        listening.listen()
    except OSError:
        listening.close()
        raise
    return listening


def _said(sentence: str) -> int:
    print(sentence, file=sys.stderr)  # noqa: T201 - for the person who started it
    return 1
