"""HTTP client for Resend's SDK: a connection pool instead of a new connection per mail."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import httpx
from resend.http_client_async import AsyncHTTPClient


class PooledClient(AsyncHTTPClient):
    """Sends the SDK's requests through one ``httpx.AsyncClient``. Timeouts are in seconds."""

    def __init__(
        self,
        *,
        timeout: float,
        connect_timeout: float,
        transport: httpx.AsyncBaseTransport | None = None,
    ) -> None:
        self._http = httpx.AsyncClient(
            timeout=httpx.Timeout(timeout, connect=connect_timeout),
            limits=httpx.Limits(max_connections=20, max_keepalive_connections=10),
            transport=transport,
        )

    async def request(  # noqa: PLR0917  the signature is the SDK's
        self,
        method: str,
        url: str,
        headers: Mapping[str, str],
        json: dict[str, object] | list[object] | None = None,
        files: dict[str, Any] | None = None,
        data: dict[str, str] | None = None,
    ) -> tuple[bytes, int, Mapping[str, str]]:
        """Send a request; return body, status and headers. The SDK wraps what this raises."""
        if data is not None or files is not None:
            reply = await self._http.request(method, url, headers=headers, data=data, files=files)
        else:
            reply = await self._http.request(method, url, headers=headers, json=json)
        return reply.content, reply.status_code, reply.headers

    async def aclose(self) -> None:
        await self._http.aclose()
