"""An installation's name and binding, and the keys that begin with its name."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from durable_orders.domain import ids
from durable_orders.domain.installation import (
    NAME_PATTERN,
    CardAccount,
    Installation,
    InvalidInstallationNameError,
    OtherAccountError,
    checked_name,
)
from durable_orders.store.installation import new_name

SHOP = Installation("shop")
LIVE = CardAccount("acct_1Shop0000", livemode=True)
TEST = CardAccount("acct_1Shop0000", livemode=False)
OTHER = CardAccount("acct_1Other000", livemode=True)
names = st.from_regex(NAME_PATTERN, fullmatch=True)
order_ids = st.from_regex(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}", fullmatch=True)


def test_the_first_account_that_is_seen_is_the_one() -> None:
    bound = SHOP.bound_to(LIVE)
    assert bound.account == LIVE
    assert bound.bound_to(LIVE) == bound


@pytest.mark.parametrize(
    ("seen", "named"),
    [
        (OTHER, "acct_1Other000 in live mode"),
        (TEST, "acct_1Shop0000 in test mode"),
        (CardAccount(None, livemode=False), "a key of test mode"),
    ],
    ids=["account", "mode", "mode of a restricted key"],
)
def test_another_account_or_mode_is_refused_with_what_differs_and_what_to_do(
    seen: CardAccount, named: str
) -> None:
    with pytest.raises(OtherAccountError) as error:
        SHOP.bound_to(LIVE).bound_to(seen)
    sentence = str(error.value)
    assert "shop is bound to the Stripe account acct_1Shop0000 in live mode" in sentence
    assert named in sentence
    assert "store adopt" in sentence
    assert "store rebind" in sentence


def test_a_key_that_may_not_read_its_account_is_compared_by_its_mode() -> None:
    by_mode = SHOP.bound_to(CardAccount(None, livemode=True))
    assert by_mode.account == CardAccount(None, livemode=True)
    assert by_mode.bound_to(LIVE).account == LIVE
    assert by_mode.bound_to(LIVE).bound_to(CardAccount(None, livemode=True)).account == LIVE
    with pytest.raises(OtherAccountError):
        by_mode.bound_to(LIVE).bound_to(OTHER)


def test_what_was_placed_under_a_former_name_stays_its_own() -> None:
    renamed = SHOP.bound_to(LIVE).renamed("store")
    assert (renamed.name, renamed.account) == ("store", LIVE)
    assert renamed.names == {"shop", "store"}
    assert renamed.renamed("shop").names == {"shop", "store"}
    assert renamed.renamed("store") == renamed


def test_a_copy_has_nothing_of_the_installation_that_it_was_copied_from() -> None:
    original = SHOP.bound_to(LIVE).renamed("store")
    copy = original.adopted("staging")
    assert copy == Installation("staging")
    assert copy.names.isdisjoint(original.names)
    for taken in original.names:
        with pytest.raises(InvalidInstallationNameError, match="copied from"):
            original.adopted(taken)


@pytest.mark.parametrize(
    "name", ["", "abc", "Shop", "1shop", "my-shop", "shop:1", "a" * 25, "shöp", "shop\n"]
)
def test_a_name_that_keys_and_references_cannot_hold_is_refused(name: str) -> None:
    with pytest.raises(InvalidInstallationNameError, match="4 to 24 lowercase letters"):
        checked_name(name)


def test_names_that_are_made_are_names_and_never_the_same() -> None:
    made = {new_name() for _ in range(1000)}
    assert len(made) == 1000
    assert {checked_name(name) for name in made} == made
    assert {len(name) for name in made} == {12}


def _keys(prefix: str, order_id: str, other_id: str) -> list[str]:
    return [
        ids.payment_key(prefix, order_id),
        ids.charge_key(prefix, order_id, 1),
        ids.capture_key(prefix, order_id, other_id),
        ids.undo_refund_key(prefix, order_id, other_id),
        ids.refund_key(prefix, order_id, "r1", 1),
        ids.fulfillment_key(prefix, order_id),
        ids.resend_key(prefix, order_id, other_id),
        ids.mail_key(prefix, order_id, "confirmation"),
        ids.mail_key(prefix, order_id, f"shipped-{other_id}"),
    ]


@given(one=names, other=names, order_id=order_ids, parcel_id=st.text(min_size=1, max_size=300))
def test_no_key_of_one_installation_is_one_of_another(
    one: str, other: str, order_id: str, parcel_id: str
) -> None:
    keys = _keys(one, order_id, parcel_id)
    assert len(set(keys)) == len(keys)
    assert all(key.startswith(f"{one}:order-{order_id}:") for key in keys)
    assert one == other or set(keys).isdisjoint(_keys(other, order_id, parcel_id))


@given(order_id=order_ids, kinds=st.lists(st.text(min_size=1, max_size=400), unique=True))
def test_no_key_is_too_long_for_a_provider_and_long_ones_differ(
    order_id: str, kinds: list[str]
) -> None:
    alike = ["x" * 300 + kind for kind in kinds]
    keys = [ids.mail_key("s" * 24, order_id, kind) for kind in [*kinds, *alike]]
    assert all(len(key) <= 255 for key in keys)
    assert len(set(keys)) == len({*kinds, *alike})
