"""Retry policies: how long each step is tried, and what happens then. All times are here.

Give up quickly before money moves, slowly after; a compensation is never given up; an email never
delays an order.

A step is tried with its ``local`` and ``quick`` options first. Where it has ``patient`` ones, a
failure then puts the order on the list of what needs attention, and the tries go on with those.

Short steps that are safe to repeat run as *local* activities: they cost no dispatch of their own
and one history event. When their neighbour is away for longer than a moment they go on as normal
activities, so that the server waits and not a worker. A workflow task that loses its worker runs
all of its local activities again, so a step that changes what an earlier one would answer then is a
normal activity: releasing stock is.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from datetime import timedelta
from typing import Final

from temporalio.common import RetryPolicy
from temporalio.workflow import (
    ActivityCancellationType,
    ActivityConfig,
    LocalActivityConfig,
)

#: Heartbeats come every third of it; without one for so long, the worker is taken for dead.
HEARTBEAT: Final = timedelta(seconds=3)

#: A worker that died keeps its cached runs reserved for this long (default 10 s).
STICKY_QUEUE: Final = timedelta(seconds=2)

#: A worker asked to stop lets its activities finish for this long; longer than any HTTP timeout.
GRACEFUL_SHUTDOWN: Final = timedelta(seconds=25)


@dataclass(frozen=True)
class Phase:
    """Tries of a step with the same options: of a ``local`` activity, else of a ``normal`` one."""

    normal: ActivityConfig = field(default_factory=ActivityConfig)
    local: LocalActivityConfig | None = None
    #: The step keeps failing: it is on the list of what needs attention.
    patient: bool = False


@dataclass(frozen=True)
class Policy:
    """How one step is tried: as a local activity, as a normal one, then patiently, beginning with
    the first of these that it has.

    ``patient_only_when_ours``: patiently only where the fault is ours (a wrong key, our database
    away); any other failure ends the step.
    """

    quick: ActivityConfig | None = None
    local: LocalActivityConfig | None = None
    patient: ActivityConfig | None = None
    patient_only_when_ours: bool = False

    def phases(self, summary: str) -> Iterator[Phase]:
        """The phases in order. The patient one comes again as often as it is to be retried."""
        if self.local is not None:
            yield Phase(local={**self.local, "summary": summary})
        if self.quick is not None:
            yield Phase({**self.quick, "summary": summary})
        while self.patient is not None:
            yield Phase({**self.patient, "summary": summary}, patient=True)

    def within(self, limit: timedelta | None) -> Policy:
        """The same policy, but given up after ``limit`` at the latest."""
        if limit is None or self.patient is None:
            return self
        known = self.patient.get("schedule_to_close_timeout")
        shorter = limit if known is None else min(limit, known)
        return replace(self, patient={**self.patient, "schedule_to_close_timeout": shorter})


def _patient(*, give_up_after: timedelta | None) -> ActivityConfig:
    """Tries up to ten minutes apart, until ``give_up_after`` (None: never given up)."""
    return ActivityConfig(
        start_to_close_timeout=timedelta(seconds=30),
        schedule_to_close_timeout=give_up_after,
        heartbeat_timeout=HEARTBEAT,
        retry_policy=RetryPolicy(
            initial_interval=timedelta(seconds=2),
            backoff_coefficient=2,
            maximum_interval=timedelta(minutes=10),
        ),
        # The default lets the workflow go on while the activity still runs: a compensation would
        # race it.
        cancellation_type=ActivityCancellationType.WAIT_CANCELLATION_COMPLETED,
    )


def _quick(*, attempts: int) -> ActivityConfig:
    """``attempts`` tries of at most 30 s each, a second apart, then two, four, …"""
    return ActivityConfig(
        start_to_close_timeout=timedelta(seconds=30),
        heartbeat_timeout=HEARTBEAT,
        retry_policy=RetryPolicy(
            initial_interval=timedelta(seconds=1), backoff_coefficient=2, maximum_attempts=attempts
        ),
        cancellation_type=ActivityCancellationType.WAIT_CANCELLATION_COMPLETED,
    )


#: A local activity is over after this long; its workflow task is kept open meanwhile.
_LOCAL_LIMIT: Final = timedelta(seconds=8)

#: Five tries in a second and a half: a lost connection is back by then, an outage is not. One
#: limit for all of them: the SDK leaves the clock of each failed try running.
LOCAL: Final = LocalActivityConfig(
    schedule_to_close_timeout=_LOCAL_LIMIT,
    # When a neighbour asks for a longer pause, the server waits and not the task.
    local_retry_threshold=timedelta(seconds=1),
    retry_policy=RetryPolicy(
        initial_interval=timedelta(milliseconds=100), backoff_coefficient=2, maximum_attempts=5
    ),
)

#: Reading the order and reserving stock: nothing has happened yet, but a database outage is ours,
#: not the customer's, so the order waits it out.
DATABASE: Final = Policy(local=LOCAL, patient=_patient(give_up_after=timedelta(hours=24)))


#: Recording what happened: never given up, because it did happen.
RECORD: Final = Policy(local=LOCAL, patient=_patient(give_up_after=None))

#: Three tries, then the order fails and is compensated: the customer is waiting at the checkout.
#: Where the fault is ours it waits: orders survive a rotated key and a database that is down.
CHARGE: Final = Policy(
    quick=_quick(attempts=3),
    patient=_patient(give_up_after=timedelta(hours=24)),
    patient_only_when_ours=True,
)

#: Reading a payment that waits for the customer or the bank: short, changes nothing, and when it is
#: repeated the payment is only ever further on. So it is local although it asks the card provider.
READ_PAYMENT: Final = Policy(local=LOCAL, patient=_patient(give_up_after=timedelta(hours=24)))

#: How old an answer about the payment may be that the order acts on without having heard anything:
#: news may be lost. Longer than a warehouse takes in an ordinary order, which looks once only.
PAYMENT_STAYS_READ: Final = timedelta(seconds=10)

#: When no webhook says that a payment changed, it is read after this long, then twice as long, …
POLL_INTERVAL_FIRST: Final = timedelta(minutes=5)

#: A refund may be on its way for days: it is read at least this often.
POLL_INTERVAL_LONGEST: Final = timedelta(days=1)

#: Between tries of the same card after soft declines ("try again later") when the customer is away.
SOFT_DECLINE_PAUSE: Final = (timedelta(minutes=1), timedelta(minutes=10))

#: The warehouse has accepted: worth a day of trying, or as long as the bank holds the money. Local
#: at first: one short request, and what is captured already is captured.
CAPTURE: Final = Policy(
    local=LOCAL,
    quick=_quick(attempts=6),
    patient=_patient(give_up_after=timedelta(hours=24)),
)

#: A hold is taken for lapsed this long before it lapses.
HOLD_MARGIN: Final = timedelta(hours=1)

#: Money is taken: worth hours of waiting for the warehouse before it is given back.
FULFILL: Final = Policy(
    quick=_quick(attempts=6), patient=_patient(give_up_after=timedelta(hours=4))
)

#: A compensation is never given up; after six tries in half a minute it is flagged.
COMPENSATION: Final = Policy(quick=_quick(attempts=6), patient=_patient(give_up_after=None))

#: Between two rounds of a step that is refused outright and must happen: the first pause, which is
#: doubled up to the longest.
REPEAT_PAUSE_FIRST: Final = timedelta(minutes=1)
REPEAT_PAUSE_LONGEST: Final = timedelta(hours=1)

#: The mail service forgets an idempotency key after 24 h: a later try could be a second email.
#: Local at first: one short request, and the same email twice is one email.
EMAIL: Final = Policy(
    local=LOCAL,
    patient=ActivityConfig(
        start_to_close_timeout=timedelta(seconds=30),
        schedule_to_close_timeout=timedelta(hours=23) - _LOCAL_LIMIT,
        heartbeat_timeout=HEARTBEAT,
        retry_policy=RetryPolicy(
            initial_interval=timedelta(seconds=1),
            backoff_coefficient=2,
            maximum_interval=timedelta(minutes=30),
        ),
    ),
)

#: A run that waits for parcels continues as new once its history has more events than this and
#: nothing else is under way: however many signals come, no history of an order outgrows a page.
#: Changing it changes what a replay does: guard it with ``workflow.patched`` for runs under way.
LONG_HISTORY: Final = 45

#: No news may come for this long before a run continues as new: see ``workflows.delivery``.
CONTINUE_AS_NEW_PAUSE: Final = timedelta(seconds=1)

#: A page of the audit, or one repair: no caller waits for it, and the next audit does it again.
AUDIT: Final = ActivityConfig(
    start_to_close_timeout=timedelta(minutes=5),
    schedule_to_close_timeout=timedelta(minutes=30),
    heartbeat_timeout=HEARTBEAT,
    retry_policy=RetryPolicy(
        initial_interval=timedelta(seconds=1),
        backoff_coefficient=2,
        maximum_interval=timedelta(minutes=2),
    ),
)
