"""Find the order of a request by what names it, for the books and for faults of one order.

Orders of several shops that have the same id share a page of the books.
"""

import re

_KEY = re.compile(r"^(?:[a-z0-9]+:)?order-(?P<order>.+?)[:/](?P<rest>.+)$")

#: The name of a shop has four characters at least.
_REFERENCE = re.compile(r"^[a-z][a-z0-9]{3,23}-(?P<order>.+)$")


def order_id_of_key(key: str | None) -> str | None:
    """`shop:order-1001:charge:1` → `1001`."""
    found = _KEY.match(key or "")
    return None if found is None else found["order"]


def order_id_of_reference(reference: str) -> str:
    """The warehouse's `shop-1001` → `1001`; any other text is the order's id itself."""
    found = _REFERENCE.match(reference)
    return reference if found is None else found["order"]


def purpose_of_key(key: str | None) -> str | None:
    """`shop:order-1001:confirmation` → `confirmation`."""
    found = _KEY.match(key or "")
    return None if found is None else found["rest"]
