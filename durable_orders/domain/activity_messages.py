"""Messages of the order workflow: inputs and answers of its activities, Updates and queries.

One frozen message in, one out. An expected answer is a value with a ``kind``; an exception means
that there was *no answer*. Workflow history keeps these for weeks, and Temporal's Web UI shows
them: ids, amounts and decisions only, no names, addresses or card data.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime
from typing import Literal

from durable_orders.domain.disputes.dispute import PaymentConcern
from durable_orders.domain.lifecycle import Status, Stop, StopReason
from durable_orders.domain.message_texts import Actor, By, OrderId
from durable_orders.domain.money import Money
from durable_orders.domain.parcels import Parcel
from durable_orders.domain.terms import OrderTerms


@dataclass(frozen=True)
class OrderRef:
    """An order, by its id."""

    order_id: str


# -- read_order, begin_order -----------------------------------------------------------------------


@dataclass(frozen=True)
class OrderSummary:
    """The part of an order that its workflow needs. ``key_prefix`` as in ``Order``,
    ``off_session`` as in ``PaymentOptions``; ``run_id`` is the first run of the workflow that
    carries it, empty before that has reserved the stock. ``cancelled_unstarted``: it was cancelled
    before a run had begun it, and no run has told its customer. ``placed_by`` is the
    ``actor`` who placed it: the name of an API key, or a user of the command line; else empty.
    """

    order_id: str
    customer_id: str
    total: Money
    status: Status
    flagged: bool = False
    key_prefix: str = ""
    off_session: bool = False
    run_id: str = ""
    cancelled_unstarted: bool = False
    placed_by: str = ""

    def is_carried_by_another(self, run_id: str) -> bool:
        """Whether another run than the one whose first is ``run_id`` has carried the order.

        An order of any status may be a run's own: its first workflow task is done again when it
        loses its worker, or when Temporal itself was put back to an earlier state. One that was
        cancelled before any run had begun it is brought to its end by the first one that does.
        """
        begins_here = self.status in {Status.PLACED, Status.AWAITING_APPROVAL}
        return not (begins_here or self.cancelled_unstarted or self.run_id == run_id)


@dataclass(frozen=True)
class OrderWithTerms:
    """An order and the terms that hold for it."""

    order: OrderSummary
    terms: OrderTerms


# -- what the order's row forbids ------------------------------------------------------------------


@dataclass(frozen=True)
class OrderUndone:
    """The order is being undone, or has ended early, for the reason in its row: the step did
    nothing.
    """

    stop: Stop
    kind: Literal["order_undone"] = "order_undone"


# -- begin_undo ------------------------------------------------------------------------------------


@dataclass(frozen=True)
class UndoRequest:
    """Undo the order that ``run_id``, the first run of its workflow, carries."""

    order_id: str
    stop: Stop
    run_id: str = ""


@dataclass(frozen=True)
class UndoBegun:
    """The order is being undone, for this reason: from now on its row refuses every other step.

    ``stop`` is that of the first request. ``charged`` and ``handed_over``: by our books it has a
    charge, and the warehouse may have been asked.
    """

    stop: Stop
    charged: bool = False
    handed_over: bool = False
    kind: Literal["undo_begun"] = "undo_begun"


@dataclass(frozen=True)
class EndedBefore:
    """The order was undone to its end before, and this is how: there is nothing left to do."""

    status: Status
    stop: Stop
    taken: Money
    given_back: Money
    kind: Literal["ended_before"] = "ended_before"


@dataclass(frozen=True)
class AlreadyFulfilled:
    """Our database has the order past its point of no return: it stands, with these parcels."""

    parcel_ids: tuple[str, ...] = ()
    kind: Literal["kept_before"] = "kept_before"


UndoAnswer = UndoBegun | EndedBefore | AlreadyFulfilled


# -- reserve_inventory, release_inventory, update_inventory ----------------------------------------


@dataclass(frozen=True)
class Reservation:
    """Reserve the order's stock, for the workflow whose first run is ``run_id``."""

    order_id: str
    run_id: str = ""


@dataclass(frozen=True)
class Reserved:
    """All lines are reserved."""

    kind: Literal["reserved"] = "reserved"


@dataclass(frozen=True)
class OutOfStock:
    """Not all lines are in stock, so none is reserved. ``available`` units of ``sku`` are left."""

    sku: str
    wanted: int
    available: int
    kind: Literal["out_of_stock"] = "out_of_stock"


@dataclass(frozen=True)
class ReservationClosed:
    """This order's stock was committed or released before: it cannot be reserved again."""

    state: Literal["committed", "released"]
    kind: Literal["reservation_closed"] = "reservation_closed"


ReserveAnswer = Reserved | OutOfStock | ReservationClosed | OrderUndone


