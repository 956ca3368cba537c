"""The steps of every request to a provider: idempotency, faults and one transaction.

1. Claim the idempotency key.
2. Apply the faults that act before the operation.
3. In one transaction, return the stored response for the key, or execute the operation and store
   its response.
4. Apply the faults that act after the operation.

The rules for idempotency keys are those of each provider's documentation:

* Stripe, "Idempotent requests": the first response is stored, whether it succeeded or failed, once
  the endpoint began executing; failed validation and concurrent use store nothing.
* Resend, "Idempotency keys": 24 hours, a repeat returns the same id.
* the warehouse: `docs/warehouse-api.md`.
"""

import hashlib
import json
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Final, Protocol

from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from sandbox.world.faults import AFTER, BEFORE, DURING, Fault, FaultRegistry
from sandbox.world.state_store import JsonObject, StateStore, StoredResponse

Clock = Callable[[], float]
"""Seconds since 1970, as `time.time`."""


@dataclass(frozen=True)
class ApiResponse:
    """The response of a provider; `began` is False when it was rejected before execution."""

    status: int
    body: JsonObject
    headers: Mapping[str, str] = field(default_factory=dict)
    began: bool = True


class ApiError(Exception):
    """Raised by an operation to return an error response.

    Its effects so far are committed (a declined card leaves a failed charge), unless the request
    was rejected before execution (`began` is False).
    """

    def __init__(self, response: ApiResponse) -> None:
        super().__init__(response.body)
        self.response = response


@dataclass(frozen=True)
class ApiCall:
    """The properties of a request that faults and idempotency depend on."""

    endpoint: str
    path: str
    request_id: str
    order_id: str | None = None
    key: str | None = None
    fingerprint: str = ""
    skus: tuple[str, ...] = ()


#: Modes that the operation itself implements.
_BUSINESS_MODES: Final = frozenset({"refuse", "pending", "split", "short"})

Operation = Callable[[Fault | None], ApiResponse]
"""Executes a request inside the transaction; gets its fault of those modes."""


class Provider(Protocol):
    """A provider's idempotency rules, and its responses that do not depend on the endpoint.

    `key_lifetime` is in seconds; with `stores_errors` error responses are stored for a key too.
    """

    name: str
    key_lifetime: float
    stores_errors: bool

    def headers(self, call: ApiCall) -> Mapping[str, str]: ...
    def replay_headers(self, call: ApiCall, first: StoredResponse) -> Mapping[str, str]: ...
    def key_in_use(self, call: ApiCall) -> ApiResponse: ...
    def key_mismatch(self, call: ApiCall, first: StoredResponse) -> ApiResponse: ...
    def rate_limited(self, call: ApiCall, seconds: float) -> ApiResponse: ...
    def locked(self, call: ApiCall) -> ApiResponse: ...
    def restricted(self, call: ApiCall) -> ApiResponse: ...
    def server_error(self, call: ApiCall) -> ApiResponse: ...


