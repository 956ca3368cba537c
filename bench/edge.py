"""What the HTTP edge takes: `POST /checkout` on real `python api.py` processes, beside a route
that does nothing.

No worker is at work meanwhile: what an order costs after its checkout is measured by itself.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import secrets
import sys
from collections import Counter
from collections.abc import AsyncIterator
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from typing import Final

from bench.edge_load import Answers, Errand
from bench.environment import API, CHECKOUT, NOTHING, Cpu, Stage
from orders.ids import workflow_id
from orders.keys import ID_BYTES, SECRET_BYTES, ApiKey, Scope, Token
from sandbox.child import Child, StartError
from sandbox.ports import free_port
from store.keys import PostgresKeys

CONNECTIONS: Final = 16
#: In turns, so that what disturbs the machine disturbs both.
_TURNS: Final = 2
_TURN_SECONDS: Final = 8.0
_NOTHING_SECONDS: Final = 2.0
_PATIENCE: Final = 60.0


@dataclass(frozen=True)
class Pressed:
    """What came of asking one of the two: all turns together."""

    asked: int
    refused: int
    seconds: float
    took: list[float]
    cpu: Cpu

    @property
    def rate(self) -> float:
        return len(self.took) / self.seconds

    @property
    def generator_share(self) -> float:
        """How much of a core the load generator used: with all of one, it is what was measured."""
        return self.cpu.load / self.seconds


@dataclass(frozen=True)
class Press:
    """The edge and the route that does nothing, in so many processes each."""

    processes: int
    edge: Pressed
    nothing: Pressed


class _Server:
    """One of the two, up, and what came of asking it so far."""

    def __init__(self, stage: Stage, process: Child, port: int) -> None:
        self._stage, self._process, self._port = stage, process, port
        self._all: list[Answers] = []
        self._cpu: list[Cpu] = []

    async def turn(self, token: Token, order_ids: list[str], seconds: float, *, again: bool) -> int:
        """How many of the orders were asked for."""
        errand = Errand(self._port, str(token), order_ids, CONNECTIONS, seconds, again)
        before = self._stage.cpu(self._process)
        answers = await _sent(errand)
        self._all.append(answers)
        self._cpu.append(self._stage.cpu(self._process).since(before).with_load(answers.cpu))
        return answers.asked

    def pressed(self) -> Pressed:
        refused = Counter[int]()
        for answers in self._all:
            refused.update(answers.statuses)
        del refused[202]
        return Pressed(
            asked=sum(answers.asked for answers in self._all),
            refused=refused.total(),
            seconds=sum(answers.seconds for answers in self._all),
            took=[each for answers in self._all for each in answers.took],
            cpu=Cpu.total(self._cpu),
        )


async def press(stage: Stage, checkouts: int, processes: int) -> Press:
    """Check so many new orders out; ``stage.started`` are those that really were."""
    token = await _key(stage, f"bench-{processes}")
    each = checkouts // _TURNS + CONNECTIONS
    a_while = min(_NOTHING_SECONDS, each * _NOTHING_SECONDS / 100)
    async with (
        _served(stage, API, processes) as edge,
        _served(stage, NOTHING, processes) as nothing,
    ):
        for _ in range(_TURNS):
            order_ids = await stage.place_at_once(each)
            await nothing.turn(token, order_ids, a_while, again=True)
            asked = await edge.turn(token, order_ids, _TURN_SECONDS, again=False)
            stage.started += order_ids[:asked]
        return Press(processes, edge.pressed(), nothing.pressed())


async def wrongs(stage: Stage, presses: list[Press]) -> list[str]:
    """A sentence for every answer that was none, and every order without exactly one run."""
    found = [
        f"{pressed.refused} requests of {pressed.asked} were not accepted by {what}"
        for press in presses
        for what, pressed in (("the edge", press.edge), ("the empty route", press.nothing))
        if pressed.refused
    ]
    wanted = Counter(map(workflow_id, stage.started))
    runs = await _runs(stage, at_least=wanted.total())
    return found + [
        f"{id_} has {runs[id_]} runs, not {wanted[id_]}"
        for id_ in sorted(wanted | runs)
        if runs[id_] != wanted[id_]
    ]


async def _runs(stage: Stage, at_least: int) -> Counter[str]:
    """How many runs there are of each workflow, once Temporal lists as many as there must be."""
    runs = Counter[str]()
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(_PATIENCE):
            while runs.total() < at_least:
                runs = Counter([run.id async for run in stage.temporal.list_workflows()])
                await asyncio.sleep(0.1)
    return runs


@contextlib.asynccontextmanager
async def _served(stage: Stage, kind: str, processes: int) -> AsyncIterator[_Server]:
    port = free_port()
    # No limit bites, or it would be the limit that is measured.
    settings = {
        "API_PORT": str(port),
        "API_PROCESSES": str(processes),
        "API_RATE_PER_MINUTE": "1000000",
    }
    process = await stage.add_worker(kind, **settings)
    try:
        yield _Server(stage, process, port)
    finally:
        await stage.stop(process)


async def _sent(errand: Errand) -> Answers:
    """What the load generator says; it is ended with this task."""
    generator = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "bench.edge_load"),
        cwd=CHECKOUT,
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        start_new_session=True,  # a Ctrl-C is for us, who then end it
    )
    try:
        told, _ = await generator.communicate(json.dumps(asdict(errand)).encode())
    finally:
        if generator.returncode is None:
            generator.kill()
            await generator.wait()
    if generator.returncode:
        raise StartError("The load generator failed: its last words are above.")
    return Answers.read(told)


async def _key(stage: Stage, name: str) -> Token:
    token = Token.of(secrets.token_bytes(ID_BYTES), secrets.token_bytes(SECRET_BYTES))
    key = ApiKey(token.key_id, name, Scope.SHOP, datetime.now(UTC), token.digest)
    await PostgresKeys(stage.database).add(key)
    return token
