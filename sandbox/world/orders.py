"""Find the order of a request by its idempotency key, for the books and for faults of one order."""

import re

_KEY = re.compile(r"^(?:[a-z0-9]+:)?order-(?P<order>.+?)[:/](?P<rest>.+)$")


def order_id_of_key(key: str | None) -> str | None:
    """`shop:order-1001:charge:1` → `1001`."""
    found = _KEY.match(key or "")
    return None if found is None else found["order"]


def purpose_of_key(key: str | None) -> str | None:
    """`shop:order-1001:confirmation` → `confirmation`."""
    found = _KEY.match(key or "")
    return None if found is None else found["rest"]
