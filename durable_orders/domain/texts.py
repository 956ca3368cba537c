"""Formats of texts that come from outside: the one definition of each, for HTTP, the command line,
the clients and webhooks. The formats of ids are in ``ids``.

Nothing is normalized: a text is taken as it is, or refused with a sentence.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields, is_dataclass
from functools import cache
from typing import Annotated, Any, Final, get_args, get_origin, get_type_hints


class InvalidTextError(ValueError):
    """The text is not of its format; the message says what the format is."""


@dataclass(frozen=True)
class TextFormat:
    """Format of a text: its length in characters, and what it matches as a whole.

    ``pattern`` is a regular expression that Python and JSON Schema read alike. ``noun`` and
    ``rule`` are for the sentence of the ``error``, which repeats no text that ``is_private``.
    ``is_good`` refuses what no pattern can.
    """

    noun: str
    rule: str
    pattern: str
    max_length: int
    min_length: int = 1
    error: type[InvalidTextError] = InvalidTextError
    is_private: bool = False
    is_good: Callable[[str], bool] = lambda _: True

    def check(self, text: str) -> str:
        """Return ``text``, or raise ``error``."""
        if not self.matches(text):
            shown = "this" if self.is_private else repr(text[:80])
            raise self.error(f"{shown} is not {self.noun}: {self.rule}")
        return text

    def matches(self, text: str) -> bool:
        """Whether the text is of this format."""
        return (
            self.min_length <= len(text) <= self.max_length
            and re.fullmatch(self.pattern, text) is not None
            and not re.search(_SURROGATE, text)
            and self.is_good(text)
        )


def check_texts(message: object) -> None:
    """Check each text of a message, a dataclass, whose field names its format
    (``Annotated[str, ORDER_ID]``); messages and tuples within it, too.

    Raises the ``error`` of the format that one is not of.
    """
    kind: Any = type(message)
    for name, hint in _hints(kind).items():
        _check(hint, getattr(message, name))


@cache
def _hints(message: type) -> Mapping[str, Any]:
    hints = get_type_hints(message, include_extras=True)
    return {field.name: hints[field.name] for field in fields(message)}


def _check(hint: Any, value: object) -> None:
    if get_origin(hint) is Annotated:
        for format_ in hint.__metadata__:
            if isinstance(format_, TextFormat) and isinstance(value, str):
                format_.check(value)
    elif is_dataclass(value):
        check_texts(value)
    elif isinstance(value, tuple):
        of_each = get_args(hint)
        is_list = of_each[1:] == (...,)
        for place, one in enumerate(value):
            _check(of_each[0] if is_list else of_each[place], one)


# Half of a character: JSON and command lines can hold it, UTF-8 and PostgreSQL cannot.
_SURROGATE: Final = "[\ud800-\udfff]"
#: Within brackets: Unicode's line and paragraph separators, and what overrides the direction of a
#: text: it would show something else than it says. https://www.unicode.org/reports/tr36/
_MISLEADING: Final = r"\u2028-\u202e\u2066-\u2069"
#: Within brackets: these and the control characters.
CONTROL: Final = rf"\x00-\x1f\x7f-\x9f{_MISLEADING}"
#: Within brackets: what is not seen at all, and what turns the direction of a text around it. In
#: names and addresses some of it belongs to the script; in an id it only makes two look alike.
UNSEEN: Final = (
    r"\u00ad\u034f\u061c\u115f\u1160\u17b4\u17b5\u180b-\u180f\u200b-\u200f\u2028-\u202e"
    r"\u2060-\u206f\u3164\ufe00-\ufe0f\ufeff\uffa0\ufff0-\uffff"
)
_LINE_BREAKS_ASIDE: Final = rf"\x00-\x09\x0b\x0c\x0e-\x1f\x7f-\x9f{_MISLEADING}"
#: The marks of direction too: in a line of a log or a terminal they move what stands around them.
_SHOWN_ESCAPED: Final = re.compile(f"[{CONTROL}\u061c\u200e\u200f\ud800-\udfff]")
_LINES: Final = "\t\n\r"


def escaped(text: str) -> str:
    """The text on one line, for logs and terminals: what controls them, or what misleads who reads
    it, is written as ``\\x1b`` or ``\\u202e``.
    """
    return _SHOWN_ESCAPED.sub(lambda found: ascii(found[0])[1:-1], text)


def escaped_lines(text: str) -> str:
    """The same, for pages: line breaks and tabs stay."""
    return _SHOWN_ESCAPED.sub(
        lambda found: found[0] if found[0] in _LINES else ascii(found[0])[1:-1], text
    )


def escaped_json(text: str) -> str:
    """JSON whose texts show as they are, but for the same: JSON itself escapes no more than the
    control characters of ASCII.
    """
    return _SHOWN_ESCAPED.sub(
        lambda found: found[0] if found[0] in _LINES else f"\\u{ord(found[0]):04x}", text
    )


#: A line that is not blank.
LINE: Final = rf"[^{CONTROL}]*[^\s{CONTROL}][^{CONTROL}]*"

RECIPIENT_NAME: Final = TextFormat(
    "a recipient's name",
    "1 to 200 characters on one line, without control characters",
    LINE,
    max_length=200,
    is_private=True,
)


def _is_mail_address(text: str) -> bool:
    """One mailbox without a name or a list, whose domain could be one. Nothing is looked up."""
    # Loaded for the first address: it takes longer to load than the whole of a command line.
    from email_validator import EmailNotValidError, validate_email  # noqa: PLC0415

    try:
        validate_email(text, check_deliverability=False, test_environment=True)
    except EmailNotValidError:
        return False
    return True


EMAIL: Final = TextFormat(
    "a mail address",
    "at most 254 characters, like ada@example.com",
    rf"[^@\s{CONTROL}]+@[^@\s{CONTROL}]+",
    max_length=254,
    is_private=True,
    is_good=_is_mail_address,
)
#: Stripe refuses a receipt to ``ada@localhost``, ``ada@com`` or ``ada@.example.com``.
RECEIPT_EMAIL: Final = TextFormat(
    "an address for a receipt",
    "at most 254 characters, like ada@example.com, with a dot in the domain",
    rf"[^@\s{CONTROL}]+@[^@.\s{CONTROL}]+(?:\.[^@.\s{CONTROL}]+)+",
    max_length=254,
    is_private=True,
    is_good=_is_mail_address,
)
#: Line breaks are LF or CR LF, as they came: the warehouse gets them so.
ADDRESS: Final = TextFormat(
    "a postal address",
    "1 to 500 characters, without control characters other than line breaks",
    rf"[^{_LINE_BREAKS_ASIDE}]*[^\s{CONTROL}][^{_LINE_BREAKS_ASIDE}]*",
    max_length=500,
    is_private=True,
)
#: A note or a reason, without personal data: it is kept in workflow history.
REMARK: Final = TextFormat(
    "a note",
    "at most 500 characters on one line, without control characters",
    rf"[^{CONTROL}]*",
    min_length=0,
    max_length=500,
    is_private=True,
)
