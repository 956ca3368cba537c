"""What all webhooks have in common: a signed body that holds a JSON object."""

from __future__ import annotations

import json
import re
import time
from typing import Annotated, Final, TypeVar

from pydantic import BaseModel, StringConstraints, ValidationError

from orders.webhooks import BadSignatureError, UnreadableEventError

#: How far the time of a signature may be from ours, into the past and into the future.
TOLERANCE: Final = 300

#: Ids and types: nothing that could break a line of a log, or that PostgreSQL would not keep.
Word = Annotated[str, StringConstraints(pattern=re.compile(r"^[\x21-\x7e]{1,255}\Z"))]

Body = TypeVar("Body", bound=BaseModel)


def check_moment(moment: int) -> None:
    """Raises ``BadSignatureError`` for a signature from too long ago, or from the future."""
    off = time.time() - moment
    if abs(off) > TOLERANCE:
        raise BadSignatureError(
            f"the signature is {abs(off):.0f} s {'old' if off > 0 else 'ahead of our clock'}: "
            f"{TOLERANCE} s are allowed"
        )


def parsed(shape: type[Body], body: bytes, what: str) -> Body:
    """The body in this shape. Raises ``UnreadableEventError``."""
    try:
        return shape.model_validate(json.loads(body))
    except ValidationError as error:
        # Not what was sent: it may be personal.
        where = ", ".join(".".join(map(str, each["loc"])) for each in error.errors()) or "body"
        raise UnreadableEventError(f"this is no {what}: wrong are {where}") from None
    except (ValueError, RecursionError):
        raise UnreadableEventError(f"this is no {what}: it is not JSON") from None
