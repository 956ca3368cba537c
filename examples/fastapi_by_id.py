"""FastAPI: start, follow and cancel orders by their ids. No database, only Temporal.

pip install durable-orders fastapi uvicorn
uvicorn examples.fastapi_by_id:app
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import asdict
from typing import Annotated

from fastapi import Depends, FastAPI, Request
from fastapi.responses import JSONResponse

from durable_orders import OrderClient, connect
from examples.errors import STATUSES, refusal


@asynccontextmanager
async def lifespan(_: FastAPI) -> AsyncIterator[dict[str, OrderClient]]:
    """One client for all requests. It connects with its first call, and Temporal may come later."""
    yield {"orders": OrderClient(await connect(lazy=True))}


def order_client(request: Request) -> OrderClient:
    orders: OrderClient = request.state.orders
    return orders


Orders = Annotated[OrderClient, Depends(order_client)]
app = FastAPI(lifespan=lifespan)


@app.post("/orders/{order_id}/start", status_code=202)
async def start(order_id: str, orders: Orders) -> dict[str, object]:
    """Another service has placed the order; from here on it is carried to its end, once."""
    return asdict(await orders.start(order_id))


@app.get("/orders/{order_id}")
async def show(order_id: str, orders: Orders) -> dict[str, object]:
    progress = await orders.status(order_id)
    return {"order_id": order_id, "status": progress.status, "doing": progress.doing}


@app.post("/orders/{order_id}/cancel")
async def cancel(order_id: str, orders: Orders) -> dict[str, object]:
    """The answer says what became of it: cancelled, ended before, or still being undone."""
    return asdict(await orders.cancel(order_id))


async def refuse(_: Request, error: Exception) -> JSONResponse:
    status, body = refusal(error)
    return JSONResponse(body, status)


for kind in STATUSES:
    app.add_exception_handler(kind, refuse)
