"""Slow neighbours: each answer of Stripe, Resend and the warehouse takes a while.

One worker. Orders per second; how long a shopper waits for what becomes of the payment; how long
the answer to a cancel takes that is sent in the middle of a charge.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final

from bench.orders import Amount, errors_of, run, warm_up
from bench.stand_ins import CONFIRM
from bench.systems import Running, Servers, System

#: So many runs for each order in flight, so that ramping up and down weighs little.
_RUNS: Final = 3
#: Shoppers, and cancellations, at a time.
_AT_ONCE: Final = 5


@dataclass
class SlowResult:
    """One system with neighbours that answer after ``answer_after`` seconds."""

    answer_after: float
    #: Orders per second by the number in flight.
    rates: dict[int, float] = field(default_factory=dict)
    shoppers: list[float] = field(default_factory=list)
    cancels: list[float] = field(default_factory=list)


async def measure_slow(
    servers: Servers,
    system: System,
    answer_after: float,
    in_flight: tuple[int, ...],
    amount: Amount,
) -> tuple[SlowResult, list[str]]:
    """Measure one system with one worker. Only our own orders have shoppers and cancellations."""
    result = SlowResult(answer_after)
    async with servers.running(system, 1) as running:
        await warm_up(running)
        await servers.control(answer_after=answer_after)
        try:
            for number in in_flight:
                some = min(amount.orders, _RUNS * number)
                took, elapsed = await run(running.generator, some, number, amount.seconds)
                result.rates[number] = len(took) / elapsed
            if system.checkout is not None:
                result.shoppers = await _ask(running, "checkout")
                result.cancels = await _ask(running, "cancel", during=CONFIRM)
        finally:
            await servers.control(answer_after=0.0)
        return result, await errors_of(running)


async def _ask(running: Running, do: str, **more: str) -> list[float]:
    ids = await running.generator.place(_AT_ONCE)
    took: list[float] = (await running.generator.ask(do, ids=ids, **more))["took"]
    return took
