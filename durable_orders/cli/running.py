"""Run the work of a command with the clients that it needs, which are loaded only then."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from durable_orders.cli.composition import CliContext
    from durable_orders.clients.order_operations import OrderOperations
    from durable_orders.clients.orders import OrderClient


def run_with_orders(
    work: Callable[[OrderClient], Awaitable[None]],
    *,
    lazy: bool = False,
    with_cards: bool = False,
) -> None:
    """Do the work with the client of orders; see ``run_command``."""
    run_command(lambda context: work(context.orders), lazy=lazy, with_cards=with_cards)


def run_with_operations(work: Callable[[OrderOperations], Awaitable[None]]) -> None:
    """Do the work with the operators' client of orders; see ``run_command``."""
    run_command(lambda context: work(context.operations))


def run_command(
    work: Callable[[CliContext], Awaitable[None]], *, lazy: bool = False, with_cards: bool = False
) -> None:
    """Run the work, or exit with a sentence about the error.

    ``lazy``: connect to Temporal when it is first called. ``with_cards``: with the card provider.
    """
    from durable_orders.cli import composition  # noqa: PLC0415 - loads the SDKs, which no help needs

    composition.run_command(work, lazy=lazy, with_cards=with_cards)
