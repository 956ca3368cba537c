"""Shows an order live: redrawn on a terminal, line by line elsewhere."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.spinner import Spinner
from rich.table import Table
from rich.text import Text

from durable_orders.domain.lifecycle import Status
from durable_orders.domain.texts import escaped
from durable_orders.domain.views import HistoryLine, OrderSnapshotView

_STYLES = {
    Status.COMPLETED: "bold green",
    Status.REJECTED: "bold red",
    Status.CANCELLED: "bold yellow",
    Status.REFUNDED: "bold yellow",
}


async def follow(sightings: AsyncIterator[OrderSnapshotView], console: Console) -> None:
    """Show an order's snapshots until they end."""
    if not console.is_terminal:
        await _line_by_line(sightings, console)
        return
    with Live(console=console, refresh_per_second=10) as live:
        async for seen in sightings:
            live.update(_picture(seen))


def show_lines(lines: Iterable[HistoryLine], console: Console) -> None:
    """Print lines of an order's history."""
    for line in lines:
        console.print(Text(f"{_time(line)}  {escaped(line.words)}"))


async def _line_by_line(sightings: AsyncIterator[OrderSnapshotView], console: Console) -> None:
    told, doing = 0, ""
    async for seen in sightings:
        show_lines(seen.view.history[told:], console)
        told = len(seen.view.history)
        if seen.doing not in {doing, "ended"}:
            console.print(Text(f"          {escaped(seen.doing)} …"))
        doing = seen.doing
        if seen.doing == "ended":
            console.print(headline(seen))


def _picture(seen: OrderSnapshotView) -> RenderableType:
    lines = Table.grid(padding=(0, 2))
    for line in seen.view.history:
        lines.add_row(Text(_time(line), style="dim"), Text(escaped(line.words)))
    parts: list[RenderableType] = [headline(seen), lines]
    if seen.doing != "ended":
        parts.append(Spinner("dots", text=Text(f"{escaped(seen.doing)} …")))
    return Group(*parts)


def headline(seen: OrderSnapshotView) -> Text:
    """The order's status and total."""
    order = seen.view.order
    style = _STYLES.get(order.status, "bold cyan")
    return Text.assemble(f"Order {order.id} is ", (str(order.status), style), f", {order.total}")


def _time(line: HistoryLine) -> str:
    return f"{line.at.astimezone():%H:%M:%S}"
