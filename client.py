"""The command line, ``python client.py --help``; ``from client import OrderClient`` works too."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from durable_orders import OrderClient

__all__ = ["OrderClient"]


def __getattr__(name: str) -> Any:
    # On demand: `python client.py --help` needs no client of Temporal.
    if name == "OrderClient":
        import durable_orders  # noqa: PLC0415

        return durable_orders.OrderClient
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


if __name__ == "__main__":
    from durable_orders.cli.entry_point import main

    main()
