"""The invariants of every order, whatever was killed, checked from outside.

The books of Stripe, the warehouse and the mail service are the truth. PostgreSQL and Temporal must
agree with them and with each other.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Final

from durable_orders.domain.activity_messages import Outcome
from durable_orders.domain.disputes.decisions import REMINDER
from durable_orders.domain.disputes.dispute import Dispute
from durable_orders.domain.ids import mail_key, parcel_refund_id
from durable_orders.domain.lifecycle import Status
from durable_orders.domain.order import Order
from durable_orders.domain.refunds.refund import (
    ACCEPTED_BY_PROVIDER,
    NEVER_ISSUED,
    TAKEN_BY_DISPUTE,
    RefundEntry,
    RefundState,
)
from durable_orders.domain.views import OrderView
from sandbox.books_client import Fulfillment, OrderBooks

#: The final states of a refund: on the card, paid by hand, or without effect.
_FINAL_REFUND_STATES: Final = NEVER_ISSUED | {RefundState.SUCCEEDED, RefundState.SETTLED}


@dataclass(frozen=True)
class OrderEvidence:
    """One order as the database, Temporal and the stand-in's books have it.

    ``outcome`` is the result of its run (None while it is open), ``visible_status`` the search
    attribute that Temporal's Web UI shows, ``refunds`` those requested after it was paid and the
    one that undoes it, ``disputes`` those in the database.
    """

    view: OrderView
    books: OrderBooks
    outcome: Outcome | None
    visible_status: str | None
    refunds: tuple[RefundEntry, ...] = ()
    disputes: tuple[Dispute, ...] = ()

    @property
    def active_fulfillments(self) -> list[Fulfillment]:
        """The fulfilments that were not recalled."""
        return [each for each in self.books.fulfillments if each.status != "recalled"]

    @property
    def net_paid(self) -> int:
        """Captured less refunded, in minor units."""
        return self.books.captured - self.books.refunded

    @property
    def kept(self) -> int:
        """Captured, less refunded, less what disputes took and did not put back."""
        return self.books.kept

    @property
    def requested_refunds(self) -> dict[str, int]:
        """The amounts of the requested refunds by Stripe's refund id."""
        return {
            r.card_refund_id: r.amount.amount
            for r in self.refunds
            if r.state in ACCEPTED_BY_PROVIDER and not r.is_undo
        }

    @property
    def settled_undo(self) -> int:
        """What an operator gave back in place of the refund that undoes it, in minor units."""
        return sum(
            r.amount.amount
            for r in self.refunds
            if r.is_undo and r.state is RefundState.SETTLED and r.why != TAKEN_BY_DISPUTE
        )

    def was_mailed_of(self, refund: RefundEntry) -> bool:
        """Whether the customer is to have a mail of a refund that has arrived. Of one that undoes
        the order and arrived at once, the order's own mail tells.
        """
        if not refund.is_undo:
            return True
        was_late = {f"refund_{RefundState.PENDING}", f"refund_{RefundState.FAILED}"}
        return any(
            line.event in was_late and line.detail.get("refund_id") == refund.request.refund_id
            for line in self.view.history
        )


@dataclass(frozen=True)
class Stock:
    """Pieces of one product: from its row, from its orders (``sold``, ``held``) and from their
    refunds (``returned``).
    """

    sku: str
    initial: int
    on_hand: int
    reserved: int
    sold: int
    held: int
    returned: int = 0


@dataclass(frozen=True)
class InvariantResult:
    """An invariant and its violations, a sentence each."""

    invariant: str
    violations: tuple[str, ...] = ()

    @property
    def holds(self) -> bool:
        return not self.violations


