"""What came of it: the books, the promises, and where to look further."""

from __future__ import annotations

from collections.abc import Iterable

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from demo.environment import Stage
from demo.invariants import Account, Finding
from demo.shop import Shop
from orders.keys import Scope
from orders.money import Money


def show_books(accounts: Iterable[Account], console: Console) -> None:
    """A line per order: what Stripe, the warehouse and the mail service have in their books."""
    table = Table(title="The books of Stripe, the warehouse and the mailer", title_justify="left")
    for heading in ("order", "total", "ended as", "taken", "given back", "parcels", "mails"):
        table.add_column(heading)
    for account in accounts:
        order, page = account.view.order, account.page
        table.add_row(
            order.id,
            str(order.total),
            order.status,
            *(str(Money(each, order.total.currency)) for each in (page.captured, page.refunded)),
            str(len(page.parcels)),
            ", ".join(f"{mail.kind}" for mail in page.mails),
        )
    console.print(table)


def show_findings(findings: Iterable[Finding], console: Console) -> None:
    """A line per promise, ✓ or ✗, and each fault below it."""
    console.print("\n[bold]The promises")
    for finding in findings:
        mark = "[green]✓" if finding.holds else "[bold red]✗"
        console.print(f"  {mark}[/] {finding.promise}")
        for fault in finding.faults:
            console.print(f"      [red]{escape(fault)}")


def show_addresses(runs: dict[str, str], stage: Stage, shop: Shop, console: Console) -> None:
    """Where a person can look: ``runs`` is the run id of each workflow id."""
    ui = f"{stage.sandbox.ui_url}/namespaces/{stage.sandbox.settings['TEMPORAL_NAMESPACE']}"
    addresses = {
        "Inbox": f"{stage.sandbox.stand_in_url}/inbox",
        "Books": f"{stage.sandbox.stand_in_url}/books",
        "Worker logs": stage.sandbox.state / "workers",
        "The API's log": shop.edge.log_file,
        "Workflows": f"{ui}/workflows",
        "API": f"{shop.url}/docs",
        "A key for it": shop.token(Scope.OPERATOR),
    }
    for workflow_id, run_id in runs.items():
        addresses[workflow_id] = f"{ui}/workflows/{workflow_id}/{run_id}/history"
    width = max(map(len, addresses))
    console.print("\n[bold]Look for yourself")
    for name, address in addresses.items():
        console.print(f"  {name:<{width}} {address}")
