"""Why a request about an order is refused. Each message is a sentence that says what to do."""

from __future__ import annotations

from datetime import timedelta

from orders.ids import workflow_id
from orders.lifecycle import Status


class OrderClientError(Exception):
    """The request was refused and changed nothing, unless it says otherwise.

    OrderClientError
    ├── NotStartedError    no run carries the order yet
    ├── TooLateError       the warehouse has it: it can no longer be cancelled
    ├── NotWaitingError    it does not wait for this (any more): an approval, a card, a payment
    ├── NotOperableError   nothing keeps failing, or the operator's word does not fit it
    ├── OrderEndedError    it has ended; ``status`` says how
    ├── StrandedError      it has not ended, but its run is gone: a person has to act
    ├── NoWorkerError      nobody works; the request may still be carried out
    ├── UndecidedError     the order works on it, and has no answer to tell yet
    └── NoCardsError       this process was not told how to reach the card provider
    """


class NotStartedError(OrderClientError):
    """No run carries the order yet."""

    def __init__(self, order_id: str) -> None:
        super().__init__(f"order {order_id} is placed but not started: start it first")


class TooLateError(OrderClientError):
    """The order is past the point of no return."""


class NotWaitingError(OrderClientError):
    """The order does not wait for what was offered."""


class NotOperableError(OrderClientError):
    """The operator's word fits nothing that keeps failing."""


class OrderEndedError(OrderClientError):
    """The order has ended as ``status``."""

    def __init__(self, order_id: str, status: Status) -> None:
        super().__init__(f"order {order_id} has ended, it is {status}: nothing can be changed")
        self.status = status


class StrandedError(OrderClientError):
    """The order has not ended, but its run is over or gone. ``word`` is Temporal's for how the run
    closed, None when Temporal does not know it.
    """

    def __init__(self, order_id: str, status: Status, word: str | None) -> None:
        if word is None:
            why = "Temporal does not know its run"
            help_ = f"GET /orders/{order_id} tells what was paid and shipped, settle it by hand"
        else:
            why = f"its run is {word}"
            help_ = (
                "nothing was undone, and it cannot be started again. This carries it on from where "
                f"it was: temporal workflow reset --workflow-id {workflow_id(order_id)} "
                "--type LastWorkflowTask --reason stranded"
            )
        super().__init__(f"order {order_id} is {status} and nothing carries it on, {why}: {help_}")


class NoWorkerError(OrderClientError):
    """The request reached Temporal, but no worker took it in time."""

    def __init__(self, order_id: str, asked: str, waited: timedelta) -> None:
        super().__init__(
            f"no worker answered for order {order_id} within {waited.total_seconds():g} s: the "
            f"{asked} may still take hold when one is back. Start a worker and ask again"
        )


class UndecidedError(OrderClientError):
    """The order has taken the request on, and the neighbour it needs has not answered yet."""

    def __init__(self, order_id: str, asked: str, waited: timedelta) -> None:
        super().__init__(
            f"order {order_id} has taken on the {asked}, and has no answer after "
            f"{waited.total_seconds():g} s: it goes on trying, watch it"
        )


class NoCardsError(OrderClientError):
    """Nothing can be asked of the card provider from here."""

    def __init__(self) -> None:
        super().__init__(
            "the card provider cannot be asked from here: set STRIPE_API_KEY for this process"
        )
