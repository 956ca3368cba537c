"""A shop on the real Temporal server, with a worker or without."""

from tests.support.shop import brief_mails, brief_queries, closed_shop, shop

__all__ = ["brief_mails", "brief_queries", "closed_shop", "shop"]
