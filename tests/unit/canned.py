"""Servers that say what they were told to say, byte for byte."""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass


def http(status: int, body: object, **headers: str) -> bytes:
    """An HTTP answer: JSON, or HTML when the body is a text."""
    html = isinstance(body, str)
    content = body.encode() if isinstance(body, str) else json.dumps(body).encode()
    fields = {
        "Content-Type": "text/html" if html else "application/json",
        "Content-Length": str(len(content)),
        "Connection": "close",
        **{name.replace("_", "-"): value for name, value in headers.items()},
    }
    head = "".join(f"{name}: {value}\r\n" for name, value in fields.items())
    return f"HTTP/1.1 {status} Whatever\r\n{head}\r\n".encode() + content


@asynccontextmanager
async def answering(*replies: bytes, after: float = 0) -> AsyncIterator[str]:
    """The URL of a server that answers each request with the next reply, and hangs up.

    It takes ``after`` seconds for each. The last reply is given again and again.
    """
    left = list(replies)

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        await asyncio.sleep(after)
        writer.write(left.pop(0) if len(left) > 1 else left[0])
        await writer.drain()
        writer.close()

    server = await asyncio.start_server(answer, "127.0.0.1", 0)
    async with server:
        host, port = server.sockets[0].getsockname()
        yield f"http://{host}:{port}"


@asynccontextmanager
async def saying() -> AsyncIterator[tuple[str, list[bytes]]]:
    """A server that gives the last of these replies, again and again, and hangs up."""
    replies: list[bytes] = []

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = await reader.readuntil(b"\r\n\r\n")
        # All of it: what is not read when the connection is closed resets it.
        length = re.search(rb"content-length: *([0-9]+)", head, re.IGNORECASE)
        await reader.readexactly(int(length[1]) if length else 0)
        writer.write(replies[-1])
        await writer.drain()
        writer.close()

    server = await asyncio.start_server(answer, "127.0.0.1", 0)
    async with server:
        host, port = server.sockets[0].getsockname()
        yield f"http://{host}:{port}", replies


@dataclass(frozen=True)
class Request:
    """A request as it came; the names of its headers are in lower case."""

    method: str
    target: str
    headers: dict[str, str]
    body: bytes


async def read_request(reader: asyncio.StreamReader) -> Request:
    lines = (await reader.readuntil(b"\r\n\r\n")).decode().split("\r\n")[:-2]
    method, target, _ = lines[0].split(" ")
    fields = (line.partition(":") for line in lines[1:])
    headers = {name.lower(): value.strip() for name, _, value in fields}
    body = await reader.readexactly(int(headers.get("content-length", 0)))
    return Request(method, target, headers, body)


@asynccontextmanager
async def serving(answer: Callable[[Request], bytes | Awaitable[bytes]]) -> AsyncIterator[str]:
    """The URL of a server that gives this answer to each request, and hangs up."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        reply = answer(await read_request(reader))
        writer.write(reply if isinstance(reply, bytes) else await reply)
        await writer.drain()
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    async with server:
        host, port = server.sockets[0].getsockname()
        yield f"http://{host}:{port}"
