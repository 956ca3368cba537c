"""Django: start, follow and cancel orders by their ids. No database, only Temporal.

pip install durable-orders django
python -m examples.django_by_id runserver
"""

from __future__ import annotations

import logging
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import asdict

from django.conf import settings
from django.core.management import execute_from_command_line
from django.core.wsgi import get_wsgi_application
from django.http import HttpRequest, JsonResponse
from django.urls import path
from django.views.decorators.http import require_GET, require_POST

from durable_orders import OrderClient, connect
from examples.background import Background


@asynccontextmanager
async def open_orders() -> AsyncIterator[OrderClient]:
    """One client for all requests. It connects with its first call, and Temporal may come later."""
    yield OrderClient(await connect(lazy=True))


orders = Background(open_orders)


@require_POST
def start(_: HttpRequest, order_id: str) -> JsonResponse:
    """Another service has placed the order; from here on it is carried to its end, once."""
    run = orders.call(lambda client: client.start(order_id))
    return JsonResponse(asdict(run), status=202)


@require_GET
def show(_: HttpRequest, order_id: str) -> JsonResponse:
    progress = orders.call(lambda client: client.status(order_id))
    return JsonResponse({"order_id": order_id, "status": progress.status, "doing": progress.doing})


@require_POST
def cancel(_: HttpRequest, order_id: str) -> JsonResponse:
    """The answer says what became of it: cancelled, ended before, or still being undone."""
    return JsonResponse(asdict(orders.call(lambda client: client.cancel(order_id))))


urlpatterns = [
    path("orders/<order_id>/start", start),
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
