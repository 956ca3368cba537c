"""Connect to Temporal, wait for it to be there, translate its errors."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Awaitable, Callable, Iterator
from datetime import timedelta
from typing import Any, Final, TypeVar

from temporalio.client import Client
from temporalio.envconfig import ClientConfigProfile
from temporalio.service import GrpcCompression, RPCError, RPCStatusCode

from durable_orders.clients.errors import UnreachableError
from durable_orders.contracts.data_converter import DATA_CONVERTER
from durable_orders.domain.ports import NoAnswerError
from durable_orders.process import HAS_MAKEFILE

log = logging.getLogger(__name__)

T = TypeVar("T")

_LONGEST_PAUSE: Final = 5.0

_AWAY: Final = frozenset(
    {
        RPCStatusCode.UNAVAILABLE,
        RPCStatusCode.DEADLINE_EXCEEDED,
        RPCStatusCode.CANCELLED,  # the SDK's own timeout
    }
)
#: A connection that breaks in the middle of a call has no status of its own in gRPC: the SDK's
#: transport (tonic) passes it on as UNKNOWN or INTERNAL, with these words before the cause.
_BROKEN: Final = ("transport error", "h2 protocol error", "error reading a body from connection")
_NO_ANSWER: Final = "no answer in time"
#: What the SDK says of a connection that cannot be made, in the terms of its Rust libraries,
#: and the same for a person. The first that fits holds.
_REASONS: Final = (
    ("ConnectionRefused", "connection refused"),
    ("dns error", "there is no host of this name"),
    ("InvalidContentType", "it does not speak TLS"),
    ("tls handshake eof", "it ends the connection when TLS begins"),
    ("invalid peer certificate", "its certificate is not one that is trusted here"),
    ("http2 error", "it does not speak gRPC, or only over TLS"),
    ("ConnectionReset", "it ends the connection"),
    ("connection closed", "it ends the connection"),
    ("Timeout expired", _NO_ANSWER),
)
_REFUSED: Final = frozenset({RPCStatusCode.PERMISSION_DENIED, RPCStatusCode.UNAUTHENTICATED})


async def connect(
    profile: ClientConfigProfile | None = None,
    *,
    patience: timedelta | None = timedelta(0),
    connect_timeout: timedelta = timedelta(seconds=10),
    **options: Any,
) -> Client:
    """Return a Temporal client that encodes messages as the workflows do.

    ``profile``: how to reach Temporal; left out, what ``TEMPORAL_*`` in the environment says.
    Tries again for ``patience`` (None: for ever), a log line per try; raises ``UnreachableError``
    then, and at once when the server answers but refuses (a wrong API key or namespace). A try is
    given up after ``connect_timeout``: a host that answers nothing at all (a firewall drops what is
    sent, say) would be waited for by the kernel for more than two minutes.
    """
    profile = profile or ClientConfigProfile.load()
    config = profile.to_client_connect_config()
    address = config.setdefault("target_host", "localhost:7233")
    # Without TLS it is in a network of one's own, where compressing takes more than it spares.
    compression = GrpcCompression.GZIP if config.get("tls") else GrpcCompression.NONE
    loop = asyncio.get_running_loop()
    started, pause = loop.time(), 0.25
    while True:
        try:
            async with asyncio.timeout(connect_timeout.total_seconds()):
                return await Client.connect(
                    **config,
                    data_converter=DATA_CONVERTER,
                    grpc_compression=compression,
                    **options,
                )
        except (RuntimeError, TimeoutError) as error:
            # RuntimeError is the SDK's name for "nobody is listening there".
            waited = timedelta(seconds=loop.time() - started)
            if patience is not None and waited >= patience:
                raise UnreachableError(_unreachable(address, error)) from None
            why = _reason(error)
            log.warning(
                "Temporal at %s is not there yet (%s): again in %.1f s", address, why, pause
            )
        except RPCError as error:
            raise UnreachableError(f"Temporal at {address} refuses us: {error.message}") from None
        await asyncio.sleep(pause)
        pause = min(pause * 2, _LONGEST_PAUSE)


@contextlib.contextmanager
def translate_rpc_errors(client: Client) -> Iterator[None]:
    """Wrap calls of ``client``: raise ``UnreachableError`` when the server gives no answer or
    refuses us. What the server answers ("no such workflow") passes through as ``RPCError``.
    """
    address = client.service_client.config.target_host
    try:
        yield
    except RuntimeError as error:
        # A lazy client connects with its first call.
        if not str(error).startswith("Failed client connect"):
            raise
        raise UnreachableError(_unreachable(address, error)) from None
    except RPCError as error:
        if error.status is RPCStatusCode.RESOURCE_EXHAUSTED:
            busy = f"Temporal at {address} has too much to do ({error.message}): ask again later"
            raise UnreachableError(busy) from None
        if error.status in _AWAY or _is_broken_connection(error):
            raise UnreachableError(_unreachable(address, error)) from None
        if error.status in _REFUSED or error.message.startswith("Namespace "):
            raise UnreachableError(f"Temporal at {address} refuses us: {error.message}") from None
        raise


async def retry_while_unavailable(
    client: Client, call: Callable[[], Awaitable[T]], patience: timedelta
) -> T:
    """Return what ``call`` of Temporal or the database returns; repeat it while one is away.

    Raises ``UnreachableError`` or ``NoAnswerError`` once that has lasted for ``patience``.
    """
    now = asyncio.get_running_loop().time
    away_since: float | None = None
    while True:
        called = now()
        try:
            with translate_rpc_errors(client):
                return await call()
        except (UnreachableError, NoAnswerError):
            # A call that had lasted for longer was being answered until a moment ago.
            if away_since is None or now() - called > patience.total_seconds():
                away_since = now()
            if now() - away_since >= patience.total_seconds():
                raise
        await asyncio.sleep(0.5)


def _is_broken_connection(error: RPCError) -> bool:
    has_no_status = error.status in {RPCStatusCode.UNKNOWN, RPCStatusCode.INTERNAL}
    return has_no_status and error.message.startswith(_BROKEN)


def _reason(error: Exception) -> str:
    if isinstance(error, TimeoutError):
        return _NO_ANSWER
    return next((words for theirs, words in _REASONS if theirs in str(error)), str(error))


def _unreachable(address: str, error: Exception) -> str:
    here = " (`make sandbox` runs one here)" if HAS_MAKEFILE else ""
    return (
        f"Temporal does not answer at {address} ({_reason(error)}). "
        f"Start it{here}, or set TEMPORAL_ADDRESS to where it is."
    )