def check_invariants(
    evidence: Iterable[OrderEvidence],
    stock: Iterable[Stock],
    inconsistencies: Iterable[str] = (),
) -> list[InvariantResult]:
    """Check all invariants for these orders, which must have ended, and for all products.

    ``inconsistencies`` are the results of the database's own check.
    """
    orders = list(evidence)
    checks = {
        (
            "Each card is charged once, for what is shipped, less refunds and lost disputes"
        ): _check_money,
        "One parcel for each completed order, none for the others": _check_parcels,
        "What is missing is refunded, what is sent again is not": _check_missing,
        "One confirmation per completed order, one explanation per other, one mail per refund": (
            _check_mails
        ),
        "Every order has ended, and all agree on how": _check_status,
    }
    results = [
        InvariantResult(
            invariant, tuple(violation for order in orders for violation in check(order))
        )
        for invariant, check in checks.items()
    ]
    pieces = tuple(violation for product in stock for violation in _check_stock(product))
    results.insert(
        1, InvariantResult("Every piece is on the shelf or sold, nothing is oversold", pieces)
    )
    results.append(
        InvariantResult("The database's own check finds nothing", tuple(inconsistencies))
    )
    return results


def violations_of(results: Iterable[InvariantResult]) -> list[str]:
    """All violations."""
    return [violation for result in results for violation in result.violations]


def _check_money(evidence: OrderEvidence) -> Iterator[str]:
    order, books = evidence.view.order, evidence.books
    requested = evidence.requested_refunds
    due = order.total.amount - sum(requested.values()) - books.withdrawn
    if not evidence.active_fulfillments:
        due = evidence.settled_undo
    if evidence.kept != due:
        yield f"order {order.id}: Stripe kept {evidence.kept}, not {due}"
    captured = [
        charge for payment in books.payments for charge in payment.charges if charge.captured
    ]
    if len(captured) > 1:
        yield f"order {order.id}: the card was charged {len(captured)} times"
    if held := sum(payment.capturable for payment in books.payments):
        yield f"order {order.id}: {held} is still held on the card"
    refunded = {refund.id: refund.amount for refund in books.refunds if refund.status != "failed"}
    if evidence.active_fulfillments and refunded != requested:
        yield f"order {order.id}: given back {refunded} at Stripe, asked for were {requested}"
    recorded = (
        sum(payment.captured.amount for payment in evidence.view.payments),
        sum(payment.refunded.amount for payment in evidence.view.payments),
    )
    if recorded != (books.captured, books.refunded):
        yield f"order {order.id}: taken and given back are {recorded} in our books, not Stripe's"
    at_stripe = {one.id: (one.status, one.withdrawn) for one in books.disputes}
    in_ours = {one.dispute_id: (str(one.status), one.withdrawn.amount) for one in evidence.disputes}
    if at_stripe != in_ours:
        yield f"order {order.id}: its disputes are {in_ours} in our books, {at_stripe} at Stripe"
    if evidence.outcome:
        reported = (evidence.outcome.taken.amount, evidence.outcome.given_back.amount)
        # Refunds that were requested later are in the outcome of their own run.
        given_back = books.refunded - sum(requested.values()) + evidence.settled_undo
        if books.disputes and not evidence.active_fulfillments:
            # What a dispute took counts as given back, and is refunded if it is won later.
            given_back = books.captured
        if reported != (books.captured, given_back):
            yield f"order {order.id}: taken and given back are {reported} in Temporal, not Stripe's"


def _check_stock(product: Stock) -> Iterator[str]:
    if product.on_hand + product.sold - product.returned != product.initial:
        yield (
            f"{product.sku}: {product.on_hand} on hand and {product.sold} sold, of which "
            f"{product.returned} came back, do not make the {product.initial} there were"
        )
    if product.reserved != product.held:
        yield f"{product.sku}: {product.reserved} set aside, for orders of {product.held}"
    if min(product.on_hand, product.on_hand - product.reserved) < 0:
        yield f"{product.sku}: oversold, {product.on_hand} on hand, {product.reserved} set aside"


def _check_parcels(evidence: OrderEvidence) -> Iterator[str]:
    order = evidence.view.order
    active = evidence.active_fulfillments
    if len(active) != (order.status is Status.COMPLETED):
        yield f"order {order.id}: it is {order.status}, with {len(active)} fulfilments"
        return
    if not active:
        return
    packed = Counter(dict(active[0].short))
    for parcel in active[0].last_sent:
        packed.update(dict(parcel.lines))
    if packed != {line.sku: line.quantity for line in order.lines}:
        yield f"order {order.id}: packed or short is {dict(packed)}, not what was ordered"
    ids = {parcel.id for parcel in active[0].parcels}
    if ids != {parcel.parcel_id for parcel in evidence.view.parcels}:
        yield f"order {order.id}: the database names other parcels than {sorted(ids)}"
    if evidence.outcome and ids != set(evidence.outcome.parcel_ids):
        yield f"order {order.id}: Temporal names other parcels than {sorted(ids)}"


