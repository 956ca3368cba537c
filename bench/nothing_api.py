"""What the HTTP edge is measured against: `python -m bench.nothing_api`.

A FastAPI route that takes and gives what `POST /checkout` does, and does nothing in between: no
key, no database, no Temporal, no log. It is served as ``api.py`` is, with the same settings.
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


class Asked(BaseModel):
    """As the edge's: checked to the letter."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)

    order_id: str
    wait_seconds: int = Field(default=0, ge=0, le=15)


class Accepted(BaseModel):
    model_config = ConfigDict(frozen=True)

    workflow_id: str
    status_url: str
    payment: dict[str, Any] | None = None


@app.post("/checkout", status_code=202, response_model_exclude_unset=True)
async def checkout(asked: Asked) -> Accepted:
    return Accepted(workflow_id=f"order-{asked.order_id}", status_url=f"/orders/{asked.order_id}")


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
