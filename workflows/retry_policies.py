"""Retry policies: how long each step is tried, and what happens then. All times are here.

Give up quickly before money moves, slowly after; a compensation is never given up; an email never
delays an order.

A step is tried with its ``local`` and ``quick`` options first. Where it has ``patient`` ones, a
failure then puts the order on the list of what needs attention, and the tries go on with those. A
charge has three tries: only what gives no answer uses one up. Load is waited out, a fault of ours
is waited for (``TryCounted``).

Short steps that are safe to repeat run as *local* activities: they cost no dispatch of their own
and one history event. When their neighbour is away for longer than a moment they go on as normal
activities, so that the server waits and not a worker. A workflow task that loses its worker runs
all of its local activities again, so a step that changes what an earlier one would answer then is a
normal activity: releasing stock is.

A request that moves money is never cut in its middle: it may take longer than a local activity, so
such a step is a normal activity, whose time-out is longer than all of its requests together. A dead
worker is noticed by its heartbeats, not by that time-out.
"""

from __future__ import annotations

from collections.abc import Generator
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from enum import Enum
from typing import Final

from temporalio.common import RetryPolicy
from temporalio.workflow import (
    ActivityCancellationType,
    ActivityConfig,
    LocalActivityConfig,
)

from activities.error_types import BUSY, DATABASE_AWAY, LOCKED_OUT, NO_ANSWER

#: Heartbeats come every third of it; without one for so long, the worker is taken for dead.
HEARTBEAT: Final = timedelta(seconds=3)

#: A worker that died keeps its cached runs reserved for this long (default 10 s).
STICKY_QUEUE: Final = timedelta(seconds=2)

#: A request that takes, holds or gives back money may take this long, because banks may: Stripe's
#: own SDK waits for 80 s (https://github.com/stripe/stripe-python, "Configuring a Client").
MONEY_REQUEST: Final = timedelta(seconds=80)

#: Any other request to the card provider.
CARD_REQUEST: Final = timedelta(seconds=20)

#: An activity that moves money: a request before the money moves, two for the money (a capture is
#: sent again without its key), two to read what became of it, each of them recorded.
_MONEY_LIMIT: Final = 2 * MONEY_REQUEST + 4 * CARD_REQUEST + timedelta(seconds=60)

#: A worker asked to stop lets its activities finish for this long: longer than the request for
#: money that may be under way, and reading what became of it. It begins no other
#: (``activities.worker_stop``); the next worker asks, by the same key.
GRACEFUL_SHUTDOWN: Final = MONEY_REQUEST + 2 * CARD_REQUEST


#: A worker asked to stop that has nothing in flight ends within this, whatever is away.
STOPPED_WITHIN: Final = timedelta(seconds=15)


class Cause(Enum):
    """Whose fault a failure is, as far as it decides what follows."""

    LOAD = "load"
    OURS = "ours"  # a key or an account that is refused, our database away, workers that die
    SILENCE = "silence"
    HANDED_OVER = "handed over"  # it goes on, and a normal activity waits for its answer
    GIVEN_UP = "given up"  # the tries, or the time for them, are used up


@dataclass(frozen=True)
class Failure:
    """How a phase ended: its ``attempt`` of this number failed last.

    ``retry_after`` is how long the provider asked us to wait, if it did.
    """

    cause: Cause
    at: datetime
    attempt: int = 1
    retry_after: timedelta | None = None


@dataclass(frozen=True)
class Phase:
    """Tries of a step with the same options: of a ``local`` activity, else of a ``normal`` one."""

    normal: ActivityConfig = field(default_factory=ActivityConfig)
    local: LocalActivityConfig | None = None
    #: The step keeps failing: it is on the list of what needs attention.
    patient: bool = False
    #: To wait before the first try.
    pause: timedelta = timedelta(0)


#: Before a step is tried again in another way, unless the provider asked for more.
_SHORTEST_PAUSE: Final = timedelta(seconds=1)

#: Phases of a step, in order; each is asked for with the failure of the one before.
Phases = Generator[Phase, Failure | None, None]


@dataclass(frozen=True)
class Policy:
    """How one step is tried: as a local activity, as a normal one, then patiently, beginning with
    the first of these that it has.
    """

    quick: ActivityConfig | None = None
    local: LocalActivityConfig | None = None
    patient: ActivityConfig | None = None

    def phases(self, summary: str) -> Phases:
        """The phases in order, whatever the failures."""
        if self.local is not None:
            yield Phase(local={**self.local, "summary": summary})
        if self.quick is not None:
            yield Phase({**self.quick, "summary": summary})
        if self.patient is not None:
            yield Phase({**self.patient, "summary": summary}, patient=True)

    def within(self, limit: timedelta | None) -> Policy:
        """The same policy, but given up after ``limit`` at the latest."""
        if limit is None or self.patient is None:
            return self
        known = self.patient.get("schedule_to_close_timeout")
        shorter = limit if known is None else min(limit, known)
        return replace(self, patient={**self.patient, "schedule_to_close_timeout": shorter})


