"""The account of the stand-in, as Stripe documents it."""

from __future__ import annotations

from pathlib import Path

import httpx
import pytest
import stripe

from sandbox.world import StandInServer
from sandbox.world.stripe.account import ACCOUNT_ID


async def test_a_key_tells_its_account(shop: stripe.StripeClient) -> None:
    account = await shop.v1.accounts.retrieve_current_async()
    assert (account.id, account.object, account.charges_enabled) == (ACCOUNT_ID, "account", True)
    assert not hasattr(account, "livemode")  # the key alone tells the mode


async def test_a_restricted_key_is_refused_and_told_the_account(http: httpx.AsyncClient) -> None:
    key = {"Authorization": "Bearer rk_test_restricted0key"}
    refused = await http.get("/v1/account", headers=key)
    error = refused.json()["error"]
    assert (refused.status_code, error["type"]) == (403, "invalid_request_error")
    assert f"for this endpoint on account '{ACCOUNT_ID}'" in error["message"]
    assert "restricted0key" not in error["message"]


@pytest.mark.parametrize("authorization", ["", "Bearer pk_test_1", "Bearer sk_live_1"])
async def test_what_is_no_test_key_tells_nothing(
    http: httpx.AsyncClient, authorization: str
) -> None:
    refused = await http.get("/v1/account", headers={"Authorization": authorization})
    assert refused.status_code == 401
    assert ACCOUNT_ID not in refused.text


async def test_another_stand_in_can_be_another_account(tmp_path: Path) -> None:
    async with (
        StandInServer(tmp_path / "other", account_id="acct_1Other000") as other,
        httpx.AsyncClient(base_url=other.url) as http,
    ):
        key = {"Authorization": "Bearer sk_test_sandbox"}
        assert (await http.get("/v1/account", headers=key)).json()["id"] == "acct_1Other000"
