"""A shop on the real Temporal server, with a worker or without; and a shell to run commands in."""

from tests.cli.shell import aside, begin, cards, refund_terms, run, terms, warehouse, working
from tests.cli.terminal import installed, ours
from tests.support.shop import brief_mails, brief_queries, closed_shop, shop

__all__ = [
    "aside",
    "begin",
    "brief_mails",
    "brief_queries",
    "cards",
    "closed_shop",
    "installed",
    "ours",
    "refund_terms",
    "run",
    "shop",
    "terms",
    "warehouse",
    "working",
]
