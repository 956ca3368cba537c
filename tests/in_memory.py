"""Where a run of tests keeps files that nobody looks at once it is over."""

import os
import shutil
from pathlib import Path
from typing import Final

_MEMORY: Final = Path("/dev/shm")  # noqa: S108 - each has a directory of its own there
#: Several times what a run leaves there.
_ROOM: Final = 4 << 30


def in_memory() -> Path | None:
    """A directory whose files are in memory; None where none has much room, or runs programs.

    A run leaves some thirty thousand files, which a disk takes seconds to delete.
    """
    if not os.access(_MEMORY, os.W_OK | os.X_OK):
        return None
    runs_programs = not os.statvfs(_MEMORY).f_flag & os.ST_NOEXEC
    return _MEMORY if runs_programs and shutil.disk_usage(_MEMORY).free > _ROOM else None