@dataclass(frozen=True)
class OrderBegun:
    """An order, its terms, and whether its ``stock`` is reserved: None when another run has carried
    it, then nothing was done. ``charge_locally``: whether its charge is tried as a local activity.
    """

    found: OrderWithTerms
    stock: ReserveAnswer | None
    charge_locally: bool = False


@dataclass(frozen=True)
class CommitRequest:
    """Take the order's stock for good; with ``ends_as``, a status that may follow on FULFILLED, end
    the order as this at the same time.
    """

    order_id: str
    ends_as: Status | None = None


@dataclass(frozen=True)
class StockCommitted:
    """The stock is taken for good, and the order is fulfilled; ``status`` is what it has become
    with that. Where it had happened before, ``status`` and ``parcels`` are what has become of it
    since.
    """

    status: Status = Status.FULFILLED
    parcels: tuple[Parcel, ...] = ()
    kind: Literal["stock_committed"] = "stock_committed"


CommitAnswer = StockCommitted | OrderUndone


# -- charge_card, refund_card ----------------------------------------------------------------------


@dataclass(frozen=True)
class ChargeRequest:
    """Charge the order's total: try ``number``, from 1 (another card, or the same card after a soft
    decline), not counting retries.

    ``payment_method`` is the provider's token of another card than the order's own. With ``hold``
    the money is only authorized. ``off_session``: the customer is away, so a bank that wants to
    hear from them declines.
    """

    order_id: str
    number: int = 1
    payment_method: str | None = None
    hold: bool = False
    off_session: bool = False


@dataclass(frozen=True)
class Paid:
    """The money is captured, and some of it perhaps ``given_back`` at the provider, not by this
    order; ``concerns`` is what makes it uncertain.
    """

    payment_id: str
    amount: Money
    concerns: tuple[PaymentConcern, ...] = ()
    given_back: Money | None = None
    kind: Literal["paid"] = "paid"


@dataclass(frozen=True)
class Held:
    """The money is authorized until ``capture_before``, if the provider said when that is;
    ``concerns`` is what makes it uncertain.
    """

    payment_id: str
    amount: Money
    capture_before: datetime | None = None
    concerns: tuple[PaymentConcern, ...] = ()
    kind: Literal["held"] = "held"


@dataclass(frozen=True)
class Declined:
    """The bank declined. ``code`` is the provider's decline code; ``payment_id`` the charge that
    another try, or the customer in a browser, may still pay.
    """

    code: str
    payment_id: str = ""
    kind: Literal["declined"] = "declined"


@dataclass(frozen=True)
class UnusableCard:
    """The payment method cannot be charged here, and no bank was asked. ``code`` is the provider's.

    Another one may be tried.
    """

    code: str
    kind: Literal["unusable_card"] = "unusable_card"


@dataclass(frozen=True)
class AmountRefused:
    """The provider charges no card this amount, in this currency. ``code`` is the provider's."""

    code: str
    kind: Literal["amount_refused"] = "amount_refused"


@dataclass(frozen=True)
class CustomerUnknown:
    """The provider does not know the customer whose card is to be charged: no card can be, and
    there is no charge. ``code`` is the provider's.
    """

    code: str
    kind: Literal["customer_unknown"] = "customer_unknown"


@dataclass(frozen=True)
class AuthenticationRequired:
    """The customer has to authenticate (3-D Secure). Nothing is taken yet."""

    payment_id: str
    kind: Literal["authentication_required"] = "authentication_required"


@dataclass(frozen=True)
class Processing:
    """The bank has not decided yet."""

    payment_id: str
    kind: Literal["processing"] = "processing"


@dataclass(frozen=True)
class ChargingClosed:
    """The order was closed for charging before this charge could begin: nothing was taken."""

    kind: Literal["charging_closed"] = "charging_closed"


@dataclass(frozen=True)
class PaymentEnded:
    """The charge was cancelled at the provider, and not by this order: by hand, after too many
    tries, or because the bank let go of the hold. It takes nothing.
    """

    payment_id: str
    kind: Literal["payment_ended"] = "payment_ended"


@dataclass(frozen=True)
class PaymentReturned:
    """All that was taken was given back at the provider, and not by this order."""

    payment_id: str
    taken: Money
    given_back: Money
    kind: Literal["payment_returned"] = "payment_returned"


@dataclass(frozen=True)
class TryExpired:
    """The try got no answer for so long that the provider may have forgotten its key: it has taken
    nothing, and is never made again.
    """

    kind: Literal["try_expired"] = "try_expired"


ChargeAnswer = (
    Paid
    | Held
    | Declined
    | UnusableCard
    | AmountRefused
    | CustomerUnknown
    | AuthenticationRequired
    | Processing
    | ChargingClosed
    | PaymentEnded
    | PaymentReturned
    | TryExpired
    | OrderUndone
)