class HangUpResponse(Response):
    """Close the TCP connection without a response, by the extension of `server.py`."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:  # noqa: ARG002
        scope["extensions"]["hang_up"]()
        while (await receive())["type"] != "http.disconnect":
            pass


def page_of_a_proxy() -> Response:
    """What a proxy between the caller and the provider answers in its place: a page, and a 200."""
    page = "<!doctype html><title>Just a moment</title><h1>We will be right back</h1>"
    return Response(page, media_type="text/html")


class RequestPipeline:
    """Handles the calls of all providers on one state store and one registry of faults."""

    def __init__(
        self, store: StateStore, fault_registry: FaultRegistry, clock: Clock = time.time
    ) -> None:
        self.store = store
        self.fault_registry = fault_registry
        self.clock = clock
        self._in_flight: set[tuple[str, str]] = set()

    async def handle(self, provider: Provider, call: ApiCall, operation: Operation) -> Response:
        if call.key is None:
            return await self._respond(provider, call, operation)
        claim = (provider.name, call.key)
        if claim in self._in_flight:
            return self._to_http_response(provider, call, provider.key_in_use(call))
        self._in_flight.add(claim)
        try:
            return await self._respond(provider, call, operation)
        finally:
            self._in_flight.discard(claim)

    async def _respond(self, provider: Provider, call: ApiCall, operation: Operation) -> Response:
        for fault in await self._faults_hit(BEFORE, call):
            if fault.mode == "delay":
                await self.fault_registry.delay(fault)
            elif fault.mode == "hang_up":
                return HangUpResponse()
            elif fault.mode == "html":
                return page_of_a_proxy()
            else:
                failure = _failure(provider, call, fault)
                return self._to_http_response(provider, call, failure)
        response = await self._execute_once(provider, call, operation)
        for fault in await self._faults_hit(AFTER, call):
            if fault.mode == "hang_up_after":
                return HangUpResponse()
            if fault.mode == "html_after":
                return page_of_a_proxy()
            await self.fault_registry.delay(fault)
        return response

    async def _execute_once(
        self, provider: Provider, call: ApiCall, operation: Operation
    ) -> Response:
        """Return the stored response for the key, or execute the operation and store the result."""
        first = self._stored_response(provider, call)
        if first is None:
            faults = await self._faults_hit(DURING, call)
            # No await from here to the commit, so no other request runs in between.
            try:
                with self.store.transaction():
                    response = self._execute(provider, call, operation, faults)
            except ApiError as error:  # rolled back
                response = error.response
            return self._to_http_response(provider, call, response)
        if (first.path, first.fingerprint) != (call.path, call.fingerprint):
            return self._to_http_response(provider, call, provider.key_mismatch(call, first))
        headers = {**provider.headers(call), **provider.replay_headers(call, first)}
        return Response(first.body, first.status, headers, media_type="application/json")

    def _stored_response(self, provider: Provider, call: ApiCall) -> StoredResponse | None:
        if call.key is None:
            return None
        not_before = self.clock() - provider.key_lifetime
        return self.store.stored_response(provider.name, call.key, not_before)

    def _execute(
        self, provider: Provider, call: ApiCall, operation: Operation, faults: list[Fault]
    ) -> ApiResponse:
        modes = {fault.mode for fault in faults}
        business_fault = next((fault for fault in faults if fault.mode in _BUSINESS_MODES), None)
        failure = provider.server_error(call)
        if "error_saved" in modes:
            self._store_response(provider, call, failure)
            return failure
        try:
            response = operation(business_fault)
        except ApiError as error:
            if not error.response.began:
                raise
            response = error.response
        if "error_after" in modes:
            self._store_response(provider, call, failure if provider.stores_errors else response)
            return failure
        self._store_response(provider, call, response)
        return response

    def _store_response(self, provider: Provider, call: ApiCall, response: ApiResponse) -> None:
        is_stored = response.began and (response.status < 400 or provider.stores_errors)
        if call.key is not None and is_stored:
            body = json.dumps(response.body)
            stored = StoredResponse(
                call.path, call.fingerprint, response.status, body, call.request_id
            )
            self.store.store_response(provider.name, call.key, stored, self.clock())

    async def _faults_hit(self, modes: tuple[str, ...], call: ApiCall) -> list[Fault]:
        return await self.fault_registry.hit(modes, call.endpoint, call.order_id, call.skus)

    def _to_http_response(
        self, provider: Provider, call: ApiCall, response: ApiResponse
    ) -> Response:
        return to_http_response(response, provider.headers(call))


def _failure(provider: Provider, call: ApiCall, fault: Fault) -> ApiResponse:
    """The response of a provider that does nothing, by the fault's mode."""
    match fault.mode:
        case "rate_limit":
            return provider.rate_limited(call, fault.seconds)
        case "lock_timeout":
            return provider.locked(call)
        case "restrict":
            return provider.restricted(call)
        case _:
            return provider.server_error(call)


def fingerprint(params: JsonObject) -> str:
    """A digest of the parameters that does not depend on their order."""
    return hashlib.sha256(json.dumps(params, sort_keys=True).encode()).hexdigest()


def to_http_response(response: ApiResponse, headers: Mapping[str, str]) -> Response:
    """Convert a response to Starlette's."""
    headers = {**headers, **response.headers}
    return Response(
        json.dumps(response.body), response.status, headers, media_type="application/json"
    )
