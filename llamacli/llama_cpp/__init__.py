"""llama-cpp-python's package, in llamacli: its classes, its submodules, and llama.cpp's C functions by their C names.

from llamacli import llama_cpp

llama_cpp.Llama(...)
llama_cpp.llama_backend_init()

`llamacli.install_as_llama_cpp()` makes it importable as `llama_cpp`, for libraries that import that.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from llamacli.llama_cpp.install import SUBMODULES
from llamacli.version import VERSION

if TYPE_CHECKING:
    from llamacli.api import *  # noqa: F403
    from llamacli.llama_cpp.llama_cpp import *  # noqa: F403
    from llamacli.openai.types import *  # noqa: F403

__version__ = VERSION


def __getattr__(name: str) -> Any:
    from llamacli import api
    from llamacli.openai import types

    if name in SUBMODULES:
        return importlib.import_module(f"{__name__}.{name}")
    if name == "__all__":
        return sorted({*api.__all__, *types.__all__, *_low_level().__all__})
    for home in (api, types):
        if name in home.__all__:
            return getattr(home, name)
    return getattr(_low_level(), name)


def _low_level() -> Any:
    return importlib.import_module(f"{__name__}.llama_cpp")
