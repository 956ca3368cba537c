"""What a neighbour may say of a customer in its own words, and where none of it may be found."""

from __future__ import annotations

import base64
from typing import Any, Final

from google.protobuf.json_format import MessageToDict
from temporalio.client import WorkflowHistory

#: Who they are, as we wrote it and in other ways.
SAID: Final = {
    "as we wrote it": "No courier to Ada Lovelace, 12 St James's Square, London; ada@example.com",
    "in another order": "Lovelace, Ada: London, Square St James's 12",
    "in another case": "ADA LOVELACE, 12 ST JAMES'S SQUARE <ADA@EXAMPLE.COM>",
    "split": "A.d.a Love-lace, 12 St\nJa-mes's Squ are; ada (at) example.com",
    "with what controls a terminal": "\x1b]0;Lovelace\x07\x9b2J\u202eecalevoL\u2028Ada\r\nLovelace",
    "very long": "Lovelace " * 2_000 + "St James's Square",
}
#: In lower case: a part of each of the above.
TRACES: Final = (
    "lovelace",
    "love-lace",
    "ecalevol",
    "a.d.a",
    "st james",
    "ja-mes",
    "square",
    "squ are",
    "example.com",
    "\x1b",
    "\x9b",
    "\u202e",
)


def traces_in(text: str) -> list[str]:
    """What of a neighbour's words is in the text."""
    return [trace for trace in TRACES if trace in text.lower()]


def as_text(history: WorkflowHistory) -> str:
    """All that the server keeps of a run: every event as JSON, its payloads decoded."""
    return "\n".join(str(_decoded(MessageToDict(event))) for event in history.events)


def _decoded(value: Any) -> Any:
    if isinstance(value, list):
        return [_decoded(each) for each in value]
    if not isinstance(value, dict):
        return value
    payload = value.get("data")
    if isinstance(payload, str):
        return {**value, "data": base64.b64decode(payload).decode(errors="replace")}
    return {name: _decoded(each) for name, each in value.items()}
