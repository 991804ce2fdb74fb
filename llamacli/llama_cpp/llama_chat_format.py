"""Chat formats, as llama-cpp-python's module of this name has them.

`format_NAME` makes the prompt of a format; handlers of formats for tools, and of models that take images, have that package's
names for them.
"""

from llamacli.api.chat.formats import FORMATS
from llamacli.api.chat.handlers import (
    ChatFormatter,
    ChatFormatterResponse,
    FormatHandler,
    Jinja2ChatFormatter,
    LlamaChatCompletionHandler,
    LlamaChatCompletionHandlerNotFoundException,
    LlamaChatCompletionHandlerRegistry,
    chat_formatter_to_chat_completion_handler,
    format_with,
    get_chat_completion_handler,
    hf_tokenizer_config_to_chat_completion_handler,
    hf_tokenizer_config_to_chat_formatter,
    register_chat_completion_handler,
    register_chat_format,
)
from llamacli.api.chat.projectors import handler_class

_FUNCTIONS = {f"format_{name.replace('-', '_')}": name for name in FORMATS} | {
    "format_llama2": "llama-2",
    "format_llama3": "llama-3",
    "format_baichuan2": "baichuan-2",
}
_HANDLERS = {
    "chatml_function_calling": "chatml-function-calling",
    "functionary_chat_handler": "functionary",
    "functionary_v1_v2_chat_handler": "functionary-v2",
}


def __getattr__(name: str) -> object:
    if (handler := handler_class(name)) is not None:
        return handler
    if name in _HANDLERS:
        return FormatHandler(_HANDLERS[name])
    if name not in _FUNCTIONS:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return format_with(_FUNCTIONS[name])


__all__ = [
    "ChatFormatter",
    "ChatFormatterResponse",
    "Jinja2ChatFormatter",
    "LlamaChatCompletionHandler",
    "LlamaChatCompletionHandlerNotFoundException",
    "LlamaChatCompletionHandlerRegistry",
    "chat_formatter_to_chat_completion_handler",
    "get_chat_completion_handler",
    "hf_tokenizer_config_to_chat_completion_handler",
    "hf_tokenizer_config_to_chat_formatter",
    "register_chat_completion_handler",
    "register_chat_format",
]
