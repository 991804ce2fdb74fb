"""llamacli: run local language models from the terminal, and from Python with the same engine.

    from llamacli import Llama, LlamaGrammar

Importing this package imports nothing heavy: the Python API is loaded when one of its names is first used.
"""

from __future__ import annotations

from llamacli.version import VERSION

TYPE_CHECKING = False  # typing takes longer to import than `--version` takes

if TYPE_CHECKING:
    from typing import Any

    from llamacli import llama_cpp
    from llamacli.api import AsyncLlama, Llama, LlamaGrammar, SavedState

__version__ = VERSION
__all__ = ["AsyncLlama", "Llama", "LlamaGrammar", "SavedState", "__version__", "llama_cpp"]


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    if name == "llama_cpp":
        import importlib

        return importlib.import_module("llamacli.llama_cpp")
    from llamacli import api

    return getattr(api, name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
