"""Own id: a run of ours under another workflow id than its own does nothing.

One order has one run, because it has one workflow id; two runs would act side by side.
"""

from __future__ import annotations

from collections.abc import Callable

from temporalio import workflow
from temporalio.exceptions import ApplicationError

with workflow.unsafe.imports_passed_through():
    from durable_orders.contracts.error_types import WRONG_WORKFLOW_ID
    from durable_orders.domain.texts import InvalidTextError


def raise_unless_own_id(own_id: Callable[[], str], *, goes_on: bool = False) -> None:
    """Fail a run whose workflow id is not ``own_id()``, or that ``goes_on`` from an earlier run
    although none continued as this one: its input is made up.
    """
    info = workflow.info()
    try:
        own = own_id()
    except InvalidTextError as error:
        raise _wrong(str(error)) from None
    if info.workflow_id != own:
        raise _wrong(f"the run {info.workflow_id!r} does nothing: the workflow id is {own}")
    raise_unless_continued(goes_on=goes_on)


def raise_unless_continued(*, goes_on: bool) -> None:
    """Fail a run that ``goes_on`` from an earlier run although none continued as this one: its
    input is made up.
    """
    info = workflow.info()
    if goes_on and info.continued_run_id is None:
        raise _wrong(
            f"the run {info.workflow_id} does nothing: no earlier run continued as this one"
        )


def _wrong(message: str) -> ApplicationError:
    return ApplicationError(message, type=WRONG_WORKFLOW_ID, non_retryable=True)
