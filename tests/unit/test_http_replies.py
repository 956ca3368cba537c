from __future__ import annotations

from datetime import UTC, datetime, timedelta
from email.utils import format_datetime

import pytest

from durable_orders.providers.http_replies import LONGEST_WAIT, parse_retry_after, without_private


@pytest.mark.parametrize(
    ("header", "wait"),
    [
        ("7", timedelta(seconds=7)),
        ("0.5", timedelta(seconds=0.5)),
        ("-3", timedelta()),
        ("1e9", LONGEST_WAIT),
        ("1e99", None),
        ("inf", None),
        ("nan", None),
        ("soon", None),
        ("", None),
        ("Wed, 21 Oct 2015 07:28:00 GMT", timedelta()),
    ],
)
def test_retry_after_is_read_with_suspicion(header: str, wait: timedelta | None) -> None:
    assert parse_retry_after({"rEtRy-aFtEr": header}) == wait


def test_retry_after_may_be_a_date() -> None:
    header = format_datetime(datetime.now(UTC) + timedelta(minutes=5), usegmt=True)
    wait = parse_retry_after({"Retry-After": header})
    assert wait is not None
    assert timedelta(minutes=4) < wait <= timedelta(minutes=5)


def test_without_the_header_nobody_asked_us_to_wait() -> None:
    assert parse_retry_after({"Content-Type": "text/html"}) is None
    assert parse_retry_after(None) is None


def test_personal_data_is_blanked() -> None:
    said = "Cannot reach ADA LOVELACE (ada@example.com, bob.b@mail.example.org) at 12 High Street"
    blanked = without_private(said, "Ada Lovelace", "12 High Street", "", "  ")
    assert blanked == "Cannot reach … (…, …) at …"
