"""A server that is away until a test says otherwise."""

from __future__ import annotations

import asyncio


async def forward(port: int, to: int) -> asyncio.Server:
    """A server, at another port too: it is "down" there until this is."""

    async def copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while block := await reader.read(65536):
            writer.write(block)
            await writer.drain()
        writer.close()

    async def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        server_reader, server_writer = await asyncio.open_connection("127.0.0.1", to)
        await asyncio.gather(copy(reader, server_writer), copy(server_reader, writer))

    return await asyncio.start_server(connected, "127.0.0.1", port)
