"""Steps beside the order's own, or the refund's: lines of the order's history, and emails."""

from __future__ import annotations

from temporalio import workflow
from temporalio.exceptions import FailureError
from temporalio.exceptions import is_cancelled_exception as was_cancelled

with workflow.unsafe.imports_passed_through():
    from activities.orders import OrderBookActivities
    from durable_orders.domain.activity_messages import MailAnswer, MailSent, Note
    from workflows import retry_policies
    from workflows.operator_attention import problem_of
    from workflows.retry_policies import Policy
    from workflows.step_runner import In, Step, StepRunner


async def add_note(steps: StepRunner, order_id: str, event: str, detail: dict[str, str]) -> None:
    """Add a line to the order's history."""
    note = Note(order_id, event, detail)
    step = OrderBookActivities.record_note
    await steps.run_beside("writing it down", step, note, retry_policies.RECORD)


async def send_email(
    steps: StepRunner,
    doing: str,
    step: Step[In, MailAnswer],
    argument: In,
    policy: Policy = retry_policies.EMAIL,
) -> bool:
    """Send an email; False when it is not known to have been sent, which changes nothing else.

    Raises ``FailureError`` only when the task that sends it is cancelled.
    """
    try:
        answer = await steps.run_beside(doing, step, argument, policy)
    except FailureError as error:
        if was_cancelled(error):
            raise
        workflow.logger.warning("it is not known whether the mail was sent: %s", problem_of(error))
        return False
    return isinstance(answer, MailSent)
