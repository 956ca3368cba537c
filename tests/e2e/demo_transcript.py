"""Reads what `make demo` prints, passes it on, and ends with 1 when a promise is not told in it.

    make demo | python -m tests.e2e.demo_transcript

CI checks the demo this way while it runs it, instead of a test running it once more.
"""

from __future__ import annotations

import json
import re
import shlex
import sys
from typing import Final

TOLD: Final = (
    r"export API=http://127\.0\.0\.1:\d+ SHOP_KEY=do_\w+ OPERATOR_KEY=do_\w+\n",
    r"curl \$API/checkout .* --json '\{\"order_id\": \"1001\"\}'\n",
    r'202 \{"workflow_id":"order-1001","status_url":"/orders/1001"\}',
    # What has happened is told before what comes of it.
    r"(?s)\n2\. The worker is killed.*order placed.*order paid.*kill -9 \d+: Stripe has taken 29",
    r"The books of order 1002: 1 charge, 1 parcel, 1 mail",
    r"curl \$API/orders/1003/cancel .* -X POST\n",
    r"The customer is told: refunded, 54\.00 EUR is given back",
    r'"payment":\{"state":"declined","code":"generic_decline"',
    r"Order 1004 is rejected",
    r"PRINT-1OF1: 1 on hand, 1 set aside\. Stripe has taken 0\.00 EUR",
    r"(?s)\n5\. An .*awaiting approval.*kill -9 \d+: nobody is at work, and the order goes on",
    r"for people there is a page: http://127\.0\.0\.1:\d+/operator/orders/1005\n",
    r"curl \$API/orders/1005/approve .* --json",
    r"order approved \(by sales",
    r"The books of order 1005: 1 charge, 1 parcel, 1 mail",
    r"payment needs customer",
    r'"payment":\{"state":"needs_customer"',
    r"TEE: 499 on hand, 1 set aside\. Stripe has taken 0\.00 EUR",
    r"The books of order 1006: 1 charge, 1 parcel, 1 mail",
    r"The books of order 1007: 1 payment, 29\.00 EUR taken",
    r"MUG: 998 on hand, 0 set aside\. One of the two mugs of order 1001 is sent back",
    r"14\.50 EUR is given back\. MUG: 999 on hand",
    r"The books of order 1001: 1 refund, 14\.50 EUR kept\. MUG: 999 on hand",
    r"curl \$API/disputes/issfr_\w+ -H",
    r"fraud warning \(actionable yes",
    r"The warning is settled\. The books of order 1006: 29\.00 EUR given back, 0 disputes",
    r"The bank takes 29\.00 EUR, and waits for evidence until",
    r"client\.py disputes evidence du_\w+ .* --submit\n",
    r"(?s)dispute opened \(kind chargeback.*dispute won",
    r"The books of order 1007: 1 dispute won, 29\.00 EUR kept",
    r"1001 .* 29\.00 EUR +│ 14\.50 EUR .* confirmation, refund",
    r"Operators' pages +http://127\.0\.0\.1:\d+/operator\n",
    r"Log in there with +do_\w+\n",
    r"/workflows/order-1002/",
    r"/workflows/refund-1001-r1/",
    r"/workflows/payment-risk-1007/",
    r"Every promise holds",
)
NOT_TOLD: Final = ("✗", "Traceback")
#: One for each thing that the demo promises, and one is asked for twice to be given once.
COUNTED: Final = {"✓": 7, "curl $API/orders/1001/refunds -H": 2}


def missing_from(transcript: str) -> list[str]:
    """What is wrong with a transcript, a line each."""
    return [
        *(f"nothing like {told!r}" for told in TOLD if not re.search(told, transcript)),
        *(f"there is {word!r}" for word in NOT_TOLD if word in transcript),
        *(
            f"no shell could run {line!r}"
            for line in transcript.splitlines()
            if "curl" in line and not is_complete(line)
        ),
        *(
            f"{transcript.count(word)} times {word!r} instead of {times}"
            for word, times in COUNTED.items()
            if transcript.count(word) != times
        ),
    ]


def is_complete(curl: str) -> bool:
    """Whether it is a whole command: with a key, and with a body that is JSON if there is one."""
    try:
        program, *words = shlex.split(curl)
        body = json.loads(words[words.index("--json") + 1]) if "--json" in words else {}
    except ValueError:
        return False
    key = any(re.fullmatch(r"Authorization: Bearer \$(SHOP|OPERATOR)_KEY", word) for word in words)
    return program == "curl" and key and isinstance(body, dict)


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
