"""The Python API: the engine with the calls that people know from llama-cpp-python. `from llamacli import Llama`."""

from typing import TYPE_CHECKING, Any

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

if TYPE_CHECKING:
    from llamacli.api.aio import AsyncLlama

LlamaCache = LlamaRAMCache
LlamaState = SavedState

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
    if name != "AsyncLlama":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from llamacli.api.aio import AsyncLlama  # and asyncio, which takes a fifth of the time

    return AsyncLlama
