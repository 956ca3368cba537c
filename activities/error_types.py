"""``ApplicationError.type`` of failed activities, for workflows, alerts and the Web UI."""

from typing import Final

NO_ANSWER: Final = "NoAnswer"
#: Load, or a worker that stops. Its first detail is the number of the activity's attempt, as with
#: the two below: those before it were tries, it was none.
BUSY: Final = "Busy"
LOCKED_OUT: Final = "LockedOut"
DATABASE_AWAY: Final = "DatabaseAway"
REFUSED: Final = "Refused"
#: A local activity's request takes its time: it goes on, and a normal activity waits for its answer
#: (``activities.handover``).
HANDED_OVER: Final = "HandedOver"
#: Asked for by anything but the run that it belongs to: nothing was done (``activities.origins``).
NOT_FROM_ITS_RUN: Final = "NotFromItsRun"
