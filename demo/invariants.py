"""What must hold of every order, whatever was killed: five promises, checked from outside.

The books of Stripe, the warehouse and the mail service say what really happened. PostgreSQL and
Temporal have to agree with them and with each other.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Final

from orders.ids import mail_key
from orders.lifecycle import Status
from orders.messages import Outcome
from orders.refunds import BOOKED, FREED, RefundEntry, RefundState
from orders.views import OrderView
from sandbox.books_client import Fulfillment, OrderBooks

#: A refund is over: it is on the customer's card, was paid by hand, or never began.
_REFUND_ENDS: Final = FREED | {RefundState.SUCCEEDED, RefundState.SETTLED}


@dataclass(frozen=True)
class Account:
    """One order, as everybody who had to do with it tells it.

    ``outcome`` is how its run ended (None while it has not), ``shown`` the status that Temporal's
    Web UI shows, ``refunds`` what was asked to be given back of it once it was paid and shipped.
    """

    view: OrderView
    page: OrderBooks
    outcome: Outcome | None
    shown: str | None
    refunds: tuple[RefundEntry, ...] = ()

    @property
    def standing(self) -> list[Fulfillment]:
        """What the warehouse ships, or has shipped, for the order."""
        return [each for each in self.page.fulfillments if each.status != "recalled"]

    @property
    def kept(self) -> int:
        """What the order cost the customer in the end, in minor units."""
        return self.page.captured - self.page.refunded

    @property
    def asked_back(self) -> dict[str, int]:
        """What the refunds somebody asked for gave back: Stripe's id of each, and its amount."""
        return {r.card_refund_id: r.amount.amount for r in self.refunds if r.state in BOOKED}


@dataclass(frozen=True)
class Stock:
    """Pieces of one product: as its row says, and as its orders say (``sold``, ``held``) and their
    refunds (``returned`` to the shelf).
    """

    sku: str
    initial: int
    on_hand: int
    reserved: int
    sold: int
    held: int
    returned: int = 0


@dataclass(frozen=True)
class Finding:
    """A promise, and where it is broken: a sentence each."""

    promise: str
    faults: tuple[str, ...] = ()

    @property
    def holds(self) -> bool:
        return not self.faults


def examine(
    accounts: Iterable[Account], stock: Iterable[Stock], database_faults: Iterable[str] = ()
) -> list[Finding]:
    """All promises for these orders, which must have ended, and for all of the stock."""
    accounts = list(accounts)
    checks = {
        "Each card is charged once, for what is shipped, less the refunds asked for": _money,
        "One parcel for each completed order, none for the others": _parcels,
        "One confirmation per completed order, one explanation per other, one mail per refund": (
            _mails
        ),
        "Every order has ended, and all agree on how": _status,
    }
    findings = [
        Finding(promise, tuple(fault for account in accounts for fault in _of(check(account))))
        for promise, check in checks.items()
    ]
    pieces = tuple(fault for product in stock for fault in _pieces(product))
    findings.insert(1, Finding("Every piece is on the shelf or sold, nothing is oversold", pieces))
    findings.append(Finding("The database's own check finds nothing", tuple(database_faults)))
    return findings


def faults_of(findings: Iterable[Finding]) -> list[str]:
    """Every fault that was found."""
    return [fault for finding in findings for fault in finding.faults]


def _of(found: Iterator[str]) -> list[str]:
    return list(found)


def _money(account: Account) -> Iterator[str]:
    order, page = account.view.order, account.page
    asked_back = account.asked_back
    due = order.total.amount - sum(asked_back.values()) if account.standing else 0
    if account.kept != due:
        yield f"order {order.id}: Stripe kept {account.kept}, not {due}"
    took = [charge for payment in page.payments for charge in payment.charges if charge.captured]
    if len(took) > 1:
        yield f"order {order.id}: the card was charged {len(took)} times"
    if held := sum(payment.capturable for payment in page.payments):
        yield f"order {order.id}: {held} is still held on the card"
    given_back = {refund.id: refund.amount for refund in page.refunds if refund.status != "failed"}
    if account.standing and given_back != asked_back:
        yield f"order {order.id}: given back {given_back} at Stripe, asked for were {asked_back}"
    told = (
        sum(payment.captured.amount for payment in account.view.payments),
        sum(payment.refunded.amount for payment in account.view.payments),
    )
    if told != (page.captured, page.refunded):
        yield f"order {order.id}: taken and given back are {told} in our books, not Stripe's"
    if account.outcome:
        said = (account.outcome.taken.amount, account.outcome.given_back.amount)
        # What is given back once the order is on its way is told by the refund's run.
        if said != (page.captured, page.refunded - sum(asked_back.values())):
            yield f"order {order.id}: taken and given back are {said} in Temporal, not Stripe's"


