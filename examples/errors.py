"""The HTTP status of each error that the clients and the store raise."""

from __future__ import annotations

from typing import Final

from durable_orders import (
    InvalidOrderError,
    InvalidOrderIdError,
    NoAnswerError,
    NoSuchOrderError,
    OrderClientError,
    OrderExistsError,
    UnreachableError,
    errors,
)

#: A class stands for its subclasses too, unless they have a line of their own.
STATUSES: Final[dict[type[Exception], int]] = {
    InvalidOrderIdError: 422,
    InvalidOrderError: 422,
    NoSuchOrderError: 404,
    errors.NoRunError: 404,
    OrderExistsError: 409,
    OrderClientError: 409,
    errors.NoWorkerError: 503,
    errors.UndecidedError: 503,
    UnreachableError: 503,
    NoAnswerError: 503,
}


def refusal(error: Exception) -> tuple[int, dict[str, str]]:
    """Return the HTTP status and the body that answer one of these errors."""
    status = next(STATUSES[kind] for kind in type(error).__mro__ if kind in STATUSES)
    # Addresses of servers are no business of a customer's.
    return status, {"detail": "try again in a moment" if status == 503 else str(error)}
