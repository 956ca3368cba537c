"""Print the results: the books, the invariants, and where to look further."""

from __future__ import annotations

from collections.abc import Iterable

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from demo.environment import DemoEnvironment
from demo.invariants import InvariantResult, OrderEvidence
from demo.shop import Shop
from durable_orders.domain.money import Money
from durable_orders.domain.operators.api_keys import Scope


def show_books(orders: Iterable[OrderEvidence], console: Console) -> None:
    """Print the books of Stripe, the warehouse and the mail service, a line per order."""
    table = Table(title="The books of Stripe, the warehouse and the mailer", title_justify="left")
    for heading in ("order", "total", "ended as", "taken", "given back", "parcels", "mails"):
        table.add_column(heading)
    for evidence in orders:
        order, books = evidence.view.order, evidence.books
        table.add_row(
            order.id,
            str(order.total),
            order.status,
            *(str(Money(each, order.total.currency)) for each in (books.captured, books.refunded)),
            str(len(books.parcels)),
            ", ".join(f"{mail.kind}" for mail in books.mails),
        )
    console.print(table)


def show_results(results: Iterable[InvariantResult], console: Console) -> None:
    """Print a line per invariant, ✓ or ✗, and each violation below it."""
    console.print("\n[bold]The promises")
    for result in results:
        mark = "[green]✓" if result.holds else "[bold red]✗"
        console.print(f"  {mark}[/] {result.invariant}")
        for violation in result.violations:
            console.print(f"      [red]{escape(violation)}")


def show_addresses(
    runs: dict[str, str], environment: DemoEnvironment, shop: Shop, console: Console
) -> None:
    """Print URLs and files; ``runs`` is the run id of each workflow id."""
    sandbox = environment.sandbox
    ui = f"{sandbox.ui_url}/namespaces/{sandbox.settings['TEMPORAL_NAMESPACE']}"
    addresses = {
        "Inbox": f"{sandbox.stand_in_url}/inbox",
        "Books": f"{sandbox.stand_in_url}/books",
        "Worker logs": sandbox.state / "workers",
        "The API's log": shop.api_process.log_file,
        "Workflows": f"{ui}/workflows",
        "API": f"{shop.url}/docs",
        "Operators' pages": f"{shop.url}/operator",
        "Log in there with": shop.token(Scope.OPERATOR),
    }
    for workflow_id, run_id in runs.items():
        addresses[workflow_id] = f"{ui}/workflows/{workflow_id}/{run_id}/history"
    width = max(map(len, addresses))
    console.print("\n[bold]Look for yourself")
    for name, address in addresses.items():
        console.print(f"  {name:<{width}} {address}")
