"""FastAPI: place, start, show and cancel orders, with the order store in PostgreSQL.

pip install 'durable-orders[store]' fastapi uvicorn
DATABASE_URL=postgresql://… uvicorn examples.fastapi_with_store:app
"""

from __future__ import annotations

import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import asdict
from datetime import timedelta
from typing import Annotated

from fastapi import Depends, FastAPI, Request
from fastapi.responses import JSONResponse

from durable_orders import OrderClient, connect
from durable_orders.store import open_store
from examples.basket import basket_of
from examples.cart import Cart
from examples.errors import STATUSES, refusal


@asynccontextmanager
async def lifespan(_: FastAPI) -> AsyncIterator[dict[str, OrderClient]]:
    """One client for all requests. A database whose schema does not fit stops the start."""
    async with open_store(os.environ["DATABASE_URL"]) as store:
        yield {"orders": OrderClient(await connect(lazy=True), store.orders)}


def order_client(request: Request) -> OrderClient:
    orders: OrderClient = request.state.orders
    return orders


Orders = Annotated[OrderClient, Depends(order_client)]
app = FastAPI(lifespan=lifespan)


@app.post("/orders", status_code=201)
async def buy(cart: Cart, orders: Orders) -> dict[str, object]:
    """Place the order, start it, and wait a little for its payment. Safe to repeat."""
    order = await orders.place(basket_of(cart))
    started = await orders.checkout(order.id, wait=timedelta(seconds=10))
    return {"order_id": order.id, "total": asdict(order.total), "payment": started.payment.kind}


@app.get("/orders/{order_id}")
async def show(order_id: str, orders: Orders) -> dict[str, object]:
    view = await orders.view(order_id)
    history = [line.words for line in view.history]
    return {"order_id": order_id, "status": view.order.status, "history": history}


@app.post("/orders/{order_id}/cancel")
async def cancel(order_id: str, orders: Orders) -> dict[str, object]:
    """The answer says what became of it: cancelled, ended before, or still being undone."""
    return asdict(await orders.cancel(order_id))


async def refuse(_: Request, error: Exception) -> JSONResponse:
    status, body = refusal(error)
    return JSONResponse(body, status)


for kind in STATUSES:
    app.add_exception_handler(kind, refuse)