def _check_missing(evidence: OrderEvidence) -> Iterator[str]:
    order = evidence.view.order
    wanted = {
        refund.request.refund_id: Counter(dict(refund.request.lines))
        for refund in evidence.refunds
        if refund.state not in NEVER_ISSUED
    }
    for fulfillment in evidence.active_fulfillments:
        short = Counter(dict(fulfillment.short))
        if short and not any(short <= lines for lines in wanted.values()):
            yield f"order {order.id}: {dict(short)} was never sent, and is not refunded"
        for parcel in fulfillment.parcels:
            if parcel.resends and parcel_refund_id(parcel.resends) in wanted:
                yield f"order {order.id}: parcel {parcel.resends} was sent again and refunded"


def _check_mails(evidence: OrderEvidence) -> Iterator[str]:
    order = evidence.view.order
    kind = "confirmation" if order.status is Status.COMPLETED else "closing"
    was_refused = evidence.outcome is not None and not evidence.outcome.confirmed
    expected = {} if was_refused else {mail_key(order.key_prefix, order.id, kind): 1}
    for refund in evidence.refunds:
        if refund.state is RefundState.SUCCEEDED and evidence.was_mailed_of(refund):
            kind = f"refund:{refund.request.refund_id}:{refund.attempt}"
            expected[mail_key(order.key_prefix, order.id, kind)] = 1
    sent = evidence.books.mails_by_key()
    expected |= {key: 1 for key in sent if key.startswith(_reminders(order))}
    request = mail_key(order.key_prefix, order.id, "payment_request")
    if order.options.off_session and request in sent:
        expected[request] = 1
    for parcel in evidence.view.parcels:
        # No mail is needed when a parcel's arrival is known before its departure.
        key = mail_key(order.key_prefix, order.id, f"shipped-{parcel.parcel_id}")
        if parcel.status != "accepted" and key in sent:
            expected[key] = 1
    if sent != expected:
        yield f"order {order.id}: it is {order.status}, and its mails are {dict(sent)}"


def _reminders(order: Order) -> tuple[str, ...]:
    """What the keys of reminders to the approver begin with: there may be one of each."""
    kinds = ("approval_reminder", "refund_approval_reminder_", REMINDER)
    return tuple(mail_key(order.key_prefix, order.id, kind) for kind in kinds)


def _check_status(evidence: OrderEvidence) -> Iterator[str]:
    order, outcome = evidence.view.order, evidence.outcome
    if not order.status.is_final:
        yield f"order {order.id}: it has not ended, it is {order.status}"
    for refund in evidence.refunds:
        if refund.state not in _FINAL_REFUND_STATES:
            yield f"order {order.id}: its refund {refund.request.refund_id} is {refund.state}"
    if outcome is None:
        yield f"order {order.id}: its run has not ended"
    elif outcome.status is not order.status:
        yield f"order {order.id}: {order.status} in the database, {outcome.status} in Temporal"
    if evidence.visible_status != order.status:
        yield f"order {order.id}: {order.status}, and the Web UI shows {evidence.visible_status}"
    if contradiction := _contradiction(evidence):
        yield f"order {order.id}: it is {order.status}, but {contradiction}"
    if order.status in {Status.REJECTED, Status.CANCELLED, Status.REFUNDED} and (
        evidence.view.stock not in {"none", "released"}
    ):
        yield f"order {order.id}: it is {order.status}, and its stock is {evidence.view.stock}"


def _contradiction(evidence: OrderEvidence) -> str:
    """What contradicts the status in Stripe's books; empty when they agree."""
    match evidence.view.order.status:
        case Status.COMPLETED if evidence.net_paid + sum(evidence.requested_refunds.values()) <= 0:
            return "nothing was paid"
        case Status.REFUNDED if not evidence.books.captured:
            return "nothing was ever taken"
        case Status.REJECTED | Status.CANCELLED if evidence.books.captured:
            return f"{evidence.books.captured} was taken"
    return ""