@dataclass(frozen=True)
class TryCounted(Policy):
    """How a step that moves money is tried, which fails after ``tries`` without an answer.

    Load uses up none of them: it is waited out, for ``load_limit`` altogether. Nor does a fault of
    ours: it is waited for patiently. With ``begins_locally`` the first try is a local activity's.
    """

    tries: int = 3
    load_limit: timedelta = timedelta(minutes=30)
    begins_locally: bool = False

    def waiting_out_load(self, limit: timedelta) -> TryCounted:
        """The same policy, with this much time for load."""
        return replace(self, load_limit=limit)

    def beginning_locally(self) -> TryCounted:
        """The same policy, whose first try is made within the workflow task."""
        return replace(self, begins_locally=True)

    def phases(self, summary: str) -> Phases:
        """The phases, each as it follows from the failure of the one before."""
        left, load_until, counts = self.tries, None, not self.begins_locally
        phase = Phase({**_counted(left), "summary": summary})
        if self.begins_locally:
            phase = Phase(local={**_ONE_LOCAL_TRY, "summary": summary})
        while (failure := (yield phase)) is not None:
            if failure.cause is Cause.GIVEN_UP:
                return
            if failure.cause is Cause.HANDED_OVER:  # the same try, which goes on
                counts = True
                phase = Phase({**_counted(left), "summary": summary})
                continue
            # Where tries count, all before the last one got no answer; elsewhere only the last may.
            silent = failure.cause is Cause.SILENCE
            left -= (failure.attempt - 1 if counts else 0) + silent
            if left <= 0 or (counts and silent):
                return
            counts = silent
            pause = failure.retry_after or _SHORTEST_PAUSE
            if failure.cause is Cause.LOAD:
                load_until = load_until or failure.at + self.load_limit
                if (left_for_load := load_until - failure.at - pause) <= timedelta(0):
                    return
                options = _outlast_load(left_for_load)
            else:
                options = _AWAIT_US if failure.cause is Cause.OURS else _counted(left)
            is_ours = failure.cause is Cause.OURS
            phase = Phase({**options, "summary": summary}, patient=is_ours, pause=pause)


#: One try that moves money. It hands itself over to a normal activity long before this, and is
#: never cut (``activities.handover``).
_ONE_LOCAL_TRY: Final = LocalActivityConfig(
    schedule_to_close_timeout=_MONEY_LIMIT, retry_policy=RetryPolicy(maximum_attempts=1)
)

#: How long an activity may run that moves no money.
_LIMIT: Final = timedelta(seconds=30)


