"""Updates whose names or remarks are not of their formats are refused, whoever sends them."""

from __future__ import annotations

from temporalio import workflow
from temporalio.exceptions import ApplicationError

with workflow.unsafe.imports_passed_through():
    from durable_orders.contracts.error_types import MALFORMED
    from durable_orders.domain.senders import Sent, check_sender
    from durable_orders.domain.texts import InvalidTextError


def refuse_malformed(sent: Sent, *remarks: str) -> None:
    """Refuse (``MALFORMED``) an Update by whom no account id or role can name, or with a remark
    that is too long: our clients check it before, others may not.
    """
    try:
        check_sender(sent, *remarks)
    except InvalidTextError as error:
        raise ApplicationError(str(error), type=MALFORMED) from None
