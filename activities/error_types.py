"""``ApplicationError.type`` of failed activities, for workflows, alerts and the Web UI."""

from typing import Final

NO_ANSWER: Final = "NoAnswer"
LOCKED_OUT: Final = "LockedOut"
DATABASE_AWAY: Final = "DatabaseAway"
REFUSED: Final = "Refused"