def _pieces(product: Stock) -> Iterator[str]:
    if product.on_hand + product.sold - product.returned != product.initial:
        yield (
            f"{product.sku}: {product.on_hand} on hand and {product.sold} sold, of which "
            f"{product.returned} came back, do not make the {product.initial} there were"
        )
    if product.reserved != product.held:
        yield f"{product.sku}: {product.reserved} set aside, for orders of {product.held}"
    if min(product.on_hand, product.on_hand - product.reserved) < 0:
        yield f"{product.sku}: oversold, {product.on_hand} on hand, {product.reserved} set aside"


def _parcels(account: Account) -> Iterator[str]:
    order = account.view.order
    standing = account.standing
    if len(standing) != (order.status is Status.COMPLETED):
        yield f"order {order.id}: it is {order.status}, with {len(standing)} fulfilments"
        return
    if not standing:
        return
    packed = Counter(dict(standing[0].short))
    for parcel in standing[0].last_sent:
        packed.update(dict(parcel.lines))
    if packed != {line.sku: line.quantity for line in order.lines}:
        yield f"order {order.id}: packed or short is {dict(packed)}, not what was ordered"
    ids = {parcel.id for parcel in standing[0].parcels}
    if ids != {parcel.parcel_id for parcel in account.view.parcels}:
        yield f"order {order.id}: the database names other parcels than {sorted(ids)}"
    if account.outcome and ids != set(account.outcome.parcel_ids):
        yield f"order {order.id}: Temporal names other parcels than {sorted(ids)}"


def _mails(account: Account) -> Iterator[str]:
    order = account.view.order
    kind = "confirmation" if order.status is Status.COMPLETED else "closing"
    was_refused = account.outcome is not None and not account.outcome.confirmed
    expected = {} if was_refused else {mail_key(order.id, kind): 1}
    for refund in account.refunds:
        if refund.state is RefundState.SUCCEEDED:
            told = f"refund:{refund.request.refund_id}:{refund.attempt}"
            expected[mail_key(order.id, told)] = 1
    sent = account.page.mails_by_key()
    for parcel in account.view.parcels:
        # A parcel that arrived before it was known to have left needs no mail.
        key = mail_key(order.id, f"shipped-{parcel.parcel_id}")
        if parcel.status != "accepted" and key in sent:
            expected[key] = 1
    if sent != expected:
        yield f"order {order.id}: it is {order.status}, and its mails are {dict(sent)}"


def _status(account: Account) -> Iterator[str]:
    order, outcome = account.view.order, account.outcome
    if not order.status.is_end:
        yield f"order {order.id}: it has not ended, it is {order.status}"
    for refund in account.refunds:
        if refund.state not in _REFUND_ENDS:
            yield f"order {order.id}: its refund {refund.request.refund_id} is {refund.state}"
    if outcome is None:
        yield f"order {order.id}: its run has not ended"
    elif outcome.status is not order.status:
        yield f"order {order.id}: {order.status} in the database, {outcome.status} in Temporal"
    if account.shown != order.status:
        yield f"order {order.id}: {order.status}, and the Web UI shows {account.shown}"
    if really := _contradiction(account):
        yield f"order {order.id}: it is {order.status}, but {really}"
    if order.status in {Status.REJECTED, Status.CANCELLED, Status.REFUNDED} and (
        account.view.stock not in {"none", "released"}
    ):
        yield f"order {order.id}: it is {order.status}, and its stock is {account.view.stock}"


def _contradiction(account: Account) -> str:
    """What Stripe's books say against the status; empty when they agree."""
    match account.view.order.status:
        case Status.COMPLETED if account.kept <= 0:
            return "nothing was paid"
        case Status.REFUNDED if not account.page.captured:
            return "nothing was ever taken"
        case Status.REJECTED | Status.CANCELLED if account.page.captured:
            return f"{account.page.captured} was taken"
    return ""
