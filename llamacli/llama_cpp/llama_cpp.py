"""llama.cpp's C functions, structures and constants by their C names, as llama-cpp-python's module of this name has them.

Every declaration is checked against the headers when llamacli is built. Functions take `Llama.model` and `Llama.ctx` where C
takes a pointer to a model, a vocabulary or a context. A wrong pointer or size crashes the process, as it does in C.
"""

from __future__ import annotations

import sys
from typing import Any

from llamacli.binding import c_api

_lib = sys.modules[__name__]
"""The loaded library by the name that llguidance looks it up with, for the addresses of functions."""


def __getattr__(name: str) -> Any:
    if name == "__all__":
        return list(c_api.names())
    found = c_api.find(name)
    if found is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    globals()[name] = found
    return found


def __dir__() -> list[str]:
    return sorted({*globals(), *c_api.names()})
