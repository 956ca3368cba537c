"""Reads what `make demo` prints, passes it on, and ends with 1 when a promise is not told in it.

    make demo | python -m tests.e2e.demo_transcript

CI checks the demo this way while it runs it, instead of a test running it once more.
"""

from __future__ import annotations

import re
import sys
from typing import Final

TOLD: Final = (
    r"\$ curl \$API/checkout --json '\{\"order_id\": \"1001\"\}'",
    r'202 \{"workflow_id":"order-1001","status_url":"/orders/1001"\}',
    r"kill -9 \d+: Stripe has taken 29\.00 EUR",
    r"The books of order 1002: 1 charge, 1 parcel, 1 mail",
    r"\$ curl -X POST \$API/orders/1003/cancel",
    r"The customer is told: refunded, 54\.00 EUR is given back",
    r'"payment":\{"state":"declined","code":"generic_decline"',
    r"Order 1004 is rejected",
    r"PRINT-1OF1: 1 on hand, 1 set aside\. Stripe has taken 0\.00 EUR",
    r"kill -9 \d+: nobody is at work, and the order goes on waiting",
    r"\$ curl \$API/orders/1005/approve --json",
    r"order approved \(by sales",
    r"The books of order 1005: 1 charge, 1 parcel, 1 mail",
    r"payment needs customer",
    r'"payment":\{"state":"needs_customer"',
    r"TEE: 499 on hand, 1 set aside\. Stripe has taken 0\.00 EUR",
    r"The books of order 1006: 1 charge, 1 parcel, 1 mail",
    r"MUG: 998 on hand, 0 set aside\. One of the two mugs of order 1001 is sent back",
    r"14\.50 EUR is given back\. MUG: 999 on hand",
    r"The books of order 1001: 1 refund, 14\.50 EUR kept\. MUG: 999 on hand",
    r"1001 .* 29\.00 EUR +│ 14\.50 EUR .* confirmation, refund",
    r"/workflows/order-1002/",
    r"/workflows/refund-1001-r1/",
    r"Every promise holds",
)
NOT_TOLD: Final = ("✗", "Traceback")
#: One for each thing that the demo promises, and one is asked for twice to be given once.
COUNTED: Final = {"✓": 6, "$ curl $API/orders/1001/refunds --json": 2}


def missing_from(transcript: str) -> list[str]:
    """What is wrong with a transcript, a line each."""
    return [
        *(f"nothing like {told!r}" for told in TOLD if not re.search(told, transcript)),
        *(f"there is {word!r}" for word in NOT_TOLD if word in transcript),
        *(
            f"{transcript.count(word)} times {word!r} instead of {times}"
            for word, times in COUNTED.items()
            if transcript.count(word) != times
        ),
    ]


def main() -> int:
    """Read the transcript to its end, whatever it says: whoever prints it is not to be cut off."""
    transcript = ""
    for line in sys.stdin:
        sys.stdout.write(line)
        sys.stdout.flush()
        transcript += line
    problems = missing_from(transcript)
    for problem in problems:
        sys.stderr.write(f"In what the demo printed {problem}.\n")
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())
