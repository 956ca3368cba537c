"""What may be set aside: all lines or none."""

from durable_orders.domain.activity_messages import OutOfStock
from durable_orders.domain.inventory import shortage


def test_nothing_is_short_when_every_line_can_be_had_whole() -> None:
    assert shortage([("MUG", 2), ("TEE", 1)], {"MUG": 2, "TEE": 5}) is None


def test_the_first_line_that_cannot_be_had_is_named() -> None:
    short = shortage([("MUG", 2), ("TEE", 6), ("HAT", 9)], {"MUG": 2, "TEE": 5, "HAT": 0})
    assert short == OutOfStock("TEE", wanted=6, available=5)


def test_an_unknown_product_has_nothing() -> None:
    assert shortage([("HAT", 1)], {}) == OutOfStock("HAT", wanted=1, available=0)
