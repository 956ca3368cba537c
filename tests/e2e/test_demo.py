"""`python -m demo`, as a newcomer runs it."""

import asyncio
import os
import re
import signal
import sys
from pathlib import Path

import psutil  # type: ignore[import-untyped]
import pytest

CHECKOUT = Path(__file__).resolve().parents[2]


async def begin(state: Path, *arguments: str) -> asyncio.subprocess.Process:
    return await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "demo", *arguments),
        cwd=CHECKOUT,
        env={**os.environ, "DEMO_STATE": str(state)},
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )


async def test_the_demo_keeps_the_promises_and_ends_by_itself(tmp_path: Path) -> None:
    demo = await begin(tmp_path / "demo")
    async with asyncio.timeout(120):
        output = (await demo.communicate())[0].decode()

    assert demo.returncode == 0, output
    assert """$ curl $API/checkout --json '{"order_id": "1001"}'""" in output
    assert '202 {"workflow_id":"order-1001","status_url":"/orders/1001"}' in output
    assert re.search(r"kill -9 \d+: Stripe has taken 29.00 EUR", output)
    assert "The books of order 1002: 1 charge, 1 parcel, 1 mail" in output
    assert "$ curl -X POST $API/orders/1003/cancel" in output
    assert "The customer is told: refunded, 54.00 EUR is given back" in output
    assert '"payment":{"state":"declined","code":"generic_decline"' in output
    assert "Order 1004 is rejected" in output
    assert "PRINT-1OF1: 1 on hand, 1 set aside. Stripe has taken 0.00 EUR" in output
    assert re.search(r"kill -9 \d+: nobody is at work, and the order goes on waiting", output)
    assert "$ curl $API/orders/1005/approve --json" in output
    assert "order approved (by sales" in output
    assert "The books of order 1005: 1 charge, 1 parcel, 1 mail" in output
    assert "payment needs customer" in output
    assert '"payment":{"state":"needs_customer"' in output
    assert "TEE: 499 on hand, 1 set aside. Stripe has taken 0.00 EUR" in output
    assert "The books of order 1006: 1 charge, 1 parcel, 1 mail" in output
    told = re.findall(r"inbox: (\S+) evt_\w+: told", (tmp_path / "demo/edge/log").read_text())
    assert "payment_intent.succeeded" in told
    assert "MUG: 998 on hand, 0 set aside. One of the two mugs of order 1001 is sent back" in output
    assert output.count("$ curl $API/orders/1001/refunds --json") == 2
    assert "14.50 EUR is given back. MUG: 999 on hand" in output
    assert "The books of order 1001: 1 refund, 14.50 EUR kept. MUG: 999 on hand" in output
    assert re.search(r"1001 .* 29.00 EUR +│ 14.50 EUR .* confirmation, refund", output)
    assert output.count("✓") == 6
    assert "✗" not in output
    assert "/workflows/order-1002/" in output
    assert "/workflows/refund-1001-r1/" in output
    assert "Traceback" not in output


@pytest.mark.parametrize(("argument", "code"), [("--help", 0), ("--fast", 2)])
async def test_asked_for_anything_else_it_explains_itself_and_starts_nothing(
    tmp_path: Path, argument: str, code: int
) -> None:
    demo = await begin(tmp_path / "demo", argument)
    async with asyncio.timeout(30):
        output = (await demo.communicate())[0].decode()
    assert demo.returncode == code
    assert output.startswith("usage: python -m demo [-h]")
    assert "starting Temporal" not in output
    assert not (tmp_path / "demo").exists()


async def test_interrupted_it_leaves_nothing_behind(tmp_path: Path) -> None:
    demo = await begin(tmp_path / "demo")
    assert demo.stdout
    seen: list[psutil.Process] = []
    async with asyncio.timeout(120):
        while b"A worker starts" not in await demo.stdout.readline():
            pass
        seen = psutil.Process(demo.pid).children(recursive=True)
        demo.send_signal(signal.SIGINT)
        rest = (await demo.communicate())[0].decode()

    assert demo.returncode == 130, rest
    assert "Traceback" not in rest
    assert len(seen) >= 4
    assert not [each for each in seen if each.is_running()]
