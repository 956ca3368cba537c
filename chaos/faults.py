"""Carries out the faults of a plan, each at its time, and notes when it really happened."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import time
from dataclasses import dataclass
from typing import Final, cast

from sqlalchemy import text

from chaos.environment import ChaosEnvironment
from chaos.plan import FaultKind, PlannedFault
from durable_orders.domain.ports import ProviderError
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
        self._restarting = asyncio.Lock()
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
            case FaultKind.RESTART_TEMPORAL:
                await self._restart_temporal(fault)
            case FaultKind.RESTART_DATABASE:
                await self._environment.database.restart(fault.how, fault.seconds)
            case FaultKind.FAIL_OVER:
                await self._environment.database.fail_over(fault.how, fault.seconds)
            case FaultKind.END_CONNECTIONS:
                with contextlib.suppress(ProviderError):
                    async with self._environment.demo.database.statement() as connection:
                        await connection.execute(_END_CONNECTIONS)
            case FaultKind.CUT | FaultKind.STALL | FaultKind.SLOW:
                await self._disturb(fault)
            case FaultKind.NEIGHBOUR | FaultKind.WEBHOOKS:
                await self._misbehave(fault)

    async def _restart_temporal(self, fault: PlannedFault) -> None:
        server = self._environment.sandbox.temporal
        async with self._restarting:
            if fault.how == "killed":
                os.kill(server.child.pid, signal.SIGKILL)
                await server.child.ended()
            await server.stop()
            await asyncio.sleep(fault.seconds)
            await server.start()

    async def _disturb(self, fault: PlannedFault) -> None:
        process, _, server = fault.target.partition(" from ")
        proxies = self._environment.proxies[process, server]
        for proxy in proxies:
            match fault.kind:
                case FaultKind.CUT:
                    proxy.cut(refuse=True)
                case FaultKind.STALL:
                    proxy.stall()
                case _:
                    proxy.slow(_PACKET)
        await asyncio.sleep(fault.seconds)
        for proxy in proxies:
            proxy.restore()

    async def _misbehave(self, fault: PlannedFault) -> None:
        faults, mode = self._environment.demo.faults, cast("Mode", fault.how)
        seconds = _RETRY_AFTER if mode == "rate_limit" else _DELAY
        injected = await faults.inject(fault.target, mode, seconds=seconds, times=fault.times)
        await asyncio.sleep(fault.seconds)
        await faults.remove(injected)
