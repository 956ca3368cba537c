"""Messages whose texts are not of their formats are refused, whoever sends them."""

from __future__ import annotations

from temporalio import workflow
from temporalio.exceptions import ApplicationError

with workflow.unsafe.imports_passed_through():
    from durable_orders.contracts.error_types import MALFORMED
    from durable_orders.domain.texts import InvalidTextError, check_texts


def refuse_malformed(message: object) -> None:
    """Refuse (``MALFORMED``) an Update, or fail a run, whose names, ids or remarks are not of their
    formats: our clients check it before, others may not.
    """
    try:
        check_texts(message)
    except InvalidTextError as error:
        raise ApplicationError(str(error), type=MALFORMED, non_retryable=True) from None