@dataclass(frozen=True)
class HoldLapsed:
    """The authorization is gone, or the bank does not pay what it held: nothing is captured."""

    payment_id: str
    kind: Literal["hold_lapsed"] = "hold_lapsed"


CaptureAnswer = Paid | HoldLapsed | PaymentReturned | OrderUndone


@dataclass(frozen=True)
class ChargesUndone:
    """Sums over all charges of an undone order: all that was ever taken, all that was given back,
    by us or by a bank after a dispute.

    The two are equal, and the order can never be charged again. ``on_its_way`` is what of it has
    not arrived: the bank has not accepted it, or has sent it back. None when all of it has.
    """

    taken: Money
    given_back: Money
    on_its_way: Money | None = None
    kind: Literal["charges_undone"] = "charges_undone"


@dataclass(frozen=True)
class ManualRefund:
    """An operator gave ``amount`` back outside the card provider; 0 when nothing was due.

    ``by`` is a role or an account id; ``note`` holds no personal data.
    """

    order_id: str
    amount: Money
    by: str
    note: str


# -- fulfill_order, read_fulfillment, cancel_fulfillment -------------------------------------------


@dataclass(frozen=True)
class Fulfilled:
    """The warehouse accepted the order and will ship it as these parcels.

    ``short`` will not be shipped, as (sku, pieces): never the whole order. ``contents`` is what
    each parcel holds, in the same form.
    """

    fulfillment_id: str
    parcel_ids: tuple[str, ...]
    short: tuple[tuple[str, int], ...] = ()
    contents: dict[str, tuple[tuple[str, int], ...]] = field(default_factory=dict)
    kind: Literal["fulfilled"] = "fulfilled"


@dataclass(frozen=True)
class CannotFulfill:
    """The warehouse will not ship this order. ``message`` is a sentence of ours with its code: its
    own words are in the order's history.
    """

    message: str
    kind: Literal["cannot_fulfill"] = "cannot_fulfill"


FulfillAnswer = Fulfilled | CannotFulfill
FulfillOrderAnswer = FulfillAnswer | OrderUndone


@dataclass(frozen=True)
class ContentsUnknown:
    """The warehouse's record does not say what is in the order's parcels, or nothing that can be
    true: ``message`` says which. ``parcel_ids`` are those that it names.
    """

    message: str
    parcel_ids: tuple[str, ...] = ()
    kind: Literal["contents_unknown"] = "contents_unknown"


ReadFulfillmentAnswer = Fulfilled | ContentsUnknown


@dataclass(frozen=True)
class FulfillmentCancelled:
    """The order will not leave the warehouse, now or later, whether it was accepted or not."""

    kind: Literal["recalled"] = "recalled"


@dataclass(frozen=True)
class AlreadyLeft:
    """Too late to cancel: these parcels are on their way."""

    fulfillment_id: str
    parcel_ids: tuple[str, ...]
    kind: Literal["already_left"] = "already_left"


WarehouseCancelAnswer = FulfillmentCancelled | AlreadyLeft


# -- resend_parcel ---------------------------------------------------------------------------------


@dataclass(frozen=True)
class ParcelRef:
    """A parcel of an order, by their ids."""

    order_id: str
    parcel_id: str


@dataclass(frozen=True)
class Resent:
    """The warehouse sends the parcel's contents again, as this new parcel."""

    fulfillment_id: str
    parcel_id: str
    kind: Literal["resent"] = "resent"


ResendAnswer = Resent | CannotFulfill


@dataclass(frozen=True)
class ResendUnanswered:
    """It is not known whether the warehouse sends the parcel again, as ``by`` has asked for: it
    gives no answer, as ``problem`` says, and is asked on.
    """

    parcel_id: str
    by: str
    problem: str
    actor: str = ""
    kind: Literal["resend_unanswered"] = "resend_unanswered"


ResendOutcome = Resent | ResendUnanswered


# -- record_parcel, send_shipped_email -------------------------------------------------------------


@dataclass(frozen=True)
class OrderParcel:
    """The latest state of one parcel of an order."""

    order_id: str
    parcel: Parcel


@dataclass(frozen=True)
class Confirmation:
    """Confirm the order to the customer, except for the (sku, pieces) that are ``short``."""

    order_id: str
    short: tuple[tuple[str, int], ...] = ()


@dataclass(frozen=True)
class PaymentRequest:
    """Ask the customer, who is away, to confirm the payment: on the shop's page at ``payment_url``,
    which is empty when there is none.
    """

    order_id: str
    payment_url: str = ""


@dataclass(frozen=True)
class Closing:
    """Tell the customer how the order ended. ``on_its_way``: as in ``ChargesUndone``."""

    order_id: str
    on_its_way: Money | None = None


# -- send_confirmation_email, send_closing_email ---------------------------------------------------


