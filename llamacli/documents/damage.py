"""What libraries raise for damaged documents, beside errors of their own: they rarely check what they read."""

from __future__ import annotations

import struct
import zlib

DAMAGE = (
    ArithmeticError, AssertionError, AttributeError, EOFError, LookupError, OSError, RuntimeError, TypeError, ValueError,
    struct.error, zlib.error,
)  # fmt: skip
