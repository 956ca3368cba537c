"""A worker for the baseline, on the SDK's defaults: `python -m bench.baseline_worker`."""

from __future__ import annotations

import asyncio
import os
import signal

from temporalio.client import Client
from temporalio.worker import Worker

from bench.baseline import ACTIVITIES, TASK_QUEUE, Baseline


async def main() -> None:
    """Run the worker until SIGTERM."""
    stop = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)
    client = await Client.connect(os.environ["TEMPORAL_ADDRESS"])
    worker = Worker(client, task_queue=TASK_QUEUE, workflows=[Baseline], activities=ACTIVITIES)
    async with worker:
        print("ready", flush=True)
        await stop.wait()


if __name__ == "__main__":
    asyncio.run(main())
