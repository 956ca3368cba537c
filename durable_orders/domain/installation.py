"""The installation: one shop with one database, and its mark on what it makes at its providers.

Others may use the same accounts, and have orders of the same ids. So whatever an installation makes
carries its name: in the metadata of payments and refunds, in the tags of mails, in the warehouse's
reference, at the beginning of every idempotency key. What carries another's name, or none, is never
touched.
"""

from __future__ import annotations

from typing import Final

#: A name, as a regular expression: without the characters that end it, ``:`` in a key and ``-`` in
#: the warehouse's reference.
NAME_PATTERN: Final = "[a-z][a-z0-9]{3,23}"
