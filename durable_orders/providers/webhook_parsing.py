"""Parsing of webhooks: the time of the signature, and the JSON body."""

from __future__ import annotations

import json
import re
import time
from typing import Annotated, Final, TypeVar

from pydantic import BaseModel, StringConstraints, ValidationError

from durable_orders.domain.webhooks import BadSignatureError, UnreadableEventError

#: Largest difference between the time of a signature and ours, in seconds, past or future.
TOLERANCE: Final = 300

_NON_BLANK: Final = re.compile(r"^[\x21-\x7e]{1,255}\Z")
#: Ids and types: printable ASCII, which breaks no log line and which PostgreSQL can store.
NonBlankText = Annotated[str, StringConstraints(pattern=_NON_BLANK)]

Body = TypeVar("Body", bound=BaseModel)


def check_timestamp(timestamp: int) -> None:
    """Raise ``BadSignatureError`` for a signature outside of ``TOLERANCE``."""
    off = time.time() - timestamp
    if abs(off) > TOLERANCE:
        raise BadSignatureError(
            f"the signature is {abs(off):.0f} s {'old' if off > 0 else 'ahead of our clock'}: "
            f"{TOLERANCE} s are allowed"
        )


def check_event_id(event_id: str, header: str, what: str) -> None:
    """Raise ``UnreadableEventError`` for an id from this header that is not ``NonBlankText``."""
    if not _NON_BLANK.match(event_id):
        raise UnreadableEventError(f"this is no {what}: wrong is {header}")


def parse_body(shape: type[Body], body: bytes, what: str) -> Body:
    """Parse the JSON body, called ``what`` in errors. Raises ``UnreadableEventError``."""
    try:
        return shape.model_validate(json.loads(body))
    except ValidationError as error:
        # Only the fields, not their values: they may be personal data.
        where = ", ".join(".".join(map(str, each["loc"])) for each in error.errors()) or "body"
        raise UnreadableEventError(f"this is no {what}: wrong are {where}") from None
    except (ValueError, RecursionError):
        raise UnreadableEventError(f"this is no {what}: it is not JSON") from None
