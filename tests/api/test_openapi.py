"""The edge does what its own description says, whatever it is sent: made-up requests, good and bad.

They are made from ``/openapi.json``, half of them after a real order's example, so that they come
further than to its id.
"""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime
from typing import Any, Final

import schemathesis
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from schemathesis import Case, GenerationMode
from schemathesis.checks import CheckFunction
from schemathesis.core.result import Ok
from schemathesis.schemas import APIOperation
from schemathesis.specs.openapi import checks

from durable_orders.domain.disputes.dispute import Dispute, DisputeStatus, PaymentRisks
from tests.api.api_clients import OPERATOR
from tests.api.real import RealShop, real, served

__all__ = ["real"]

#: Not that whatever fits the schema is accepted: nobody can order what is not in the catalogue.
CHECKS: Final[list[CheckFunction]] = [
    schemathesis.checks.not_a_server_error,
    checks.status_code_conformance,
    checks.content_type_conformance,
    checks.response_headers_conformance,
    checks.response_schema_conformance,
]
REFUSED: Final[list[CheckFunction]] = [*CHECKS, checks.negative_data_rejection]
#: They take nothing, or any text.
NOTHING_TO_GET_WRONG: Final = {
    "/healthz",
    "/readyz",
    "/metrics",
    "/problems/{name}",
    "/webhooks/stripe",
    "/webhooks/warehouse",
    "/webhooks/resend",
}
ENDED_ORDERS_REFUSE: Final = {
    *(f"POST /orders/{{order_id}}/{verb}" for verb in ("cancel", "approve", "reject")),
    "POST /orders/{order_id}/payment-method",
    "GET /orders/{order_id}/refunds/{refund_id}",
    "POST /orders/{order_id}/refunds/{refund_id}/approve",
    "POST /orders/{order_id}/refunds/{refund_id}/reject",
}
#: Nobody can make a signature up.
NOT_SIGNED: Final = {"POST /webhooks/stripe", "POST /webhooks/warehouse", "POST /webhooks/resend"}
DISPUTE_ID: Final = "du_real"
BOUNDED: Final = settings(
    max_examples=10,
    deadline=None,
    database=None,
    derandomize=True,
    phases=[Phase.explicit, Phase.generate],
    suppress_health_check=list(HealthCheck),
)


def a_real_one(case: Case[Any], order_id: str) -> None:
    """Have the request be about something that is there."""
    if "order_id" in case.path_parameters:
        case.path_parameters["order_id"] = order_id
    if case.operation.path == "/checkout" and isinstance(case.body, dict):
        case.body["order_id"] = order_id
    if case.operation.path == "/orders" and isinstance(case.body, dict):
        case.body["lines"] = [{"sku": "MUG", "quantity": 1}]
        recipient = case.body.get("recipient")
        if isinstance(recipient, dict):
            # What the document says of a mail address, a pattern and `email`, is not all there is.
            recipient["email"] = "ada@example.com"
    if "risk_id" in case.path_parameters:
        case.path_parameters["risk_id"] = DISPUTE_ID
    if "name" in case.path_parameters:
        case.path_parameters["name"] = "unknown-order"


def answers_of(
    operation: APIOperation[Any, Any, Any, Any], mode: GenerationMode, order_id: str
) -> set[int]:
    """Send made-up requests to the operation; the statuses it has answered."""
    good = mode is GenerationMode.POSITIVE
    seen: set[int] = set()

    @BOUNDED
    @given(case=operation.as_strategy(generation_mode=mode), real=st.booleans())
    def send(case: Case[Any], *, real: bool) -> None:
        if real and good:
            a_real_one(case, order_id)
        response = case.call(headers={"Authorization": f"Bearer {OPERATOR}"}, timeout=30)
        case.validate_response(response, checks=CHECKS if good else REFUSED)
        seen.add(response.status_code)

    send()
    return seen


def ask_of_everything(address: str, order_id: str) -> dict[str, set[int]]:
    """The statuses that each operation has answered."""
    schema = schemathesis.openapi.from_url(f"{address}/openapi.json")
    seen: dict[str, set[int]] = {}
    for found in schema.get_all_operations():
        assert isinstance(found, Ok), found
        operation = found.ok()
        name = f"{operation.method.upper()} {operation.path}"
        seen[name] = answers_of(operation, GenerationMode.POSITIVE, order_id)
        if operation.path not in NOTHING_TO_GET_WRONG:
            seen[name] |= answers_of(operation, GenerationMode.NEGATIVE, order_id)
    return seen


async def dispute(real: RealShop, order_id: str) -> None:
    """Record a dispute of the order's payment."""
    [payment] = (await real.edge.orders.view(order_id)).payments
    paid, now = payment.amount, datetime.now(UTC)
    status = DisputeStatus.NEEDS_RESPONSE
    opened = Dispute(DISPUTE_ID, payment.payment_id, paid, paid, paid, "general", status, now, now)
    risks = PaymentRisks(payment.payment_id, disputes=(opened,))
    await real.dispute_book.record(order_id, risks, now)


async def test_every_answer_is_as_described_and_none_is_a_fault(real: RealShop) -> None:
    order_id = await real.completed()
    # Of another order: nothing is refunded of a payment that the bank has charged back.
    await dispute(real, await real.completed())
    async with served(real.app) as address:
        seen = await asyncio.to_thread(ask_of_everything, address, order_id)

    # Not only refusals were compared with their description.
    succeeded = {name for name, statuses in seen.items() if min(statuses) < 300}
    assert succeeded >= {
        "POST /orders",
        "GET /orders",
        "POST /checkout",
        "GET /orders/{order_id}",
        "GET /orders/{order_id}/events",
        "POST /orders/{order_id}/refunds",
        "GET /disputes",
        "GET /disputes/{risk_id}",
    }
    assert set(seen) - succeeded <= ENDED_ORDERS_REFUSE | NOT_SIGNED
    assert [seen[name] for name in NOT_SIGNED] == [{400}] * 3