def _patient(*, give_up_after: timedelta | None, limit: timedelta = _LIMIT) -> ActivityConfig:
    """Tries up to ten minutes apart, until ``give_up_after`` (None: never given up)."""
    return ActivityConfig(
        start_to_close_timeout=limit,
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


def _quick(*, attempts: int, limit: timedelta = _LIMIT) -> ActivityConfig:
    """``attempts`` tries of at most ``limit`` each, a second apart, then two, four, …"""
    return ActivityConfig(
        start_to_close_timeout=limit,
        heartbeat_timeout=HEARTBEAT,
        retry_policy=RetryPolicy(
            initial_interval=timedelta(seconds=1), backoff_coefficient=2, maximum_attempts=attempts
        ),
        cancellation_type=ActivityCancellationType.WAIT_CANCELLATION_COMPLETED,
    )


def _ended_by(options: ActivityConfig, *types: str) -> ActivityConfig:
    """The same options, but a failure of one of these types ends the tries."""
    policy = replace(options["retry_policy"] or RetryPolicy(), non_retryable_error_types=types)
    return {**options, "retry_policy": policy}


def _counted(tries: int) -> ActivityConfig:
    """Tries that count: ended by the first failure that does not."""
    return _ended_by(_quick(attempts=tries, limit=_MONEY_LIMIT), BUSY, LOCKED_OUT, DATABASE_AWAY)


def _outlast_load(limit: timedelta) -> ActivityConfig:
    """Ask again when the provider says, else up to half a minute apart, for ``limit``."""
    options = ActivityConfig(
        start_to_close_timeout=_MONEY_LIMIT,
        schedule_to_close_timeout=limit,
        heartbeat_timeout=HEARTBEAT,
        retry_policy=RetryPolicy(
            initial_interval=timedelta(seconds=1),
            backoff_coefficient=2,
            maximum_interval=timedelta(seconds=30),
        ),
        cancellation_type=ActivityCancellationType.WAIT_CANCELLATION_COMPLETED,
    )
    return _ended_by(options, NO_ANSWER, LOCKED_OUT, DATABASE_AWAY)


#: Wait for a key, an account or a database of ours: whatever else fails meanwhile is no part of it.
_AWAIT_US: Final = _ended_by(
    _patient(give_up_after=timedelta(hours=24), limit=_MONEY_LIMIT), NO_ANSWER, BUSY
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
#: Load is waited out for as long as the customer's payment may take. Where the fault is ours it
#: waits for a day: orders survive a rotated key and a database that is down.
CHARGE: Final = TryCounted(tries=3)

#: Reading a payment that waits for the customer or the bank: short, changes nothing, and when it is
#: repeated the payment is only ever further on. So it is local although it asks the card provider.
READ_PAYMENT: Final = Policy(
    local=LOCAL, patient=_patient(give_up_after=timedelta(hours=24), limit=3 * CARD_REQUEST)
)

#: How old an answer about the payment may be that the order acts on without having heard anything:
#: news may be lost. Longer than a warehouse takes in an ordinary order, which looks once only.
PAYMENT_STAYS_READ: Final = timedelta(seconds=10)

#: When no webhook says that a payment changed, it is read after this long, then twice as long, …
POLL_INTERVAL_FIRST: Final = timedelta(minutes=5)

#: A refund may be on its way for days: it is read at least this often.
POLL_INTERVAL_LONGEST: Final = timedelta(days=1)

#: What is owed and waits for an approver is reminded of at least this often, unless approvals may
#: take longer.
LONGEST_BETWEEN_REMINDERS: Final = timedelta(days=7)
#: Reading what is disputed of a payment: three requests. Nobody waits for it, and it is never given
#: up: a deadline may be near.
READ_RISKS: Final = Policy(quick=_quick(attempts=6), patient=_patient(give_up_after=None))

#: The approver is reminded of a dispute this long before its evidence is due.
REMIND_BEFORE_DUE: Final = timedelta(days=2)

#: From then on a dispute is read this often, without news of it.
RISK_POLL_WHEN_DUE: Final = timedelta(hours=6)

#: After this long it is looked at whether a refund that a warning brought about is under way.
RISK_REFUND_POLL: Final = timedelta(minutes=10)

#: A run that follows a payment continues as new once its history has more events than this.
LONG_RISK_HISTORY: Final = 500

#: Between tries of the same card after soft declines ("try again later") when the customer is away.
SOFT_DECLINE_PAUSE: Final = (timedelta(minutes=1), timedelta(minutes=10))

#: The warehouse has accepted: worth a day of trying, or as long as the bank holds the money.
CAPTURE: Final = Policy(
    quick=_quick(attempts=6, limit=_MONEY_LIMIT),
    patient=_patient(give_up_after=timedelta(hours=24), limit=_MONEY_LIMIT),
)

#: A hold is taken for lapsed this long before it lapses.
HOLD_MARGIN: Final = timedelta(hours=1)

#: Money is taken: worth hours of waiting for the warehouse before it is given back.
FULFILL: Final = Policy(
    quick=_quick(attempts=6), patient=_patient(give_up_after=timedelta(hours=4))
)

#: A warehouse that is silent may have sent the parcel again: it is asked until it says so, or an
#: operator knows.
RESEND: Final = Policy(quick=_quick(attempts=6), patient=_patient(give_up_after=None))

#: A compensation is never given up; after six tries in half a minute it is flagged.
COMPENSATION: Final = Policy(
    quick=_quick(attempts=6, limit=_MONEY_LIMIT),
    patient=_patient(give_up_after=None, limit=_MONEY_LIMIT),
)

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

#: An email that is sent while the customer's answer is waited for: a normal activity, because a
#: workflow task that sends it itself would answer nobody until it is sent.
EMAIL_ASIDE: Final = replace(EMAIL, local=None)

#: A run that waits for parcels continues as new once its history has more events than this and
#: nothing else is under way: however many signals come, no history of an order outgrows a page.
#: Changing it changes what a replay does: guard it with ``workflow.patched`` for runs under way.
LONG_HISTORY: Final = 45

#: No news may come for this long before a run continues as new: see ``workflows.delivery``.
CONTINUE_AS_NEW_PAUSE: Final = timedelta(seconds=1)

#: Between two looks at an order whose refund is being made, and for how long such looks go on.
EXAMINATION_PAUSE: Final = timedelta(seconds=15)
EXAMINED_WITHIN: Final = timedelta(minutes=20)

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
