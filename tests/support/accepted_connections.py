"""Connections that an asyncio server accepts, as the operating system sees them."""

from __future__ import annotations

import asyncio
import socket


async def sends_at_once(listening: socket.socket) -> bool:
    """Whether asyncio sets TCP_NODELAY on a connection that it accepts from this socket.

    Without it, the second part of an answer waits until the client acknowledges the first one.
    """
    accepted: asyncio.Future[bool] = asyncio.get_running_loop().create_future()

    async def connected(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        connection = writer.get_extra_info("socket")
        accepted.set_result(bool(connection.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)))
        writer.close()

    async with await asyncio.start_server(connected, sock=listening):
        _, writer = await asyncio.open_connection(*listening.getsockname()[:2])
        try:
            return await accepted
        finally:
            writer.close()
            await writer.wait_closed()
