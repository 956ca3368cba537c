"""The baseline of the HTTP edge: `python -m bench.baseline_api`.

A FastAPI route with the request and the response of `POST /checkout` that does nothing in between:
no key, no database, no Temporal, no log. It is served as ``api.py`` is, with the same settings.
"""

from __future__ import annotations

import asyncio
import logging
import os
import socket
import sys
from collections.abc import Callable
from typing import Any

import uvicorn
from fastapi import FastAPI
from pydantic import BaseModel, ConfigDict, Field

from processes import parent_is_gone, side_by_side
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
    def __init__(self, config: uvicorn.Config, ready: Callable[[], None]) -> None:
        super().__init__(config)
        self._ready = ready

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets=sockets)
        self._ready()

    def stop(self) -> None:
        self.should_exit = True


async def _run(listening: socket.socket, ready: Callable[[], None]) -> None:
    config = uvicorn.Config(app, log_config=None, access_log=False, server_header=False)
    server = _Server(config, ready)
    asyncio.get_running_loop().add_reader(parent_is_gone(), server.stop)
    await server.serve(sockets=[listening])


def serve(listening: socket.socket, ready: Callable[[], None]) -> None:
    """Serve in this process until SIGTERM."""
    asyncio.run(_run(listening, ready))


def main() -> int:
    """Serve where and with as many processes as the settings say."""
    logging.basicConfig(level=logging.INFO)  # it is read when all are ready
    listening = socket.create_server((HOST, int(os.environ["API_PORT"])))
    return side_by_side(int(os.environ["API_PROCESSES"]), serve, listening)


if __name__ == "__main__":
    sys.exit(main())
