"""HTTP client of the Stripe SDK."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

import stripe

from durable_orders.providers.http_client import HttpClient
from durable_orders.providers.http_replies import TransportError

#: Bytes: a page of 100 objects with others in them has one, about.
_LARGEST_REPLY: Final = 8_388_608


class StripeHttpClient(stripe.HTTPClient):
    """Sends the SDK's requests through our client, with the CAs that the SDK brings along.

    The SDK's own client on aiohttp lets errors of aiohttp out, and reads replies of any size.
    """

    name = "aiohttp"

    def __init__(self, *, timeout: float, connect_timeout: float) -> None:
        super().__init__()
        self._http = HttpClient(
            timeout=timeout,
            connect_timeout=connect_timeout,
            largest_reply=_LARGEST_REPLY,
            certificates=stripe.ca_bundle_path,
        )

    async def request_async(
        self,
        method: str,
        url: str,
        headers: Mapping[str, str],
        post_data: str | bytes | None = None,
    ) -> tuple[bytes, int, Mapping[str, str]]:
        """Send a request; return body, status and headers. Raises ``APIConnectionError``."""
        body = post_data.encode() if isinstance(post_data, str) else post_data
        try:
            reply = await self._http.request(method.upper(), url, headers=headers, body=body)
        except TransportError as error:
            failure = stripe.APIConnectionError("no answer")  # type: ignore[no-untyped-call]
            raise failure from error
        return reply.body, reply.status, reply.headers

    async def close_async(self) -> None:
        """Close the connections."""
        await self._http.aclose()
