"""The baseline of the HTTP API: `python -m bench.baseline_api`.

A FastAPI route with the request and the response of `POST /checkout` that does nothing in between:
no key, no database, no Temporal, no log. It is served as ``api.py`` is, with the same settings.
"""

from __future__ import annotations

import asyncio
import os
import socket
from typing import Any

import uvicorn
from fastapi import FastAPI
from pydantic import BaseModel, ConfigDict, Field

from sandbox.ports import HOST

app = FastAPI(openapi_url=None)


class CheckoutRequest(BaseModel):
    """As strict as the edge's."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)

    order_id: str
    wait_seconds: int = Field(default=0, ge=0, le=15)


class CheckoutResponse(BaseModel):
    model_config = ConfigDict(frozen=True)

    workflow_id: str
    status_url: str
    payment: dict[str, Any] | None = None


@app.post("/checkout", status_code=202, response_model_exclude_unset=True)
async def checkout(request: CheckoutRequest) -> CheckoutResponse:
    return CheckoutResponse(
        workflow_id=f"order-{request.order_id}", status_url=f"/orders/{request.order_id}"
    )


class _Server(uvicorn.Server):
    """Says when it listens."""

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets=sockets)
        print("ready", flush=True)


def main() -> None:
    """Serve at API_PORT until SIGTERM."""
    port = int(os.environ["API_PORT"])
    config = uvicorn.Config(
        app, host=HOST, port=port, log_config=None, access_log=False, server_header=False
    )
    asyncio.run(_Server(config).serve())


if __name__ == "__main__":
    main()
