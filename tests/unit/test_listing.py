"""Bookmarks: what we handed out is read back, and nothing else is."""

from __future__ import annotations

import base64
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from durable_orders.domain.listing import Cursor, InvalidCursorError

TIMES = st.datetimes(min_value=datetime(1970, 1, 1), max_value=datetime(9999, 12, 31))  # noqa: DTZ001
IDS = st.from_regex(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}", fullmatch=True)


@given(TIMES, IDS)
def test_a_bookmark_is_read_back_as_it_was_written(at: datetime, order_id: str) -> None:
    bookmark = Cursor(at.replace(tzinfo=UTC), order_id)
    assert Cursor.read(str(bookmark)) == bookmark


@given(st.text())
def test_any_other_text_is_refused_and_never_an_error_of_ours(text: str) -> None:
    try:
        bookmark = Cursor.read(text)
    except InvalidCursorError:
        return
    assert str(bookmark) == text


@pytest.mark.parametrize(
    "plain",
    [
        "",
        "1:5",
        "1::1001",
        "2:5:1001",
        "1:5:",
        "1:-5:1001",
        "1:05:1001",  # one order, one text
        "1:999999999999999999:1001",  # no such year
        "1:5:a b",
        "1:5:' OR 1=1",
        "1:٣:1001",
    ],
)
def test_what_only_looks_like_one_is_refused(plain: str) -> None:
    text = base64.urlsafe_b64encode(plain.encode()).decode().rstrip("=")
    with pytest.raises(InvalidCursorError, match="no cursor of ours"):
        Cursor.read(text)
