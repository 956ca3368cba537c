"""`python -m sandbox.world STATE [--host H] [--port P] [--api URL]`: run the stand-in."""

import argparse
import asyncio
from contextlib import suppress
from pathlib import Path

from sandbox.world.server import StandInServer


async def _run(state: Path, host: str, port: int, api_url: str | None) -> None:
    async with StandInServer(state, host, port, api_url=api_url) as stand_in:
        print(f"The outside world is at {stand_in.url}", flush=True)
        await stand_in.wait()


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="Stripe, Resend and a warehouse on one port.")
    parser.add_argument("state", type=Path, help="a directory that keeps what happened")
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=8030)
    parser.add_argument("--api", help="the address of the shop's API, for webhooks")
    arguments = parser.parse_args()
    with suppress(KeyboardInterrupt):
        asyncio.run(_run(arguments.state, arguments.host, arguments.port, arguments.api))
