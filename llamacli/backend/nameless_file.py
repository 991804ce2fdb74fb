"""Files without a name, by whose descriptors processes hand each other what is too large for a message."""

from __future__ import annotations

import os
import tempfile
from typing import IO


def nameless_file() -> IO[bytes]:
    """Return a new file without a name, in memory where the system has such files."""
    create = getattr(os, "memfd_create", None)
    if create is not None:
        return os.fdopen(create("llamacli"), "w+b", buffering=0)
    return tempfile.TemporaryFile(buffering=0)
