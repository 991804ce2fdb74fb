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
    from llamacli.api import (
        AsyncLlama,
        BaseLlamaCache,
        BaseLlamaTokenizer,
        Jinja2ChatFormatter,
        Llama,
        LlamaCache,
        LlamaDiskCache,
        LlamaDraftModel,
        LlamaGrammar,
        LlamaHFTokenizer,
        LlamaPromptLookupDecoding,
        LlamaRAMCache,
        LlamaState,
        LlamaTokenizer,
        LogitsProcessorList,
        SavedState,
        StoppingCriteriaList,
        register_chat_completion_handler,
        register_chat_format,
    )
    from llamacli.llama_cpp.install import install_as_llama_cpp

__version__ = VERSION
__all__ = [
    "AsyncLlama",
    "BaseLlamaCache",
    "BaseLlamaTokenizer",
    "Jinja2ChatFormatter",
    "Llama",
    "LlamaCache",
    "LlamaDiskCache",
    "LlamaDraftModel",
    "LlamaGrammar",
    "LlamaHFTokenizer",
    "LlamaPromptLookupDecoding",
    "LlamaRAMCache",
    "LlamaState",
    "LlamaTokenizer",
    "LogitsProcessorList",
    "SavedState",
    "StoppingCriteriaList",
    "__version__",
    "install_as_llama_cpp",
    "llama_cpp",
    "register_chat_completion_handler",
    "register_chat_format",
]
_C_NAMES = ("llama_", "LLAMA_", "ggml_", "GGML_")


def __getattr__(name: str) -> Any:
    import importlib

    if name == "install_as_llama_cpp":
        return importlib.import_module("llamacli.llama_cpp.install").install_as_llama_cpp
    if name in __all__ and name != "llama_cpp":
        return getattr(importlib.import_module("llamacli.api"), name)
    if not name.startswith(_C_NAMES):
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    package = importlib.import_module("llamacli.llama_cpp")
    return package if name == "llama_cpp" else getattr(package, name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
