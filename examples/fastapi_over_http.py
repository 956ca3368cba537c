"""FastAPI: place, start, show and cancel orders over HTTP. Neither Temporal nor a database.

pip install fastapi uvicorn httpx
ORDERS_API_URL=http://… ORDERS_API_KEY=do_… uvicorn examples.fastapi_over_http:app
"""

from __future__ import annotations

import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Annotated, Any
from urllib.parse import quote

import httpx
from fastapi import Depends, FastAPI, HTTPException, Request

from examples.cart import Cart


@asynccontextmanager
async def lifespan(_: FastAPI) -> AsyncIterator[dict[str, httpx.AsyncClient]]:
    """One connection pool for all requests. The key is one of scope shop."""
    key = {"Authorization": f"Bearer {os.environ['ORDERS_API_KEY']}"}
    url = os.environ["ORDERS_API_URL"]
    async with httpx.AsyncClient(base_url=url, headers=key, timeout=30) as api:
        yield {"api": api}


def orders_api(request: Request) -> httpx.AsyncClient:
    api: httpx.AsyncClient = request.state.api
    return api


Api = Annotated[httpx.AsyncClient, Depends(orders_api)]
app = FastAPI(lifespan=lifespan)


@app.post("/orders", status_code=201)
async def buy(cart: Cart, api: Api) -> dict[str, object]:
    """Place the order, start it, and wait a little for its payment. Safe to repeat."""
    order = await answer(api, "POST", "/orders", cart.model_dump())
    wish = {"order_id": order["order_id"], "wait_seconds": 10}
    started = await answer(api, "POST", "/checkout", wish)
    return {
        "order_id": order["order_id"],
        "total": order["total"],
        "payment": started["payment"]["state"],
    }


@app.get("/orders/{order_id}")
async def show(order_id: str, api: Api) -> dict[str, object]:
    order = await answer(api, "GET", f"/orders/{quote(order_id, safe='')}")
    history = [line["text"] for line in order["history"]]
    return {"order_id": order_id, "status": order["status"], "history": history}


@app.post("/orders/{order_id}/cancel")
async def cancel(order_id: str, api: Api) -> Any:
    """The answer says what became of it: cancelled, or still being undone."""
    return await answer(api, "POST", f"/orders/{quote(order_id, safe='')}/cancel", {})


async def answer(api: httpx.AsyncClient, method: str, path: str, body: object = None) -> Any:
    """Return what the API answers. Its problem with the order is our customer's; others are not."""
    try:
        said = await api.request(method, path, json=body)
    except httpx.TransportError:
        raise HTTPException(503, "try again in a moment") from None
    if said.status_code in {404, 409, 422}:
        raise HTTPException(said.status_code, said.json()["detail"])
    if not said.is_success:  # its key, its load, its trouble
        raise HTTPException(503, "try again in a moment")
    return said.json()
