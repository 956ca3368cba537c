"""What the customers, their banks, the operators and the carriers do, by the kind of the order."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Final

import httpx

from chaos.observer import Observer, Seen
from chaos.plan import OrderKind, PlannedOrder
from chaos.shop import Answer, NobodyAnsweredError, Shop
from durable_orders.clients.errors import OrderClientError, UnreachableError
from durable_orders.clients.order_operations import OrderOperations
from durable_orders.domain.lifecycle import Status, StopReason
from durable_orders.domain.ports import ChargeState, ProviderError
from sandbox.fault_client import FaultClient, Mode

_VISA: Final = "pm_card_visa"
_OTHER_CARD: Final = "pm_card_mastercard"
_CARDS: Final = {
    OrderKind.AUTHENTICATED: "pm_card_threeDSecure2Required",
    OrderKind.AUTHENTICATION_FAILED: "pm_card_threeDSecure2Required",
    OrderKind.AUTHENTICATION_FORGOTTEN: "pm_card_threeDSecure2Required",
    OrderKind.DECLINED: "pm_card_visa_chargeDeclined",
    OrderKind.SECOND_CARD: "pm_card_visa_chargeDeclinedInsufficientFunds",
    OrderKind.REFUND_PENDING: "pm_card_pendingRefund",
    OrderKind.DISPUTED_AT_ONCE: "pm_card_createDisputeProductNotReceived",
}
#: The card that a customer who is away has saved.
_SAVED: Final = {
    OrderKind.SAVED_CARD: _VISA,
    OrderKind.SOFT_DECLINE: _VISA,
    OrderKind.ASKED_BY_MAIL: "pm_card_authenticationRequired",
}
#: A fault of the stand-in for this order alone: endpoint, mode, and more.
_OWN_FAULTS: Final[dict[OrderKind, tuple[str, Mode, dict[str, Any]]]] = {
    OrderKind.SHORT: ("warehouse.fulfillments.create", "short", {}),
    OrderKind.TWO_PARCELS: ("warehouse.fulfillments.create", "split", {"parcels": 2}),
    OrderKind.NOT_FULFILLABLE: ("warehouse.fulfillments.create", "refuse", {}),
    OrderKind.SOFT_DECLINE: (
        "stripe.payment_intents.confirm",
        "refuse",
        {"reason": "try_again_later", "times": 1},
    ),
    OrderKind.HOLD_LAPSED: (
        "warehouse.fulfillments.create",
        "delay",
        {"seconds": 4.0, "times": 1},
    ),
}
#: Orders whose end waits for a customer, an operator or a bank who lets time pass.
MADE_TO_WAIT: Final = frozenset(
    {
        OrderKind.APPROVAL_FORGOTTEN,
        OrderKind.AUTHENTICATION_FORGOTTEN,
        OrderKind.DECLINED,  # another card is waited for
        OrderKind.SOFT_DECLINE,
    }
)

#: How often an operator asks for a lost parcel to be sent again, at least a second apart.
_RESEND_TRIES: Final = 90

#: How an order may end: completed (None), or for a reason.
End = StopReason | None


@dataclass
class Customer:
    """One order as its customer knows it.

    ``ends`` are those that fit what the customer was told and has done. A card provider that gives
    three times no answer ends any order that is not paid.
    """

    order: PlannedOrder
    ends: set[End] = field(default_factory=lambda: {None, StopReason.NO_ANSWER})
    is_placed: bool = False
    is_checked_out: bool = False
    #: The answer of a cancellation says so.
    told_status: Status | None = None
    #: When each parcel was sent off.
    dispatched: dict[str, datetime] = field(default_factory=dict)
    #: When the customer, or somebody else, did the last thing about it (``time.time``).
    acted_at: float = 0.0
    #: What went wrong that should not, a sentence each.
    complaints: list[str] = field(default_factory=list)

    @property
    def order_id(self) -> str:
        return self.order.order_id

    def expect(self, *ends: End) -> None:
        """Only these are right from now on, or no answer of the card provider."""
        self.ends = {*ends, StopReason.NO_ANSWER}

    def allow(self, *ends: End) -> None:
        self.ends |= set(ends)


class Customers:
    """Acts for every customer of the plan; see ``live``."""

    def __init__(
        self,
        shop: Shop,
        observer: Observer,
        faults: FaultClient,
        operations: OrderOperations,
        stand_in_url: str,
    ) -> None:
        self._shop = shop
        self._observer = observer
        self._faults = faults
        self._operations = operations
        self._stand_in = httpx.AsyncClient(base_url=stand_in_url, timeout=60)
        self.all: dict[str, Customer] = {}

    async def aclose(self) -> None:
        await self._stand_in.aclose()

    async def live(self, order: PlannedOrder) -> None:
        """Do all that this order's customer, bank, operator and carrier do, until it is over."""
        customer = self.all[order.order_id] = Customer(order)
        await self._unless_unanswered(customer, self._live(customer))

    async def approve_refunds(self) -> None:
        """Have a second operator approve every refund that waits for it, until cancelled."""
        while True:
            for order_id, refund_id in sorted(self._observer.to_approve):
                path = f"/orders/{order_id}/refunds/{refund_id}/approve"
                with contextlib.suppress(NobodyAnsweredError):
                    await self._shop.as_operator(path, second=True)
            await asyncio.sleep(1)

    async def _unless_unanswered(self, customer: Customer, doing: Awaitable[None]) -> None:
        """Do it; the customer complains when nobody answered."""
        try:
            await doing
        except NobodyAnsweredError as error:
            customer.complaints.append(f"order {customer.order_id}: {error}")

    # -- a life --------------------------------------------------------------------------------

    async def _live(self, customer: Customer) -> None:
        kind, order_id = customer.order.kind, customer.order_id
        basket = await self._basket(customer.order)
        fault = None
        if kind in _OWN_FAULTS:
            endpoint, mode, more = _OWN_FAULTS[kind]
            fault = await self._faults.inject(endpoint, mode, order_id=order_id, **more)
        await self._place(customer, basket)
        if kind is OrderKind.CANCELLED_UNSTARTED:
            customer.expect(StopReason.CANCELLED)
            await self._cancel(customer)
            return
        await self._check_out(customer)
        carrier = asyncio.create_task(self._carry(customer))
        try:
            if (act := self._acts.get(kind)) is not None:
                await self._unless_unanswered(customer, act(self, customer))
            await carrier  # whatever its customer was told, the order goes on
            if (act := self._acts_after.get(kind)) is not None:
                await act(self, customer)
        finally:
            carrier.cancel()
            if fault is not None:
                await self._faults.remove(fault)

    async def _basket(self, order: PlannedOrder) -> dict[str, Any]:
        basket: dict[str, Any] = {
            "order_id": order.order_id,
            "customer_id": f"customer-{order.order_id}",
            "recipient": {
                "name": "Ada Lovelace",
                "email": f"{order.order_id}@example.com",
                "address": "12 St James's Square\nLondon",
            },
            "lines": [{"sku": sku, "quantity": quantity} for sku, quantity in order.lines],
            "payment_method": _CARDS.get(order.kind, _VISA),
        }
        if order.kind in _SAVED:
            found = await self._at_stand_in("customers", payment_method=_SAVED[order.kind])
            return {**basket, **found.json(), "off_session": True}
        if order.kind is OrderKind.CARD_SAVED:
            found = await self._at_stand_in("customers")
            saved = {"customer": found.json()["customer"], "setup_future_usage": "off_session"}
            return basket | saved | {"payment_method": _OTHER_CARD}
        return basket

    async def _place(self, customer: Customer, basket: Mapping[str, Any]) -> None:
        times = 3 if customer.order.kind is OrderKind.CHECKED_OUT_THRICE else 1
        for answer in await asyncio.gather(*(self._shop.place(basket) for _ in range(times))):
            self._expect_success(customer, answer, "placing it")
        customer.is_placed = True
        self._observer.add(customer.order_id)

    async def _check_out(self, customer: Customer) -> None:
        times = 3 if customer.order.kind is OrderKind.CHECKED_OUT_THRICE else 1
        checkouts = (self._shop.checkout(customer.order_id) for _ in range(times))
        for answer in await asyncio.gather(*checkouts):
            self._expect_success(customer, answer, "checking it out")
        customer.is_checked_out = True
        customer.acted_at = time.time()
        match customer.order.kind:
            case OrderKind.OUT_OF_STOCK:
                customer.expect(StopReason.OUT_OF_STOCK)
            case OrderKind.RACING:
                customer.allow(StopReason.OUT_OF_STOCK)
            case OrderKind.DECLINED:
                customer.expect(StopReason.CARD_DECLINED, StopReason.TOO_MANY_CARDS)
            case OrderKind.NOT_FULFILLABLE:
                customer.expect(StopReason.CANNOT_FULFILL)
            case OrderKind.AUTHENTICATION_FORGOTTEN:
                customer.expect(StopReason.PAYMENT_TIMED_OUT)
            case OrderKind.APPROVAL_FORGOTTEN:
                customer.expect(StopReason.APPROVAL_TIMED_OUT)
            case OrderKind.DISPUTED_AT_ONCE:
                customer.allow(StopReason.DISPUTED)

    async def _carry(self, customer: Customer) -> None:
        """Have the warehouse send what it has packed, and the carrier deliver it."""
        order_id, (*_, pause) = customer.order_id, customer.order.pauses
        loses = customer.order.kind is OrderKind.PARCEL_LOST
        moved: set[str] = set()

        def packed(seen: Seen) -> set[str]:
            # Goods that leave before the hold lapses are unpaid: a person has to settle that.
            if customer.order.kind is OrderKind.HOLD_LAPSED and not seen.is_fulfilled:
                return set()
            return set(seen.parcels) - moved

        while True:
            seen = await self._observer.until(
                order_id, lambda seen: seen.is_over or bool(packed(seen))
            )
            if seen.is_over:
                return
            for parcel in packed(seen):
                moved.add(parcel)
                await asyncio.sleep(pause / 2)
                customer.dispatched[parcel] = datetime.now(UTC)
                await self._warehouse(order_id, "dispatch", parcel)
                customer.acted_at = time.time()
                await asyncio.sleep(pause / 2)
                if loses:
                    loses = False
                    await self._warehouse(order_id, "lose", parcel)
                    await self._resend(customer, parcel)
                else:
                    await self._warehouse(order_id, "deliver", parcel)
                customer.acted_at = time.time()

    async def _resend(self, customer: Customer, parcel_id: str) -> None:
        """Have an operator send a lost parcel again, and ask again until that is answered."""
        before, last = self._observer.last_seen(customer.order_id), ""
        packed = len(before.parcels) if before else 1
        for _ in range(_RESEND_TRIES):
            seen = self._observer.last_seen(customer.order_id)
            if seen is not None and (seen.is_over or len(seen.parcels) > packed):
                return  # done by a request whose answer was lost
            try:
                await self._operations.resend_parcel(customer.order_id, parcel_id, "operator")
            except (UnreachableError, ProviderError, OrderClientError) as error:
                last = str(error)
                await asyncio.sleep(1)
            else:
                return
        customer.complaints.append(f"order {customer.order_id}: parcel {parcel_id}: {last}")

    # -- before an order is over ---------------------------------------------------------------

    async def _cancel(self, customer: Customer) -> None:
        await asyncio.sleep(customer.order.pauses[0])
        customer.allow(StopReason.CANCELLED)
        answer = await self._shop.post(f"/orders/{customer.order_id}/cancel")
        customer.acted_at = time.time()
        if answer.status == 200:
            customer.told_status = Status(answer.body["status"])
            customer.ends.discard(None)
        elif not answer.is_success:
            self._expect_problem(customer, answer, "cancelling it", "too-late", "order-ended")

    async def _approve(self, customer: Customer) -> None:
        await self._decide(customer, "approve", customer.expect, None)

    async def _disapprove(self, customer: Customer) -> None:
        await self._decide(customer, "reject", customer.expect, StopReason.NOT_APPROVED)

    async def _decide(
        self, customer: Customer, decision: str, expect: Callable[..., None], end: End
    ) -> None:
        def waits(seen: Seen) -> bool:
            return seen.is_over or seen.status is Status.AWAITING_APPROVAL

        while True:
            seen = await self._observer.until(customer.order_id, waits)
            await asyncio.sleep(customer.order.pauses[0])
            customer.allow(end, StopReason.APPROVAL_TIMED_OUT)  # its answer may be lost for good
            answer = await self._shop.as_operator(f"/orders/{customer.order_id}/{decision}")
            customer.acted_at = time.time()
            if answer.is_success:
                expect(end)
                return
            # Also of a decision whose answer was lost, or of a run that is being taken over and has
            # not come that far again.
            self._expect_problem(customer, answer, decision, "not-waiting", "order-ended")
            if seen.is_over:
                return
            await asyncio.sleep(1)

    async def _authenticate(self, customer: Customer) -> None:
        if (payment := await self._asked_for(customer)) is None:
            return
        if await self._at_bank(customer, payment, "authenticate", outcome="succeed"):
            customer.expect(None)

    async def _fail_authentication(self, customer: Customer) -> None:
        customer.allow(StopReason.CARD_DECLINED, StopReason.PAYMENT_TIMED_OUT)
        if (payment := await self._asked_for(customer)) is None:
            return
        await self._at_bank(customer, payment, "authenticate", outcome="fail")
        await asyncio.sleep(customer.order.pauses[1])
        if await self._at_bank(customer, payment, "confirm", payment_method=_OTHER_CARD):
            customer.expect(None)

    async def _pay_in_browser(self, customer: Customer) -> None:
        if (payment := await self._asked_for(customer)) is None:
            return
        if await self._at_bank(customer, payment, "confirm", payment_method=_OTHER_CARD):
            customer.expect(None)

    async def _bring_second_card(self, customer: Customer) -> None:
        customer.allow(StopReason.CARD_DECLINED)

        def declined(seen: Seen) -> bool:
            return seen.is_over or seen.payment == ChargeState.DECLINED

        while True:
            seen = await self._observer.until(customer.order_id, declined)
            if seen.is_over:
                return
            await asyncio.sleep(customer.order.pauses[0])
            path = f"/orders/{customer.order_id}/payment-method"
            answer = await self._shop.post(path, {"payment_method": _OTHER_CARD})
            customer.acted_at = time.time()
            if answer.is_success:
                customer.expect(None)
                return
            # Not yet waited for, not any more, or accepted by a request whose answer was lost.
            self._expect_problem(customer, answer, "another card", "not-waiting", "order-ended")
            await asyncio.sleep(1)

    async def _let_hold_lapse(self, customer: Customer) -> None:
        customer.allow(StopReason.HOLD_LAPSED, StopReason.PAYMENT_ENDED)

        def paid(seen: Seen) -> bool:
            return seen.is_over or seen.payment in {ChargeState.HELD, ChargeState.CAPTURED}

        seen = await self._observer.until(customer.order_id, paid)
        if seen.payment == ChargeState.HELD and seen.payment_id:
            # Refused when it is captured meanwhile, or released.
            await self._at_bank(customer, seen.payment_id, "lapse")

    async def _settle_early_dispute(self, customer: Customer) -> None:
        seen = await self._observer.until(
            customer.order_id, lambda seen: seen.is_over or bool(seen.disputes)
        )
        seen = await self._observer.until(
            customer.order_id, lambda seen: bool(seen.disputes) or seen.payment != "captured"
        )
        for dispute_id in seen.disputes:
            await asyncio.sleep(customer.order.pauses[0])
            await self._at_stand_in(f"disputes/{dispute_id}/lose")
            customer.acted_at = time.time()

    async def _asked_for(self, customer: Customer) -> str | None:
        """Wait until the customer has to act at the bank; the payment, or None if it is over."""
        customer.allow(StopReason.PAYMENT_TIMED_OUT)

        def asked(seen: Seen) -> bool:
            return seen.is_over or seen.status is Status.AWAITING_PAYMENT

        seen = await self._observer.until(customer.order_id, asked)
        await asyncio.sleep(customer.order.pauses[0])
        return None if seen.is_over else seen.payment_id

    async def _at_bank(self, customer: Customer, payment_id: str, action: str, **body: str) -> bool:
        """Do something at the bank or in the browser; whether it was taken."""
        answer = await self._at_stand_in(f"payment_intents/{payment_id}/{action}", **body)
        customer.acted_at = time.time()
        return answer.is_success

    # -- after it is over ----------------------------------------------------------------------

    async def _refund_in_part(self, customer: Customer) -> None:
        if (seen := await self._completed(customer)) is None:
            return
        sku = customer.order.lines[0][0]
        returned = {"lines": [{"sku": sku, "quantity": 1}], "restock": True, "reason": "returned"}
        await self._request_refund(customer, "r1", returned)
        await asyncio.sleep(customer.order.pauses[1])
        money = {"amount": {"amount": seen.total // 10, "currency": seen.currency}}
        await self._request_refund(customer, "r2", money)

    async def _race_refunds(self, customer: Customer) -> None:
        """Four refunds of six tenths each at once: the order has money for one."""
        if (seen := await self._completed(customer)) is None:
            return
        money = {"amount": {"amount": seen.total * 6 // 10, "currency": seen.currency}}
        accepted = await asyncio.gather(
            *(self._request_refund(customer, f"r{number}", money) for number in range(1, 5))
        )
        if sum(accepted) > 1:
            customer.complaints.append(
                f"order {customer.order_id}: {sum(accepted)} refunds of six tenths were accepted"
            )

    async def _refund_pending(self, customer: Customer) -> None:
        if await self._completed(customer) is None:
            return
        if not await self._request_refund(customer, "r1", {"reason": "other"}):
            return
        over = ("succeeded", "failed", "settled", "rejected", "cancelled")

        def known(seen: Seen) -> bool:
            return seen.refunds.get("r1", ("", ""))[0] in ("pending", *over)

        state, refund_id = (await self._observer.until(customer.order_id, known)).refunds["r1"]
        if state == "pending":
            await asyncio.sleep(customer.order.pauses[1])
            await self._at_stand_in(f"refunds/{refund_id}/settle", outcome="succeed")
            customer.acted_at = time.time()

    async def _request_refund(
        self, customer: Customer, refund_id: str, what: Mapping[str, Any]
    ) -> bool:
        body = {"refund_id": refund_id, **what}
        answer = await self._shop.as_operator(f"/orders/{customer.order_id}/refunds", body)
        customer.acted_at = time.time()
        if not answer.is_success:
            self._expect_problem(customer, answer, "refunding it", "refund-refused")
        return answer.is_success

    async def _lose_dispute(self, customer: Customer) -> None:
        await self._dispute(customer, "lose")

    async def _win_dispute(self, customer: Customer) -> None:
        await self._dispute(customer, "win")

    async def _dispute(self, customer: Customer, decision: str) -> None:
        if (seen := await self._completed(customer)) is None:
            return
        opened = await self._at_stand_in(f"payment_intents/{seen.payment_id}/dispute")
        customer.acted_at = time.time()
        await asyncio.sleep(customer.order.pauses[1])
        await self._at_stand_in(f"disputes/{opened.json()['id']}/{decision}")
        customer.acted_at = time.time()

    async def _warn_of_fraud(self, customer: Customer) -> None:
        if (seen := await self._completed(customer)) is not None:
            await self._at_stand_in(f"payment_intents/{seen.payment_id}/warn")
            customer.acted_at = time.time()

    async def _completed(self, customer: Customer) -> Seen | None:
        """Wait until it is over, and a while; None when it was not completed."""
        seen = await self._observer.until_over(customer.order_id)
        await asyncio.sleep(customer.order.pauses[0])
        return seen if seen.status is Status.COMPLETED else None

    _acts: Final[Mapping[OrderKind, Callable[[Customers, Customer], Awaitable[None]]]] = {
        OrderKind.CANCELLED: _cancel,
        OrderKind.APPROVED: _approve,
        OrderKind.DISAPPROVED: _disapprove,
        OrderKind.AUTHENTICATED: _authenticate,
        OrderKind.AUTHENTICATION_FAILED: _fail_authentication,
        OrderKind.ASKED_BY_MAIL: _pay_in_browser,
        OrderKind.SECOND_CARD: _bring_second_card,
        OrderKind.HOLD_LAPSED: _let_hold_lapse,
        OrderKind.DISPUTED_AT_ONCE: _settle_early_dispute,
    }
    _acts_after: Final[Mapping[OrderKind, Callable[[Customers, Customer], Awaitable[None]]]] = {
        OrderKind.REFUNDED_IN_PART: _refund_in_part,
        OrderKind.RACING_REFUNDS: _race_refunds,
        OrderKind.REFUND_PENDING: _refund_pending,
        OrderKind.DISPUTE_LOST: _lose_dispute,
        OrderKind.DISPUTE_WON: _win_dispute,
        OrderKind.FRAUD_WARNING: _warn_of_fraud,
    }

    # -- the neighbours ------------------------------------------------------------------------

    async def _at_stand_in(self, path: str, **body: str) -> httpx.Response:
        return await self._stand_in.post(f"/sandbox/{path}", json=body)

    async def _warehouse(self, order_id: str, move: str, parcel_id: str) -> None:
        """Move a parcel; refused when it was recalled meanwhile."""
        await self._at_stand_in(f"warehouse/{order_id}/{move}", parcel=parcel_id)

    # -- answers that no customer should get ---------------------------------------------------

    def _expect_success(self, customer: Customer, answer: Answer, doing: str) -> None:
        if not answer.is_success:
            told = f"{answer.status} {answer.body}"
            customer.complaints.append(f"order {customer.order_id}: {doing} was answered {told}")

    def _expect_problem(
        self, customer: Customer, answer: Answer, doing: str, *problems: str
    ) -> None:
        if answer.problem not in problems:
            told = f"{answer.status} {answer.body}"
            customer.complaints.append(f"order {customer.order_id}: {doing} was answered {told}")
