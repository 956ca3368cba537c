"""``ApplicationError.type`` of each reason why a workflow fails or refuses an Update."""

from typing import Final

#: A run that failed because a neighbour gave no answer. All is compensated; the ``Outcome`` is in
#: the error's details. Alert on failed runs: they are outages.
ORDER_FAILED: Final = "OrderFailed"
#: A run started for an order that was never placed; the type of its activity's error.
NO_SUCH_ORDER: Final = "NoSuchOrder"
#: A run started for an order that another run has carried already.
ALREADY_CARRIED: Final = "AlreadyCarried"
#: An Update that comes too late.
TOO_LATE: Final = "TooLate"
#: An Update for which the order does not wait (any more).
NOT_WAITING: Final = "NotWaiting"
#: An approval by whoever asked for what is to be approved.
SECOND_PERSON_NEEDED: Final = "SecondPersonNeeded"
#: An Update whose names or remarks are not of their formats.
MALFORMED: Final = "Malformed"
#: An operator's command that fits nothing that keeps failing.
NOT_OPERABLE: Final = "NotOperable"
#: A request for a refund that runs already with other contents.
OTHER_CONTENTS: Final = "OtherContents"
#: A refund that an order was asked to start, and that cannot be made.
REFUND_REFUSED: Final = "RefundRefused"
#: A run failed before it could answer: our bug.
NO_OUTCOME: Final = "NoOutcome"
#: A run under another workflow id than that of its order or refund: it does nothing.
WRONG_WORKFLOW_ID: Final = "WrongWorkflowId"
