"""A real pgbouncer in front of a database, where one is installed (Debian: `pgbouncer`)."""

from __future__ import annotations

import asyncio
import os
import pwd
import shutil
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Final

import pytest
from sqlalchemy import make_url

from sandbox.child import Child
from sandbox.ports import HOST, free_port

PGBOUNCER: Final = shutil.which("pgbouncer", path=f"{os.environ.get('PATH', '')}:/usr/sbin")

needs_pgbouncer = pytest.mark.skipif(
    PGBOUNCER is None, reason="pgbouncer is not installed (Debian: apt-get install pgbouncer)"
)


@asynccontextmanager
async def running_pooler(
    state: Path, database_url: str, *, mode: str = "transaction", size: int = 3
) -> AsyncIterator[str]:
    """The database's address through pgbouncer: its defaults, but for its mode and size."""
    assert PGBOUNCER is not None
    behind = make_url(database_url)
    port = free_port()
    # It refuses to run as root, and runs as PostgreSQL does.
    user = pwd.getpwnam("nobody") if os.geteuid() == 0 else None
    config = state / "pgbouncer.ini"
    where = f"host={behind.query['host']} user={behind.username}"
    _write(config, f"{behind.database} = {where}", port=port, mode=mode, size=size)
    pooler = Child("pgbouncer", state)
    url = f"postgresql://{behind.username}@{HOST}:{port}/{behind.database}"
    try:
        await pooler.start([PGBOUNCER, str(config)], user=user, env=os.environ)
        async with asyncio.timeout(20):
            while not await _listens(port):
                if not pooler.running:
                    raise pooler.died()
                await asyncio.sleep(0.02)
        yield url
    finally:
        await pooler.stop()


def _write(config: Path, database: str, *, port: int, mode: str, size: int) -> None:
    config.parent.mkdir(parents=True, exist_ok=True)
    config.write_text(
        f"""
[databases]
{database}
[pgbouncer]
listen_addr = {HOST}
listen_port = {port}
unix_socket_dir =
auth_type = any
pool_mode = {mode}
default_pool_size = {size}
"""
    )
    for directory in config.parents:
        if not directory.stat().st_mode & 0o001:
            directory.chmod(directory.stat().st_mode | 0o001)


async def _listens(port: int) -> bool:
    try:
        _, writer = await asyncio.open_connection(HOST, port)
    except OSError:
        return False
    writer.close()
    return True
