"""Whatever a text from outside holds, no output of ours is controlled or turned around by it."""

from __future__ import annotations

import io
import json
import logging
import sys
from dataclasses import replace
from datetime import UTC, datetime
from typing import Literal

import pytest
import typer
from rich.console import Console

from durable_orders.api import problems
from durable_orders.api.admin.templating import render_problem
from durable_orders.cli import terminal
from durable_orders.cli.live import show_lines
from durable_orders.domain import emails
from durable_orders.domain.disputes.messages import DisputeDue
from durable_orders.domain.lifecycle import Status, StopReason
from durable_orders.domain.money import Money
from durable_orders.domain.order import Line, Order, Recipient
from durable_orders.domain.parcels import Parcel
from durable_orders.domain.refunds import emails as refund_emails
from durable_orders.domain.refunds.refund import RefundEntry, RefundRequest
from durable_orders.domain.views import HistoryLine
from durable_orders.observability.logging import configure_logging

STRANGE = {
    "a line break": "\n",
    "a carriage return": "\r",
    "ESC": "\x1b",
    "BEL": "\x07",
    "NUL": "\x00",
    "DEL": "\x7f",
    "CSI of C1": "\x9b",
    "NEL": "\x85",
    "a line separator": "\u2028",
    "a paragraph separator": "\u2029",
    "an override": "\u202e",
    "an isolate": "\u2066",
    "an Arabic mark": "\u061c",
    "a left-to-right mark": "\u200e",
    "a right-to-left mark": "\u200f",
}
strange = pytest.mark.parametrize("character", STRANGE.values(), ids=STRANGE.keys())


def said(character: str) -> str:
    return f"fine{character}[2J2026-03-01 ERROR forged"


@pytest.mark.parametrize(
    "extra",
    [
        {"temporal_activity": {"workflow_id": None, "activity_type": "refund_card"}},
        {"temporal_activity": {"workflow_id": 7}},
        {"temporal_activity": None},
        {"temporal_workflow": {"workflow_id": None}},
        {"temporal_workflow": "nothing"},
    ],
)
def test_a_log_line_never_fails_what_it_is_about(
    extra: dict[str, object], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The SDK logs a failed activity before it tells the server."""
    root, logger = logging.getLogger(), logging.getLogger("temporalio.activity")
    handlers, level = root.handlers[:], root.level
    output = io.StringIO()
    try:
        monkeypatch.setattr(sys, "stderr", output)
        configure_logging("INFO", "console")
        logger.warning("one of these", extra=extra)
        logger.warning("and the next one")
    finally:
        root.handlers[:] = handlers
        root.setLevel(level)
    assert "and the next one" in output.getvalue()


@strange
@pytest.mark.parametrize("format_", ["console", "json"])
def test_a_log_line_stays_one(
    character: str, format_: Literal["console", "json"], monkeypatch: pytest.MonkeyPatch
) -> None:
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    written = io.StringIO()
    monkeypatch.setattr(sys, "stderr", written)
    try:
        configure_logging("INFO", format_)
        try:
            raise ValueError(said(character))  # noqa: TRY301  where it is logged from
        except ValueError:
            logging.getLogger("durable_orders.test").exception("a neighbour: %s", said(character))
    finally:
        root.handlers[:], root.level = handlers, level
    text = written.getvalue()
    assert "forged" in text
    if format_ == "json":
        assert said(character) in json.loads(text)["message"]
        assert len(text.splitlines()) == 1
    else:
        assert said(character) not in text.replace("\nValueError: fine\n", "")
        assert all(line.isprintable() for line in text.split("\n"))
    if character not in "\n":
        assert character not in text


@strange
def test_a_terminal_is_not_controlled(character: str, capsys: pytest.CaptureFixture[str]) -> None:
    line = HistoryLine(
        datetime.now(UTC), "warehouse_said", {"about": "cancel, refused", "words": said(character)}
    )
    written = io.StringIO()
    show_lines([line], Console(file=written, force_terminal=True, soft_wrap=True))
    assert written.getvalue().count("\n") == 1
    assert character not in written.getvalue().rstrip("\n")
    assert terminal.cell(said(character)).isprintable()
    terminal.print_json({"words": said(character)})
    shown = capsys.readouterr().out
    assert json.loads(shown) == {"words": said(character)}
    assert character == "\n" or character not in shown
    with pytest.raises(typer.Exit):
        terminal.stop(1, said(character))
    assert character == "\n" or character not in capsys.readouterr().err


@strange
def test_a_mail_holds_no_such_character(character: str) -> None:
    """Whatever came into our database before it was checked: a name, products, parcels, ids."""
    words = said(character)
    euro = Money(2900, "EUR")
    order = Order(
        id=words,
        customer_id="cus_1",
        recipient=Recipient(words, "ada@example.com", "London"),
        lines=(Line(words, words, 2, euro),),
        total=euro,
        payment_method="pm_card_visa",
    )
    refund = RefundEntry(RefundRequest("1001", "r1"), euro, ((words, 1),), 1, "pi_1")
    due = DisputeDue(words, words, datetime.now(UTC))
    mails = [
        emails.confirmation(order, short=((words, 1),)),
        emails.closing(replace(order, status=Status.REJECTED, reason=StopReason.OUT_OF_STOCK)),
        emails.payment_request(order),
        emails.shipped(order, Parcel(words, tracking=words)),
        emails.dispute_reminder(due, prefix="testshop", to="ops@example.com"),
        refund_emails.refunded(replace(order, id="1001"), refund),
    ]
    for mail in mails:
        assert mail.subject.isprintable()
        for part in (mail.html, mail.text):
            assert "forged" in part
            # A mark of direction in a name belongs to its script.
            left = part.replace(f"Hello {words},", "")
            assert character == "\n" or character not in left


@strange
def test_a_page_is_not_turned_around(character: str) -> None:
    page = bytes(render_problem(problems.CONFLICT, f"<b>{said(character)}").body).decode()
    assert "&lt;b&gt;fine" in page
    assert character in "\r\n" or character not in page
