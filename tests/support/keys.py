"""The installation of the tests, and the keys of the orders that it placed."""

from __future__ import annotations

from functools import partial
from typing import Final

from durable_orders.domain import ids

#: Name of an installation; orders that it places have it as the prefix of their keys.
INSTALLATION: Final = "testshop"

payment_key = partial(ids.payment_key, INSTALLATION)
charge_key = partial(ids.charge_key, INSTALLATION)
capture_key = partial(ids.capture_key, INSTALLATION)
undo_refund_key = partial(ids.undo_refund_key, INSTALLATION)
refund_key = partial(ids.refund_key, INSTALLATION)
fulfillment_key = partial(ids.fulfillment_key, INSTALLATION)
resend_key = partial(ids.resend_key, INSTALLATION)
mail_key = partial(ids.mail_key, INSTALLATION)
