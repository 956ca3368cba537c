"""Middleware of Django's for the errors that the clients and the store raise."""

from __future__ import annotations

from collections.abc import Callable

from django.http import HttpRequest, HttpResponseBase, JsonResponse

from examples.errors import STATUSES, refusal


class RefusalMiddleware:
    """Middleware: answer what a client refuses with a status and a sentence."""

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponseBase]) -> None:
        self._get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponseBase:
        return self._get_response(request)

    def process_exception(self, _: HttpRequest, error: Exception) -> JsonResponse | None:
        if not isinstance(error, tuple(STATUSES)):
            return None
        status, body = refusal(error)
        return JsonResponse(body, status=status)
