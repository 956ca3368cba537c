"""Why a request about a refund is refused, beside the reasons in ``orders.refusals``."""

from __future__ import annotations

from orders.refusals import OrderClientError


class RefundRefusedError(OrderClientError):
    """This refund cannot be: too much, not paid, the id taken. Nothing was set aside."""


class UnknownRefundError(OrderClientError):
    """The order has no refund of this id."""

    def __init__(self, order_id: str, refund_id: str) -> None:
        super().__init__(f"order {order_id} has no refund {refund_id}")


class RefundEndedError(OrderClientError):
    """The refund has ended, or its run is gone; ``request`` it again to have it looked after."""

    def __init__(self, order_id: str, refund_id: str, state: str) -> None:
        super().__init__(f"refund {refund_id} of order {order_id} is {state}, and nothing runs")
