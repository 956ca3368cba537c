"""Carries out the faults of a plan, each at its time, and notes when it really happened."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import time
from dataclasses import dataclass
from typing import Final, cast

import psutil  # type: ignore[import-untyped]
from sqlalchemy import text

from chaos.environment import ChaosEnvironment
from chaos.plan import FaultKind, PlannedFault
from durable_orders.domain.ports import ProviderError
from sandbox.child import Child
from sandbox.fault_client import Mode

#: Of a request that is slowed down at a neighbour, and of a webhook that is late.
_DELAY: Final = 2.0
#: Seconds that a neighbour asks us to wait for after a 429.
_RETRY_AFTER: Final = 2.0
#: Of each packet of a slow connection.
_PACKET: Final = 0.15

_END_CONNECTIONS: Final = text(
    "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity "
    "WHERE datname = current_database() AND pid <> pg_backend_pid()"
)


@dataclass
class Happened:
    """A fault that happened: from ``began`` to ``ended``, by ``time.time``."""

    fault: PlannedFault
    began: float
    ended: float


class Faults:
    """Carries out planned faults; ``happened`` are those so far."""

    def __init__(self, environment: ChaosEnvironment) -> None:
        self._environment = environment
        self._servers = {kind: asyncio.Lock() for kind in FaultKind}
        self.happened: list[Happened] = []

    async def carry_out(self, fault: PlannedFault) -> None:
        """Have the fault happen now, and mend it when its time is over."""
        if fault.kind in {FaultKind.KILL, FaultKind.FREEZE}:
            # On a slow machine a process may not be ready yet since it was killed before.
            await self._environment.slots[fault.target].ready()
        noted = Happened(fault, time.time(), 0.0)
        self.happened.append(noted)
        try:
            await self._carry_out(fault)
        finally:
            noted.ended = time.time()

    async def _carry_out(self, fault: PlannedFault) -> None:
        match fault.kind:
            case FaultKind.KILL:
                slot = self._environment.slots[fault.target]
                await slot.kill()
                await asyncio.sleep(fault.seconds)
                await slot.start()
            case FaultKind.FREEZE:
                slot = self._environment.slots[fault.target]
                await slot.freeze()
                await asyncio.sleep(fault.seconds)
                await slot.thaw()
            case FaultKind.RESTART_TEMPORAL | FaultKind.RESTART_DATABASE:
                await self._restart(fault)
            case FaultKind.END_CONNECTIONS:
                with contextlib.suppress(ProviderError):
                    async with self._environment.demo.database.statement() as connection:
                        await connection.execute(_END_CONNECTIONS)
            case FaultKind.CUT | FaultKind.STALL | FaultKind.SLOW:
                await self._disturb(fault)
            case FaultKind.NEIGHBOUR | FaultKind.WEBHOOKS:
                await self._misbehave(fault)

    async def _restart(self, fault: PlannedFault) -> None:
        sandbox = self._environment.sandbox
        server = sandbox.temporal if fault.kind is FaultKind.RESTART_TEMPORAL else sandbox.postgres
        async with self._servers[fault.kind]:
            if fault.how == "killed":
                await _kill(server.child)
            await server.stop()
            await asyncio.sleep(fault.seconds)
            await server.start()

    async def _disturb(self, fault: PlannedFault) -> None:
        process, _, server = fault.target.partition(" from ")
        proxy = self._environment.proxies[process, server]
        match fault.kind:
            case FaultKind.CUT:
                proxy.cut(refuse=True)
            case FaultKind.STALL:
                proxy.stall()
            case _:
                proxy.slow(_PACKET)
        await asyncio.sleep(fault.seconds)
        proxy.restore()

    async def _misbehave(self, fault: PlannedFault) -> None:
        faults, mode = self._environment.demo.faults, cast("Mode", fault.how)
        seconds = _RETRY_AFTER if mode == "rate_limit" else _DELAY
        injected = await faults.inject(fault.target, mode, seconds=seconds, times=fault.times)
        await asyncio.sleep(fault.seconds)
        await faults.remove(injected)


async def _kill(child: Child) -> None:
    """Send SIGKILL to a server and all of its processes, as the kernel would without memory."""
    family = psutil.Process(child.pid).children(recursive=True)
    os.kill(child.pid, signal.SIGKILL)
    for process in family:
        with contextlib.suppress(psutil.NoSuchProcess):
            process.kill()
    await child.ended()
