"""Parsing of webhooks: the time of the signature, and the JSON body."""

from __future__ import annotations

import json
import re
import time
from typing import Annotated, Final, TypeVar

from pydantic import AfterValidator, BaseModel, StringConstraints, ValidationError

from durable_orders.domain.ids import EVENT_ID
from durable_orders.domain.webhooks import BadSignatureError, UnreadableEventError

#: Largest difference between the time of a signature and ours, in seconds, past or future.
TOLERANCE: Final = 300
#: Seconds that are told of a longer one: its sender may make it as long as they like.
_LONGEST: Final = 10**10

#: Printable ASCII, which breaks no log line and which PostgreSQL can store.
EventId = Annotated[str, AfterValidator(EVENT_ID.check)]
#: A code, as each service has them: ``payment_intent.succeeded``, ``parcel.left``.
EventType = Annotated[str, StringConstraints(pattern=re.compile(r"^[A-Za-z0-9_.:/-]{1,100}\Z"))]

Body = TypeVar("Body", bound=BaseModel)


def check_timestamp(timestamp: int) -> None:
    """Raise ``BadSignatureError`` for a signature outside of ``TOLERANCE``."""
    off = int(time.time()) - timestamp
    if abs(off) > TOLERANCE:
        age, which = min(abs(off), _LONGEST), "old" if off > 0 else "ahead of our clock"
        raise BadSignatureError(f"the signature is {age} s {which}: {TOLERANCE} s are allowed")


def check_event_id(event_id: str, header: str, what: str) -> None:
    """Raise ``UnreadableEventError`` for an id from this header that is not ``EventId``."""
    if not EVENT_ID.matches(event_id):
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
