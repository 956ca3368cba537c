"""Resend over HTTP: `POST /emails`, `GET /emails/{id}`. Nothing leaves the machine.

Sources on resend.com/docs: "Send Email", "Errors", "Idempotency Keys", "Send Test Emails". The rate
limit of the real service is not imitated: only a fault causes a 429.
"""

import json
import re
import uuid
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any, Final

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from sandbox.world.faults import Fault
from sandbox.world.mail_events import delivery_events, queue_delivery_events
from sandbox.world.orders import order_id_of_key, purpose_of_key
from sandbox.world.request_pipeline import (
    ApiCall,
    ApiError,
    ApiResponse,
    RequestPipeline,
    fingerprint,
    to_http_response,
)
from sandbox.world.state_store import JsonObject, StoredResponse

_ADDRESS = re.compile(r"^(?:[^<>]*<)?[^@\s<>]+@[^@\s<>]+\.[^@\s<>]+?>?$")
_TAG = re.compile(r"^[A-Za-z0-9_-]{1,256}$")
_FIELDS: Final = {
    "from", "to", "subject", "html", "text", "cc", "bcc", "reply_to", "headers", "tags",
    "attachments", "scheduled_at", "template", "topic_id",
}  # fmt: skip


def _error(status: int, name: str, message: str, **headers: str) -> ApiResponse:
    body = {"statusCode": status, "name": name, "message": message}
    return ApiResponse(status, body, headers, began=False)


class ResendProvider:
    """Resend's idempotency rules and generic responses."""

    name = "resend"
    key_lifetime = 24 * 3600.0
    stores_errors = False

    def headers(self, call: ApiCall) -> Mapping[str, str]:
        return {"X-Request-Id": call.request_id}

    def replay_headers(self, call: ApiCall, first: StoredResponse) -> Mapping[str, str]:  # noqa: ARG002
        return {"Idempotent-Replayed": "true"}

    def key_in_use(self, call: ApiCall) -> ApiResponse:  # noqa: ARG002
        message = "Same idempotency key used while original request is still in progress."
        return _error(409, "concurrent_idempotent_requests", message)

    def key_mismatch(self, call: ApiCall, first: StoredResponse) -> ApiResponse:  # noqa: ARG002
        message = "Same idempotency key used with a different request payload."
        return _error(409, "invalid_idempotent_request", message)

    def rate_limited(self, call: ApiCall, seconds: float) -> ApiResponse:  # noqa: ARG002
        message = "Too many requests. Please limit the number of requests per second."
        wait = str(max(1, round(seconds)))
        return _error(429, "rate_limit_exceeded", message, **{"retry-after": wait})

    def locked(self, call: ApiCall) -> ApiResponse:
        return self.key_in_use(call)

    def restricted(self, call: ApiCall) -> ApiResponse:  # noqa: ARG002
        message = "The shop.example domain is not verified. Please, add and verify your domain."
        return _error(403, "validation_error", message)

    def server_error(self, call: ApiCall) -> ApiResponse:  # noqa: ARG002
        return _error(500, "application_error", "An unexpected error occurred.")


