"""A worker that stops asks no new question that moves money: it leaves it to the next worker."""

from __future__ import annotations

from temporalio import activity

from durable_orders.domain.ports import BusyError


def raise_if_stopping() -> None:
    """Raise ``BusyError`` in an activity whose worker was asked to stop.

    Call it before a request that moves money. One that is under way is waited for, for as long as
    the worker may take to stop; what comes after it is asked by the next worker, by the same key.
    """
    if activity.in_activity() and activity.is_worker_shutdown():
        raise BusyError("this worker is stopping: the next one goes on")
