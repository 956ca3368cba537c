"""What a person sees of a run in the Temporal Web UI and can search for."""

from __future__ import annotations

from typing import Final

from temporalio.common import SearchAttributeKey

from orders.messages import Progress

# Never names or addresses: search attributes are stored in plain text.
ORDER_STATUS: Final = SearchAttributeKey.for_keyword("OrderStatus")
CUSTOMER_ID: Final = SearchAttributeKey.for_keyword("CustomerId")
#: In minor units of the order's currency.
ORDER_TOTAL: Final = SearchAttributeKey.for_int("OrderTotal")
NEEDS_ATTENTION: Final = SearchAttributeKey.for_bool("NeedsAttention")

#: Register these with the namespace before the first start, or workflow tasks are refused.
SEARCH_ATTRIBUTES: Final = (ORDER_STATUS, CUSTOMER_ID, ORDER_TOTAL, NEEDS_ATTENTION)


def details(progress: Progress) -> str:
    """The run's current details, in Markdown."""
    lines = [f"**{progress.status}** — {progress.doing}"]
    if progress.cancel_requested:
        lines.append("A cancellation was asked for.")
    if progress.stop is not None:
        lines.append(f"Stopped: {progress.stop.message} (`{progress.stop.reason}`)")
    if progress.attention is not None:
        attention = progress.attention
        lines.append(
            f"**Needs attention**: `{attention.step}` has been failing since {attention.since} "
            f"and is still being tried: {attention.problem}"
        )
    return "\n\n".join(lines)