@dataclass(frozen=True)
class MailSent:
    mail_id: str
    kind: Literal["mail_sent"] = "mail_sent"


@dataclass(frozen=True)
class MailRefused:
    """The email service will never send this email, because of a wrong address say. ``message`` is
    a sentence of ours with its code.
    """

    message: str
    kind: Literal["mail_refused"] = "mail_refused"


@dataclass(frozen=True)
class MailWithheld:
    """The email would say what is not true of the order: it is not sent."""

    message: str
    kind: Literal["mail_withheld"] = "mail_withheld"


MailAnswer = MailSent | MailRefused | MailWithheld


# -- record_status ---------------------------------------------------------------------------------


@dataclass(frozen=True)
class StatusChange:
    """Set the order's status and add a line to its history. ``parcels`` are the parcel states that
    led to it, recorded first.
    """

    order_id: str
    status: Status
    stop: Stop | None = None
    parcels: tuple[Parcel, ...] = ()


@dataclass(frozen=True)
class Note:
    """A line for the order's history. Its detail holds no personal data."""

    order_id: str
    event: str
    detail: dict[str, str]


# -- cancel (update) and cancel_order (signal) -----------------------------------------------------


@dataclass(frozen=True)
class CancelRequest:
    """Cancel this order. ``by`` is a role or an account id, never a person's name; ``actor`` as in
    ``workflow_messages``.
    """

    by: By = "customer"
    actor: Actor = ""


@dataclass(frozen=True)
class Cancelled:
    """The order was stopped and undone; ``given_back`` is what was refunded."""

    status: Status
    given_back: Money
    kind: Literal["cancelled"] = "cancelled"


@dataclass(frozen=True)
class EndedOtherwise:
    """The order ended before the cancellation could take effect: see ``status``."""

    status: Status
    reason: StopReason | None = None
    kind: Literal["ended_otherwise"] = "ended_otherwise"


CancelAnswer = Cancelled | EndedOtherwise


@dataclass(frozen=True)
class CancelUnderWay:
    """The cancellation is accepted and survives any crash; it takes longer than was waited."""

    kind: Literal["under_way"] = "under_way"


# -- status (query) and the run's result -----------------------------------------------------------


@dataclass(frozen=True)
class Attention:
    """What an operator has to look at: ``step`` since ``since`` (ISO 8601, UTC), its ``problem``.

    ``can`` names the commands that an operator may give about it, by their ``kind``. With
    ``asks_given_back`` an operator who resolves it has to report what was given back by hand.
    """

    step: str
    since: str
    problem: str
    can: tuple[str, ...] = ()
    asks_given_back: bool = False

    @property
    def is_tried(self) -> bool:
        """Whether it is a step that keeps failing and is still being tried."""
        return "retry_now" in self.can


@dataclass(frozen=True)
class Progress:
    """Progress of a running order, as its workflow knows it."""

    order_id: str
    status: Status
    doing: str
    stop: Stop | None = None
    cancel_requested: bool = False
    attention: Attention | None = None


@dataclass(frozen=True)
class Outcome:
    """How an order ended. ``confirmed`` is False when the email is not known to have been sent: the
    email service refused it, or gave no answer.
    """

    order_id: str
    status: Status
    taken: Money
    given_back: Money
    parcel_ids: tuple[str, ...] = ()
    stop: Stop | None = None
    confirmed: bool = True


# -- input of the order workflow -------------------------------------------------------------------


@dataclass(frozen=True)
class OrderSnapshot:
    """The state of an order that continues as new: it only follows the parcels, until ``deadline``.

    ``settled`` are parcels that are no longer waited for, ``short`` and ``contents`` as in
    ``Fulfilled``. ``confirmed`` as in ``Outcome``, None when the confirmation is still to be mailed
    and what is short to be refunded. All news of the order's ``parcels`` are recorded; there may be
    parcels of which there was news before the warehouse named them. ``resends`` are parcels of
    which it is not known whether the warehouse sends them again: it has to be asked on.
    """

    terms: OrderTerms
    status: Status
    total: Money
    taken: Money
    parcel_ids: tuple[str, ...]
    short: tuple[tuple[str, int], ...]
    contents: dict[str, tuple[tuple[str, int], ...]]
    parcels: tuple[Parcel, ...]
    settled: tuple[str, ...]
    deadline: datetime
    confirmed: bool | None
    given_back: Money | None = None
    settled_by_hand: bool = False
    resends: tuple[ResendUnanswered, ...] = ()
    cancel: CancelRequest | None = None
    attention: Attention | None = None


@dataclass(frozen=True)
class OrderInput:
    """Process this order to its end. ``so_far``: the state in which an earlier run left it."""

    order_id: OrderId
    so_far: OrderSnapshot | None = None
