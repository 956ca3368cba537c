from __future__ import annotations

import time
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
        ("Wed, 21 Oct 99999999999999999999 07:28:00 GMT", None),
        ("Wed, 21 Oct 2015 07:28:00 +99999999999999999999", None),
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


def test_a_long_message_takes_no_long_time() -> None:
    for said in ("a" * 1_000_000, "a@" * 500_000, "@" * 1_000_000, " x" * 500_000):
        began = time.process_time()
        assert len(without_private(said, "Ada Lovelace")) <= 300
        assert time.process_time() - began < 0.5  # 80,000 characters took 10 s


def test_what_is_cut_in_two_is_not_repeated() -> None:
    for padding in range(1_500, 2_010):
        said = "Ada Lovelace " * 60 + "x" * padding + "Ada Lovelace"
        assert "Ada" not in without_private(said, "Ada Lovelace")
        assert "Lovelace" not in without_private(said, "Ada Lovelace")


@pytest.mark.parametrize(
    ("said", "shown"),
    [
        ("no\n2026 INFO order paid", r"no\x0a2026 INFO order paid"),
        ("\x1b[2J\x1b[H", r"\x1b[2J\x1b[H"),
        ("a\x00b\x9b", r"a\x00b\x9b"),
        ("\u202egnp.exe", r"\u202egnp.exe"),
        ("\u2028line", r"\u2028line"),
        ("Käse 東京", "Käse 東京"),
    ],
)
def test_nothing_that_is_said_controls_a_log_or_a_terminal(said: str, shown: str) -> None:
    assert without_private(said) == shown.replace("\\x0a", "\\n")
