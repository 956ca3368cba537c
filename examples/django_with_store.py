"""Django: place, start, show and cancel orders, with the order store in PostgreSQL.

pip install 'durable-orders[store]' django
DATABASE_URL=postgresql://… python -m examples.django_with_store runserver
"""

from __future__ import annotations

import logging
import os
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import asdict
from datetime import timedelta

from django.conf import settings
from django.core.management import execute_from_command_line
from django.core.wsgi import get_wsgi_application
from django.http import HttpRequest, JsonResponse
from django.urls import path
from django.views.decorators.http import require_GET, require_POST
from pydantic import ValidationError

from durable_orders import CheckedOut, Order, OrderClient, connect
from durable_orders.store import open_store
from examples.background import Background
from examples.basket import basket_of
from examples.cart import Cart


@asynccontextmanager
async def open_orders() -> AsyncIterator[OrderClient]:
    """One client for all requests. A database whose schema does not fit fails the first of them."""
    async with open_store(os.environ["DATABASE_URL"]) as store:
        yield OrderClient(await connect(lazy=True), store.orders)


orders = Background(open_orders)


@require_POST
def buy(request: HttpRequest) -> JsonResponse:
    """Place the order, start it, and wait a little for its payment. Safe to repeat."""
    try:
        cart = Cart.model_validate_json(request.body)
    except ValidationError as error:
        wrong = error.errors(include_url=False, include_context=False, include_input=False)
        return JsonResponse({"detail": wrong}, status=422)

    async def check_out(client: OrderClient) -> tuple[Order, CheckedOut]:
        order = await client.place(basket_of(cart))
        return order, await client.checkout(order.id, wait=timedelta(seconds=10))

    order, started = orders.call(check_out)
    answer = {"total": asdict(order.total), "payment": started.payment.kind}
    return JsonResponse({"order_id": order.id, **answer}, status=201)


@require_GET
def show(_: HttpRequest, order_id: str) -> JsonResponse:
    view = orders.call(lambda client: client.view(order_id))
    history = [line.words for line in view.history]
    return JsonResponse({"order_id": order_id, "status": view.order.status, "history": history})


@require_POST
def cancel(_: HttpRequest, order_id: str) -> JsonResponse:
    """The answer says what became of it: cancelled, ended before, or still being undone."""
    return JsonResponse(asdict(orders.call(lambda client: client.cancel(order_id))))


urlpatterns = [
    path("orders", buy),
    path("orders/<order_id>", show),
    path("orders/<order_id>/cancel", cancel),
]
logging.basicConfig()
settings.configure(
    ROOT_URLCONF=__name__,
    MIDDLEWARE=["examples.django_errors.RefusalMiddleware"],
    ALLOWED_HOSTS=["localhost", "127.0.0.1"],
)
application = get_wsgi_application()

if __name__ == "__main__":
    execute_from_command_line(sys.argv)
