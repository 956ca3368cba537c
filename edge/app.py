"""The edge put together."""

from __future__ import annotations

from typing import Final

from fastapi import APIRouter, FastAPI

from edge import checkout, health, orders, refusals
from edge.parts import Edge
from edge.reception import Reception

#: Every file of routes, in the order of the documentation. A new one is named here.
ROUTERS: Final[tuple[APIRouter, ...]] = (
    checkout.router,
    orders.router,
    health.router,
)


def create_app(edge: Edge) -> FastAPI:
    """The HTTP edge of these parts."""
    app = FastAPI(title="Durable Orders", version="0.1.0")
    app.state.edge = edge
    refusals.explain(app)
    for router in ROUTERS:
        app.include_router(router)
    app.add_middleware(Reception)
    return app
