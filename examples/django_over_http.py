"""Django: place, start, show and cancel orders over HTTP. Neither Temporal nor a database.

pip install django httpx
ORDERS_API_URL=http://… ORDERS_API_KEY=do_… python -m examples.django_over_http runserver
"""

from __future__ import annotations

import logging
import os
import sys
from collections.abc import Callable
from typing import Any
from urllib.parse import quote

import httpx
from django.conf import settings
from django.core.management import execute_from_command_line
from django.core.wsgi import get_wsgi_application
from django.http import HttpRequest, HttpResponseBase, JsonResponse
from django.urls import path
from django.views.decorators.http import require_GET, require_POST
from pydantic import ValidationError

from examples.cart import Cart

#: One connection pool for all requests. The key is one of scope shop.
api = httpx.Client(
    base_url=os.environ["ORDERS_API_URL"],
    headers={"Authorization": f"Bearer {os.environ['ORDERS_API_KEY']}"},
    timeout=30,
)


@require_POST
def buy(request: HttpRequest) -> JsonResponse:
    """Place the order, start it, and wait a little for its payment. Safe to repeat."""
    try:
        cart = Cart.model_validate_json(request.body)
    except ValidationError as error:
        wrong = error.errors(include_url=False, include_context=False, include_input=False)
        return JsonResponse({"detail": wrong}, status=422)
    order = answer("POST", "/orders", cart.model_dump())
    wish = {"order_id": order["order_id"], "wait_seconds": 10}
    payment = answer("POST", "/checkout", wish)["payment"]["state"]
    bought = {"order_id": order["order_id"], "total": order["total"], "payment": payment}
    return JsonResponse(bought, status=201)


@require_GET
def show(_: HttpRequest, order_id: str) -> JsonResponse:
    order = answer("GET", f"/orders/{quote(order_id, safe='')}")
    history = [line["text"] for line in order["history"]]
    return JsonResponse({"order_id": order_id, "status": order["status"], "history": history})


@require_POST
def cancel(_: HttpRequest, order_id: str) -> JsonResponse:
    """The answer says what became of it: cancelled, or still being undone."""
    return JsonResponse(answer("POST", f"/orders/{quote(order_id, safe='')}/cancel", {}))


class ApiError(Exception):
    """The API did not do it; ``status`` and the message are for the customer."""

    def __init__(self, status: int, detail: str) -> None:
        super().__init__(detail)
        self.status = status


def answer(method: str, path: str, body: object = None) -> Any:
    """Return what the API answers. Its problem with the order is our customer's; others are not."""
    try:
        said = api.request(method, path, json=body)
    except httpx.TransportError:
        raise ApiError(503, "try again in a moment") from None
    if said.status_code in {404, 409, 422}:
        raise ApiError(said.status_code, said.json()["detail"])
    if not said.is_success:  # its key, its load, its trouble
        raise ApiError(503, "try again in a moment")
    return said.json()


class ApiErrorMiddleware:
    """Middleware: answer an ``ApiError`` with its status and sentence."""

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponseBase]) -> None:
        self._get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponseBase:
        return self._get_response(request)

    def process_exception(self, _: HttpRequest, error: Exception) -> JsonResponse | None:
        if not isinstance(error, ApiError):
            return None
        return JsonResponse({"detail": str(error)}, status=error.status)


urlpatterns = [
    path("orders", buy),
    path("orders/<order_id>", show),
    path("orders/<order_id>/cancel", cancel),
]
logging.basicConfig()
settings.configure(
    ROOT_URLCONF=__name__,
    MIDDLEWARE=[f"{__name__}.ApiErrorMiddleware"],
    ALLOWED_HOSTS=["localhost", "127.0.0.1"],
)
application = get_wsgi_application()

if __name__ == "__main__":
    execute_from_command_line(sys.argv)
