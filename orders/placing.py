"""Placing an order once, however often it is asked for."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass


@dataclass(frozen=True)
class RequestKey:
    """The shop's own name for a request (``Idempotency-Key``). It is the shop's, not that of the
    API key it came with: a request sent again after the API key was replaced is the same request.
    """

    text: str

    @property
    def made_id(self) -> str:
        """The id of what this request makes, if its caller gives none: always the same one. It is
        an order's id as well as a refund's.
        """
        return f"k{hashlib.sha256(self.text.encode()).hexdigest()[:31]}"


class KeyReusedError(Exception):
    """The key was used for a request of other contents; nothing was changed."""

    def __init__(self, key: RequestKey) -> None:
        super().__init__(
            f"the key {key.text!r} was sent before with other contents: send the same again, or "
            "take a new key for a new order"
        )
