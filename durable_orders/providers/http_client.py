"""HTTP client of the adapters, on aiohttp: one pool of connections for each neighbour.

Whatever goes wrong is a ``TransportError``. Redirects are replies like others, cookies are ignored.
Proxies and certificates come from the environment: ``HTTP_PROXY``, ``HTTPS_PROXY``, ``ALL_PROXY``
and ``NO_PROXY``, ``SSL_CERT_FILE`` and ``SSL_CERT_DIR``. ``~/.netrc`` does not count.
"""

from __future__ import annotations

import asyncio
import json
import os
import ssl
import urllib.request
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from typing import Final

import aiohttp
import certifi
from aiohttp.http import HttpProcessingError
from yarl import URL

from durable_orders.providers.http_replies import (
    LARGEST_REPLY,
    UNCOMPRESSED,
    OversizedReplyError,
    TransportError,
    failure_name,
)

#: Connections at once to a neighbour, the idle ones too; further requests wait for one.
_MOST_CONNECTIONS: Final = 100
#: Seconds that an idle connection is kept: fewer than the five after which some servers close it.
_LONGEST_IDLE: Final = 4.0

#: Of the event loop. What has come is read at the end of the first one.
_TURNS: Final = 2

#: What aiohttp raises. ``ValueError``: a header or an address that it does not send.
_FAILURES: Final = (aiohttp.ClientError, HttpProcessingError, OSError, ValueError)
#: What it raises of them when there is no connection, or none any more.
_HUNG_UP: Final = (
    aiohttp.ServerDisconnectedError,
    aiohttp.ClientOSError,
    aiohttp.ClientConnectionResetError,
)


@dataclass(frozen=True, slots=True)
class HttpReply:
    """A whole reply. The names in ``headers`` are found in any case."""

    status: int
    headers: Mapping[str, str]
    body: bytes


class HttpClient:
    """Client of one neighbour. Belongs to one event loop; close it with ``aclose``.

    Seconds: ``timeout`` between two pieces of a reply, ``connect_timeout`` for a new connection.
    The whole call, with the wait for a free connection, is its caller's to limit. ``certificates``
    is a file of CAs to trust instead of those that the environment names, or certifi's.
    """

    def __init__(
        self,
        *,
        timeout: float,
        connect_timeout: float,
        largest_reply: int = LARGEST_REPLY,
        certificates: str | None = None,
    ) -> None:
        self._timeout = aiohttp.ClientTimeout(
            total=None, sock_connect=connect_timeout, sock_read=timeout
        )
        self._largest = largest_reply
        self._tls = _tls_context(certificates)
        self._proxies = urllib.request.getproxies()
        self._session: aiohttp.ClientSession | None = None
        self._is_closed = False

    async def request(
        self, method: str, url: str, *, headers: Mapping[str, str], body: bytes | None = None
    ) -> HttpReply:
        """Send a request and return the reply. ``url`` is sent as it is, so it must be encoded.

        Raises ``TransportError``.
        """
        address = URL(url, encoded=True)
        try:
            await self._see_closed_connections()
            async with self._open().request(
                method,
                address,
                data=body,
                headers={**headers, **UNCOMPRESSED},
                allow_redirects=False,
                proxy=self._proxy_for(address),
            ) as response:
                content = await self._read(response)
                return HttpReply(response.status, response.headers, content)
        except _FAILURES as error:
            # Not chained: it may quote the other side.
            cause = error.__cause__ if isinstance(error, _HungUpError) else error
            raise TransportError(failure_name(cause)) from None

    async def aclose(self) -> None:
        """Close the connections. Requests under way fail."""
        self._is_closed = True
        if self._session is not None:
            await self._session.close()

    async def _see_closed_connections(self) -> None:
        """Let the event loop read what has come meanwhile, the end of an idle connection too.

        Until then aiohttp takes the connection for open, and the request would be lost with it.
        """
        if self._session is not None:
            for _ in range(_TURNS):
                await asyncio.sleep(0)

    def _open(self) -> aiohttp.ClientSession:
        """The session, which needs a running event loop to begin."""
        if self._is_closed:
            raise TransportError("the client is closed")
        if self._session is None:
            self._session = aiohttp.ClientSession(
                connector=aiohttp.TCPConnector(
                    limit=_MOST_CONNECTIONS, keepalive_timeout=_LONGEST_IDLE, ssl=self._tls
                ),
                timeout=self._timeout,
                cookie_jar=aiohttp.DummyCookieJar(),
                # A request without a body has no type of it.
                skip_auto_headers=["Content-Type"],
                auto_decompress=False,
                middlewares=[_without_retry],
            )
        return self._session

    def _proxy_for(self, url: URL) -> URL | None:
        """The environment's proxy. aiohttp's own look-up takes two threads for each request, and
        refuses an ``Authorization`` of ours next to one in ``~/.netrc``.
        """
        proxy = self._proxies.get(url.scheme) or self._proxies.get("all")
        if not proxy or urllib.request.proxy_bypass(url.authority):
            return None
        address = URL(proxy if "://" in proxy else f"http://{proxy}")
        if address.scheme not in {"http", "https"}:
            raise TransportError("the environment names a proxy that is none of HTTP")
        return address

    async def _read(self, response: aiohttp.ClientResponse) -> bytes:
        encoding = ", ".join(response.headers.getall("Content-Encoding", []))
        if encoding not in {"", "identity"}:
            raise OversizedReplyError("the reply is compressed, and we have asked for it as it is")
        content = bytearray()
        async for chunk in response.content.iter_any():
            content += chunk
            if len(content) > self._largest:
                raise OversizedReplyError(f"the reply is larger than {self._largest} bytes")
        return bytes(content)


class _HungUpError(aiohttp.ClientError):
    """There was no connection, or none any more before the reply began: the cause says why."""


async def _without_retry(
    request: aiohttp.ClientRequest, handler: aiohttp.ClientHandlerType
) -> aiohttp.ClientResponse:
    """Middleware: keep aiohttp from sending a GET again by itself, which it does for these errors
    alone.
    """
    try:
        return await handler(request)
    except _HUNG_UP as error:
        raise _HungUpError from error


def to_json(body: object) -> bytes:
    """A body of a request, in as few bytes as it takes."""
    return json.dumps(body, ensure_ascii=False, separators=(",", ":"), allow_nan=False).encode()


def _tls_context(certificates: str | None) -> ssl.SSLContext:
    if certificates is not None:
        return _trusting(certificates, None)
    if file := os.environ.get("SSL_CERT_FILE"):
        return _trusting(file, None)
    if folder := os.environ.get("SSL_CERT_DIR"):
        return _trusting(None, folder)
    return _trusting(certifi.where(), None)


@cache
def _trusting(file: str | None, folder: str | None) -> ssl.SSLContext:
    """Reading the CAs takes some 20 ms."""
    context = ssl.create_default_context(cafile=file, capath=folder)
    context.set_alpn_protocols(["http/1.1"])
    return context
