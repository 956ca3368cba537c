"""Connecting to Temporal, and waiting for it to be there."""

from __future__ import annotations

import asyncio
import logging
from datetime import timedelta
from typing import Any, Final

from temporalio.client import Client
from temporalio.envconfig import ClientConfigProfile
from temporalio.service import RPCError

from workflows.runner import DATA_CONVERTER

log = logging.getLogger(__name__)

_LONGEST_PAUSE: Final = 5.0


class UnreachableError(Exception):
    """Temporal does not answer; the message says where it was looked for."""


async def connect(
    profile: ClientConfigProfile, *, patience: timedelta | None = timedelta(0), **options: Any
) -> Client:
    """A client that speaks this project's messages.

    Tries again for ``patience`` (None: for ever), a log line per try; raises ``UnreachableError``
    then, and at once when the server answers but refuses (a wrong API key or namespace).
    """
    config = profile.to_client_connect_config()
    address = config.setdefault("target_host", "localhost:7233")
    loop = asyncio.get_running_loop()
    started, pause = loop.time(), 0.25
    while True:
        try:
            return await Client.connect(**config, data_converter=DATA_CONVERTER, **options)
        except RuntimeError as error:
            # The SDK's name for "nobody is listening there".
            waited = timedelta(seconds=loop.time() - started)
            if patience is not None and waited >= patience:
                raise UnreachableError(_unreachable(address, error)) from None
            log.warning("Temporal at %s is not there yet, trying again in %.1f s", address, pause)
        except RPCError as error:
            raise UnreachableError(f"Temporal at {address} refuses us: {error.message}") from None
        await asyncio.sleep(pause)
        pause = min(pause * 2, _LONGEST_PAUSE)


def _unreachable(address: str, error: Exception) -> str:
    return (
        f"Temporal does not answer at {address} ({error}). "
        "Start it (`make sandbox` runs one here), or set TEMPORAL_ADDRESS to where it is."
    )
