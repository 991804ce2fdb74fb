"""The Python API: the engine with the calls that people know from llama-cpp-python. `from llamacli import Llama`.

Each name is imported when it is first used.
"""

from __future__ import annotations

import importlib

TYPE_CHECKING = False  # typing takes longer to import than this

if TYPE_CHECKING:
    from typing import Any

    from llamacli.api.aio import AsyncLlama
    from llamacli.api.callables import (
        LogitsProcessor,
        LogitsProcessorList,
        MinTokensLogitsProcessor,
        StoppingCriteria,
        StoppingCriteriaList,
    )
    from llamacli.api.chat.handlers import (
        ChatFormatter,
        ChatFormatterResponse,
        Jinja2ChatFormatter,
        LlamaChatCompletionHandler,
        LlamaChatCompletionHandlerNotFoundException,
        register_chat_completion_handler,
        register_chat_format,
    )
    from llamacli.api.grammar import LlamaGrammar
    from llamacli.api.handles import LlamaContext, LlamaModel
    from llamacli.api.llama import Llama
    from llamacli.api.speculative import LlamaDraftModel, LlamaPromptLookupDecoding
    from llamacli.api.state.cache import BaseLlamaCache, LlamaDiskCache, LlamaRAMCache
    from llamacli.api.state.saved import SavedState
    from llamacli.api.tokenizer import BaseLlamaTokenizer, LlamaHFTokenizer, LlamaTokenizer

    LlamaCache = LlamaRAMCache
    LlamaState = SavedState

_HOMES = {
    "aio": ("AsyncLlama",),
    "callables": (
        "LogitsProcessor",
        "LogitsProcessorList",
        "MinTokensLogitsProcessor",
        "StoppingCriteria",
        "StoppingCriteriaList",
    ),
    "chat.handlers": (
        "ChatFormatter",
        "ChatFormatterResponse",
        "Jinja2ChatFormatter",
        "LlamaChatCompletionHandler",
        "LlamaChatCompletionHandlerNotFoundException",
        "register_chat_completion_handler",
        "register_chat_format",
    ),
    "grammar": ("LlamaGrammar",),
    "handles": (
        "LlamaContext",
        "LlamaModel",
    ),
    "llama": ("Llama",),
    "speculative": (
        "LlamaDraftModel",
        "LlamaPromptLookupDecoding",
    ),
    "state.cache": (
        "BaseLlamaCache",
        "LlamaCache",
        "LlamaDiskCache",
        "LlamaRAMCache",
    ),
    "state.saved": (
        "LlamaState",
        "SavedState",
    ),
    "tokenizer": (
        "BaseLlamaTokenizer",
        "LlamaHFTokenizer",
        "LlamaTokenizer",
    ),
}
"""The module of each name."""
_FORMER = {"LlamaCache": "LlamaRAMCache", "LlamaState": "SavedState"}
"""Names of llama-cpp-python for classes that have others here."""

__all__ = [
    "AsyncLlama",
    "BaseLlamaCache",
    "BaseLlamaTokenizer",
    "ChatFormatter",
    "ChatFormatterResponse",
    "Jinja2ChatFormatter",
    "Llama",
    "LlamaCache",
    "LlamaChatCompletionHandler",
    "LlamaChatCompletionHandlerNotFoundException",
    "LlamaContext",
    "LlamaDiskCache",
    "LlamaDraftModel",
    "LlamaGrammar",
    "LlamaHFTokenizer",
    "LlamaModel",
    "LlamaPromptLookupDecoding",
    "LlamaRAMCache",
    "LlamaState",
    "LlamaTokenizer",
    "LogitsProcessor",
    "LogitsProcessorList",
    "MinTokensLogitsProcessor",
    "SavedState",
    "StoppingCriteria",
    "StoppingCriteriaList",
    "register_chat_completion_handler",
    "register_chat_format",
]


def __getattr__(name: str) -> Any:
    home = next((module for module, names in _HOMES.items() if name in names), None)
    if home is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    found = getattr(importlib.import_module(f"llamacli.api.{home}"), _FORMER.get(name, name))
    globals()[name] = found
    return found


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
