"""Errors of the clients. Each message is a sentence that says what to do."""

from __future__ import annotations

from datetime import timedelta

from durable_orders.domain.ids import workflow_id
from durable_orders.domain.lifecycle import Status


class UnreachableError(Exception):
    """Temporal does not answer; the message says at which address."""


class OrderClientError(Exception):
    """The request was refused and changed nothing, unless it says otherwise.

    OrderClientError
    ├── NotStartedError      no workflow carries the order yet
    ├── NoRunError           Temporal knows no run of the order, and the client has no order store
    ├── AlreadyCarriedError  an earlier run has carried the order, and Temporal has forgotten it
    ├── TooLateError         the warehouse has it: it can no longer be cancelled
    ├── SecondPersonNeededError  who asked for it may not approve it
    ├── NotWaitingError      it does not wait for this (any more): an approval, a card, a payment
    ├── NotOperableError     no step keeps failing, or the operator's command does not fit it
    ├── OrderEndedError      it has ended; ``status`` says how
    ├── StrandedError        it has not ended, but its run is gone: a person has to act
    ├── NoWorkerError        no worker answered; the request may still be carried out
    ├── UndecidedError       the order works on it, and has no answer yet
    ├── NoCardsError         this process does not know how to reach the card provider
    ├── StoreNeededError     this client was made without the store that the request needs
    ├── RefundRefusedError   the refund cannot be: too much, not paid, the id taken
    ├── UnknownRefundError   the order has no refund of this id
    ├── RefundEndedError     the refund has ended, or its run is gone
    ├── RefundBeingMadeError the order's own run makes the refund just now
    ├── UnknownDisputeError  no order of ours has a dispute, warning or review of this id
    └── EvidenceRefusedError the dispute is over or was answered: it takes no evidence
    """


class NotStartedError(OrderClientError):
    """No workflow carries the order yet."""

    def __init__(self, order_id: str) -> None:
        super().__init__(f"order {order_id} is placed but not started: start it first")
        self.order_id = order_id


class NoRunError(OrderClientError):
    """Temporal knows no run of the order, and without the order store nothing else is known."""

    def __init__(self, order_id: str) -> None:
        super().__init__(
            f"Temporal knows no run of order {order_id}: it was not started, or it ended so long "
            "ago that Temporal has forgotten it"
        )


class AlreadyCarriedError(OrderClientError):
    """An earlier run has carried the order; Temporal had forgotten it when the last was started."""

    def __init__(self, order_id: str) -> None:
        super().__init__(
            f"order {order_id} was carried before, by a run that Temporal has forgotten: the order "
            "store tells how it ended"
        )


class TooLateError(OrderClientError):
    """The order or refund is past the point of no return."""


class NotWaitingError(OrderClientError):
    """The order or refund does not wait for what was offered."""


class SecondPersonNeededError(OrderClientError):
    """Whoever asked for it may not approve it: four eyes."""


class NotOperableError(OrderClientError):
    """The operator's command fits no step that keeps failing."""


class OrderEndedError(OrderClientError):
    """The order has ended as ``status``."""

    def __init__(self, order_id: str, status: Status) -> None:
        super().__init__(f"order {order_id} has ended, it is {status}: nothing can be changed")
        self.status = status


class StrandedError(OrderClientError):
    """The order has not ended, but its run is closed or gone. ``run_status`` is how the run closed,
    None when Temporal does not know it.

    ``explanation`` is the message without the command that carries the order on. ``reset`` is that
    command, less the name of Temporal's command line; None when none does.
    """

    def __init__(self, order_id: str, status: Status, run_status: str | None) -> None:
        self.reset: str | None = None
        if run_status is None:
            why = "Temporal does not know its run"
            help_ = f"GET /orders/{order_id} tells what was paid and shipped, settle it by hand"
        else:
            why = f"its run is {run_status}"
            help_ = (
                "nothing was undone, and it cannot be started again. This carries it on from where "
                "it was"
            )
            self.reset = (
                f"workflow reset --workflow-id {workflow_id(order_id)} "
                "--type LastWorkflowTask --reason stranded"
            )
        self.explanation = f"order {order_id} is {status} and nothing carries it on, {why}: {help_}"
        command = f": temporal {self.reset}" if self.reset else ""
        super().__init__(self.explanation + command)


class NoWorkerError(OrderClientError):
    """The request reached Temporal, but no worker took it in time."""

    def __init__(self, order_id: str, asked: str, waited: timedelta) -> None:
        super().__init__(
            f"no worker answered for order {order_id} within {waited.total_seconds():g} s: the "
            f"{asked} may still take hold when one is back. Start a worker and ask again"
        )


class UndecidedError(OrderClientError):
    """The order has taken the request on, and the neighbour it needs has not answered yet."""

    def __init__(
        self, order_id: str, asked: str, waited: timedelta | None = None, *, problem: str = ""
    ) -> None:
        after = f" after {waited.total_seconds():g} s" if waited else ""
        why = f" ({problem})" if problem else ""
        super().__init__(
            f"order {order_id} has taken on the {asked}, and has no answer{after}{why}: it goes on "
            "trying, watch it"
        )


class NoCardsError(OrderClientError):
    """This process cannot ask the card provider."""

    def __init__(self) -> None:
        super().__init__(
            "the card provider cannot be asked from here: set STRIPE_API_KEY for this process"
        )


class StoreNeededError(OrderClientError):
    """The request needs a store that the client was made without."""

    def __init__(self, request: str, store: str, client: str) -> None:
        super().__init__(f"{request} needs the {store}: {client}")


class RefundRefusedError(OrderClientError):
    """The refund cannot be: too much, not paid, the id taken. Nothing was set aside."""


class UnknownRefundError(OrderClientError):
    """The order has no refund of this id."""

    def __init__(self, order_id: str, refund_id: str) -> None:
        super().__init__(f"order {order_id} has no refund {refund_id}")


class UnknownDisputeError(OrderClientError):
    """No order of ours has a dispute, warning or review of this id."""

    def __init__(self, risk_id: str) -> None:
        super().__init__(f"no order has a dispute, warning or review {risk_id}")


class EvidenceRefusedError(OrderClientError):
    """The dispute takes no evidence: it is over or was answered, or the provider says why."""


class RefundEndedError(OrderClientError):
    """The refund has ended, or its run is gone; ``look_again`` starts that again."""

    def __init__(
        self, order_id: str, refund_id: str, state: str, *, is_stranded: bool = False
    ) -> None:
        message = f"refund {refund_id} of order {order_id} is {state}, and nothing runs"
        help_ = ": look again, so that it goes on from where it was" if is_stranded else ""
        super().__init__(message + help_)


class RefundBeingMadeError(OrderClientError):
    """The order's own run makes the refund just now, and sees to what becomes of it."""

    def __init__(self, order_id: str, refund_id: str) -> None:
        super().__init__(
            f"refund {refund_id} of order {order_id} is being made by the order itself: look at "
            "the order's status"
        )
