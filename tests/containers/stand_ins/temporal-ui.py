"""Answers with 200 while Temporal can be reached, and with 502 otherwise."""

import os
import socket
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


class Page(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        host, _, port = os.environ["TEMPORAL_ADDRESS"].rpartition(":")
        try:
            socket.create_connection((host, int(port)), 3).close()
        except OSError:
            self.send_error(502)
        else:
            self.send_response(200)
            self.end_headers()


ThreadingHTTPServer(("", 8080), Page).serve_forever()
