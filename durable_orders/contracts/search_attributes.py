"""The search attributes of order and refund workflows."""

from __future__ import annotations

from typing import Final

from temporalio.common import SearchAttributeKey

# Never names or addresses: search attributes are stored in plain text.
ORDER_STATUS: Final = SearchAttributeKey.for_keyword("OrderStatus")
CUSTOMER_ID: Final = SearchAttributeKey.for_keyword("CustomerId")
#: In minor units of the order's currency.
ORDER_TOTAL: Final = SearchAttributeKey.for_int("OrderTotal")
NEEDS_ATTENTION: Final = SearchAttributeKey.for_bool("NeedsAttention")

#: Register these with the namespace before the first start, or workflow tasks are refused.
SEARCH_ATTRIBUTES: Final = (ORDER_STATUS, CUSTOMER_ID, ORDER_TOTAL, NEEDS_ATTENTION)
