"""A shop on the real Temporal server, with a worker or without."""

from tests.shop import closed_shop, shop

__all__ = ["closed_shop", "shop"]
