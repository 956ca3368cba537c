"""Idempotency keys of requests."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass


@dataclass(frozen=True)
class IdempotencyKey:
    """Idempotency key of a request (``Idempotency-Key``). It belongs to the shop, not to the API
    key it came with: a request sent again after the API key was replaced is the same request.
    """

    text: str

    @property
    def derived_id(self) -> str:
        """The id that this request's order or refund gets if the caller gives none: always the
        same one for the same key, and valid as either.
        """
        return f"k{hashlib.sha256(self.text.encode()).hexdigest()[:31]}"


class IdempotencyKeyReusedError(Exception):
    """The key was used for a request with other contents; nothing was changed."""

    def __init__(self, key: IdempotencyKey) -> None:
        super().__init__(
            f"the key {key.text!r} was sent before with other contents: send the same again, or "
            "take a new key for a new order"
        )
