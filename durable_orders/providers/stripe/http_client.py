"""HTTP client of the Stripe SDK: no reply is larger than it has to be."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import stripe

from durable_orders.providers.http_replies import UNCOMPRESSED, bounded

#: Bytes: a page of 100 objects with others in them has one, about.
_LARGEST_REPLY: Final = 8_388_608


class BoundedHTTPXClient(stripe.HTTPXClient):
    """``stripe.HTTPXClient`` that counts the bytes of a reply while it reads them."""

    async def request_async(
        self, method: str, url: str, headers: Mapping[str, str], post_data: Any = None
    ) -> tuple[bytes, int, Mapping[str, str]]:
        """Send a request; return body, status and headers. Raises ``OversizedReplyError``."""
        chunks, status, reply_headers = await self.request_stream_async(
            method, url, {**headers, **UNCOMPRESSED}, post_data
        )
        encoding = reply_headers.get("Content-Encoding")
        body = [chunk async for chunk in bounded(aiter(chunks), _LARGEST_REPLY, encoding)]
        return b"".join(body), status, reply_headers
