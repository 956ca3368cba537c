"""The scope matrix: every route with every method, and with every kind of key."""

from __future__ import annotations

import re
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Final

import pytest

from durable_orders.api.app import PROTECTED_ROUTERS
from durable_orders.api.dependencies import ApiLimits, Dependencies
from durable_orders.domain.operators.api_keys import Scope, Token
from durable_orders.store.api_keys import PostgresApiKeyRepository
from durable_orders.store.database import Database
from tests.api.api_clients import a_key, asking_edge, edge_of, is_problem
from tests.support.shop import Shop

#: What each route needs, written down once more: a route that is opened by mistake is seen here.
NEEDED: Final = {
    ("POST", "/orders"): Scope.SHOP,
    ("GET", "/orders"): Scope.READ,
    ("POST", "/checkout"): Scope.SHOP,
    ("GET", "/orders/{order_id}"): Scope.READ,
    ("POST", "/orders/{order_id}/cancel"): Scope.SHOP,
    ("POST", "/orders/{order_id}/approve"): Scope.OPERATOR,
    ("POST", "/orders/{order_id}/reject"): Scope.OPERATOR,
    ("POST", "/orders/{order_id}/payment-method"): Scope.SHOP,
    ("GET", "/orders/{order_id}/events"): Scope.READ,
    ("POST", "/orders/{order_id}/refunds"): Scope.OPERATOR,
    ("GET", "/orders/{order_id}/refunds/{refund_id}"): Scope.READ,
    ("POST", "/orders/{order_id}/refunds/{refund_id}/approve"): Scope.OPERATOR,
    ("POST", "/orders/{order_id}/refunds/{refund_id}/reject"): Scope.OPERATOR,
    ("GET", "/disputes"): Scope.READ,
    ("GET", "/disputes/{risk_id}"): Scope.READ,
    ("GET", "/metrics"): Scope.READ,
}
METHODS: Final = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS")
KEYS: Final = {
    name: Token.of(name[:6].ljust(6, "_").encode(), bytes([n] * 32))
    for n, name in enumerate([*map(str, Scope), "revoked", "expired"])
}
SHOP: Final = KEYS["shop"]

#: What is presented, and the scope that it has.
PRESENTED: Final[dict[str, tuple[str | None, Scope | None]]] = {
    "no key": (None, None),
    "an unknown key": (f"Bearer {Token.of(b'nobody', bytes(32))}", None),
    "another secret": (f"Bearer {replace(KEYS['operator'], secret='0' * 64)}", None),
    "a longer key": (f"Bearer {KEYS['operator']}0", None),
    "a cut key": (f"Bearer {str(KEYS['operator'])[:-1]}", None),
    "two keys": (f"Bearer {SHOP}, Bearer {KEYS['operator']}", None),
    "basic": (f"Basic {KEYS['operator']}", None),
    "nothing but the key": (str(KEYS["operator"]), None),
    "revoked": (f"Bearer {KEYS['revoked']}", None),
    "expired": (f"Bearer {KEYS['expired']}", None),
    **{str(scope): (f"Bearer {KEYS[scope]}", scope) for scope in Scope},
}


@pytest.fixture
async def edge(closed_shop: Shop, database: Database) -> Dependencies:
    kept = PostgresApiKeyRepository(database)
    now = datetime.now(UTC)
    known = {key.id for key in await kept.listed(revoked=True)}
    for name, token in KEYS.items():
        if token.key_id not in known:
            scope = Scope(name) if name in set(map(str, Scope)) else Scope.OPERATOR
            key = a_key(token, f"matrix-{name}", scope)
            if name == "expired":
                key = replace(key, expires_at=now - timedelta(seconds=1))
            await kept.add(key)
            if name == "revoked":
                await kept.revoke(key.name, now)
    limits = ApiLimits(rate_per_minute=1_000_000, failures_per_minute=1_000_000)
    return replace(edge_of(closed_shop), keys=kept, limits=limits)


def test_the_matrix_has_every_route() -> None:
    routes = {
        (method, getattr(route, "path", ""))
        for router, _ in PROTECTED_ROUTERS
        for route in router.routes
        for method in getattr(route, "methods", ())
    }
    assert routes == set(NEEDED)


@pytest.mark.parametrize("path", dict.fromkeys(path for _, path in NEEDED))
@pytest.mark.parametrize("presented", PRESENTED)
async def test_nobody_gets_further_than_their_key(
    edge: Dependencies, path: str, presented: str
) -> None:
    header, scope = PRESENTED[presented]
    url = re.sub(r"\{\w+\}", "nobody", path)
    async with asking_edge(edge, token=None) as http:
        for method in METHODS:
            for body in (None, b"{", b"{}"):
                headers = {"Authorization": header} if header else {}
                answer = await http.request(method, url, headers=headers, content=body)
                about = (method, answer.status_code, answer.text[:200])
                needed = NEEDED.get((method, path))
                if scope is None:
                    assert answer.status_code == 401, about
                elif needed is None:
                    assert answer.status_code == 405, about
                elif not scope.includes(needed):
                    is_problem(answer, 403, f"needs a key of scope {needed}")
                else:
                    assert answer.status_code in {200, 404, 422}, about