def resend_routes(pipeline: RequestPipeline) -> list[Route]:
    provider = ResendProvider()

    async def send(request: Request) -> Response:
        call = ApiCall("resend.emails.send", "/emails", uuid.uuid4().hex)
        key = request.headers.get("idempotency-key")
        try:
            _authenticate(request)
            mail = await _body(request)
            tags = _tags(mail)
            call = ApiCall(
                call.endpoint,
                call.path,
                call.request_id,
                order_id=tags.get("order_id") or order_id_of_key(key),
                key=_checked_key(key),
                fingerprint=fingerprint(mail),
            )
            _check(mail)
        except ApiError as error:
            return to_http_response(error.response, provider.headers(call))

        def operation(fault: Fault | None) -> ApiResponse:
            if fault is not None and fault.mode == "refuse":
                reason = fault.reason or "Invalid `to` field."
                raise ApiError(_error(422, "validation_error", reason))
            mail_id = str(uuid.uuid4())
            now = pipeline.clock()
            events = delivery_events(_several(mail["to"]))
            kept = {
                "id": mail_id,
                "object": "email",
                "created_at": datetime.fromtimestamp(now, UTC).isoformat(sep=" "),
                "from": mail["from"],
                "to": _several(mail["to"]),
                "cc": _several(mail.get("cc", [])),
                "bcc": _several(mail.get("bcc", [])),
                "reply_to": _several(mail.get("reply_to", [])),
                "subject": mail["subject"],
                "html": mail.get("html"),
                "text": mail.get("text"),
                "last_event": events[-1],
                "tags": mail.get("tags", []),
                "_key": key,
                "_kind": tags.get("kind") or purpose_of_key(key),
            }
            pipeline.store.add("mail", kept, order_id=call.order_id, created=int(now))
            queue_delivery_events(pipeline.store, kept, events, now)
            return ApiResponse(200, {"id": mail_id})

        return await pipeline.handle(provider, call, operation)

    async def retrieve(request: Request) -> Response:
        mail_id = request.path_params["id"]
        order_id = pipeline.store.order_of("mail", mail_id)
        call = ApiCall("resend.emails.retrieve", request.url.path, uuid.uuid4().hex, order_id)
        try:
            _authenticate(request)
        except ApiError as error:
            return to_http_response(error.response, provider.headers(call))

        def operation(_: Fault | None) -> ApiResponse:
            mail = pipeline.store.find("mail", mail_id)
            if mail is None:
                raise ApiError(_error(404, "not_found", "Email not found"))
            return ApiResponse(
                200, {n: value for n, value in mail.items() if not n.startswith("_")}
            )

        return await pipeline.handle(provider, call, operation)

    return [
        Route("/emails", send, methods=["POST"]),
        Route("/emails/{id}", retrieve, methods=["GET"]),
    ]


def _authenticate(request: Request) -> None:
    scheme, _, key = request.headers.get("authorization", "").partition(" ")
    if scheme != "Bearer" or not key:
        message = "Missing API key in the authorization header."
        raise ApiError(_error(401, "missing_api_key", message))
    if not key.startswith("re_"):
        raise ApiError(_error(403, "invalid_api_key", "API key is invalid."))


def _checked_key(key: str | None) -> str | None:
    if key is not None and not 1 <= len(key) <= 256:
        message = "The key must be between 1-256 chars."
        raise ApiError(_error(400, "invalid_idempotency_key", message))
    return key


async def _body(request: Request) -> JsonObject:
    try:
        mail = json.loads(await request.body())
    except (ValueError, RecursionError):
        mail = None
    if not isinstance(mail, dict):
        raise ApiError(_error(400, "validation_error", "The request body is not a JSON object."))
    return mail


def _several(addresses: Any) -> list[Any]:
    return addresses if isinstance(addresses, list) else [addresses]


def _tags(mail: JsonObject) -> dict[str, str]:
    tags = mail.get("tags", [])
    found = {}
    for tag in tags if isinstance(tags, list) else [tags]:
        if not isinstance(tag, dict) or not all(
            isinstance(tag.get(part), str) and _TAG.match(tag[part]) for part in ("name", "value")
        ):
            message = (
                "Tags should only contain ASCII letters, numbers, underscores, or dashes, "
                "256 characters at most."
            )
            raise ApiError(_error(422, "validation_error", message))
        found[tag["name"]] = tag["value"]
    return found


def _check(mail: JsonObject) -> None:
    """Validate a mail as "Send Email" documents."""
    if unknown := set(mail) - _FIELDS:
        # The real service ignores these; the stand-in rejects them, to find typos.
        message = f"Unknown field: {', '.join(sorted(unknown))}."
        raise ApiError(_error(422, "validation_error", message))
    for name in ("from", "to", "subject"):
        if not mail.get(name):
            raise ApiError(_error(422, "missing_required_field", f"Missing `{name}` field."))
    if not mail.get("html") and not mail.get("text"):
        message = "Missing `html` or `text` field."
        raise ApiError(_error(422, "missing_required_field", message))
    if len(_several(mail["to"])) > 50:
        raise ApiError(_error(422, "validation_error", "`to` takes 50 addresses at most."))
    for name in ("from", "to", "cc", "bcc", "reply_to"):
        for address in _several(mail.get(name, [])):
            if not isinstance(address, str) or not _ADDRESS.match(address):
                message = (
                    f"Invalid `{name}` field. The email address needs to follow the "
                    "`email@example.com` or `Name <email@example.com>` format."
                )
                raise ApiError(_error(422, "validation_error", message))
