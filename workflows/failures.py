"""``ApplicationError.type`` of failed runs and of rejected Updates."""

from typing import Final

#: A run that failed because a neighbour gave no answer. All is compensated; the ``Outcome`` is in
#: the error's details. Alert on failed runs: they are outages.
ORDER_FAILED: Final = "OrderFailed"
#: A run that was started for an order which another run has processed already.
ALREADY_CARRIED: Final = "AlreadyCarried"
#: An Update that comes too late.
TOO_LATE: Final = "TooLate"
#: An Update for which the order does not wait (any more).
NOT_WAITING: Final = "NotWaiting"
#: An operator's command that fits nothing that keeps failing.
NOT_OPERABLE: Final = "NotOperable"
#: A request for a refund that runs already with other contents.
OTHER_CONTENTS: Final = "OtherContents"
#: A run failed before it could answer: our bug.
NO_OUTCOME: Final = "NoOutcome"
