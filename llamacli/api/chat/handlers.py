"""Formatters and handlers of chats: those that programs register, and Jinja templates as formatters.

A formatter makes a prompt of messages. A handler makes the whole answer; it takes the place of `create_chat_completion`.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol, TypeVar

from llamacli.api.callables import StoppingCriteria, StoppingCriteriaList
from llamacli.api.chat.formats import ALIASES, FORMATS, find_format
from llamacli.api.chat.requests import messages_of
from llamacli.engine.chat.builtin_templates import builtin_templates
from llamacli.engine.chat.message import Message, read_tools
from llamacli.engine.chat.rendering import Capabilities, RenderedPrompt, Rendering, plain_prompt
from llamacli.engine.chat.template import ChatTemplate
from llamacli.errors import TemplateError, UsageError

logger = logging.getLogger("llamacli.api")

F = TypeVar("F", bound=Callable[..., Any])


@dataclass(slots=True)
class ChatFormatterResponse:
    """A formatter's prompt. `added_special`: it starts with the BOS token; `stop` and `stopping_criteria` end the answer."""

    prompt: str
    stop: str | Sequence[str] | None = None
    stopping_criteria: StoppingCriteria | None = None
    added_special: bool = False


class ChatFormatter(Protocol):
    """A function from messages to a prompt."""

    def __call__(self, *, messages: Any, **more: Any) -> ChatFormatterResponse:
        """Return the prompt of messages in OpenAI's form."""


class LlamaChatCompletionHandler(Protocol):
    """A function that answers messages with a `Llama`, as `create_chat_completion` does."""

    def __call__(self, *, llama: Any, messages: Any, **more: Any) -> Any:
        """Return the document of the answer, or an iterator of its chunks; `more` are the arguments of the call."""


class LlamaChatCompletionHandlerNotFoundException(UsageError):
    """No chat format has this name."""


class FormatterTemplate:
    """A formatter as a template of the engine. `response` is its last answer."""

    capabilities = Capabilities(system_role=True, string_content=True)

    def __init__(self, formatter: ChatFormatter) -> None:
        self._formatter = formatter
        self.response = ChatFormatterResponse("")

    def render(self, messages: Sequence[Message], rendering: Rendering | None = None) -> RenderedPrompt:
        """Render the messages. Raises TemplateError if the formatter fails."""
        try:
            self.response = self._formatter(messages=[message.to_json() for message in messages])
            prompt = str(self.response.prompt)
        except Exception as error:
            raise TemplateError(f"the chat formatter fails: {error}") from error
        return plain_prompt(prompt, stops_of(self.response.stop))


@dataclass(frozen=True, slots=True)
class FormatHandler:
    """The handler of a format: a `Llama` answers with another `chat_format`, or a formatter, than its own."""

    chat_format: str | ChatFormatter

    def __call__(self, *, llama: Any, messages: Any, **more: Any) -> Any:
        """See `LlamaChatCompletionHandler`."""
        return llama.chat_with(self.chat_format, messages, **more)


@dataclass(slots=True)
class LlamaChatCompletionHandlerRegistry:
    """Registered handlers by name."""

    handlers: dict[str, LlamaChatCompletionHandler] = field(default_factory=dict)

    def register_chat_completion_handler(
        self, name: str, chat_handler: LlamaChatCompletionHandler, overwrite: bool = False
    ) -> None:
        """Register a handler. Raises UsageError if the name is taken, unless `overwrite`."""
        if not overwrite and (name in self.handlers or name in FORMATS):
            raise UsageError(f"the chat format {name!r} is registered already")
        self.handlers[name] = chat_handler

    def get_chat_completion_handler_by_name(self, name: str) -> LlamaChatCompletionHandler:
        """Return a registered handler. Raises LlamaChatCompletionHandlerNotFoundException if there is none."""
        if name not in self.handlers:
            raise LlamaChatCompletionHandlerNotFoundException(f"no chat handler {name!r} is registered")
        return self.handlers[name]

    def unregister_chat_handler(self, name: str) -> None:
        """Remove a handler. Raises UsageError if there is none."""
        if name not in self.handlers:
            raise UsageError(f"no chat handler {name!r} is registered")
        del self.handlers[name]


REGISTRY = LlamaChatCompletionHandlerRegistry()
"""The handlers of this process."""


def get_chat_completion_handler(name: str) -> LlamaChatCompletionHandler:
    """Return the handler of a registered name, or of a format.

    Raises:
        LlamaChatCompletionHandlerNotFoundException: if there is none.
    """
    if name in REGISTRY.handlers:
        return REGISTRY.handlers[name]
    if name in FORMATS or name in ALIASES or name in builtin_templates():
        return FormatHandler(name)
    raise LlamaChatCompletionHandlerNotFoundException(f"unknown chat format {name!r}")


def check_format(name: str) -> None:
    """Raise TemplateError if a chat format is unknown, or does not parse."""
    if name not in REGISTRY.handlers:
        ChatTemplate(find_format(name)[0]).close()


def register_chat_completion_handler(name: str) -> Callable[[F], F]:
    """Register the decorated handler as a chat format."""

    def register(handler: F) -> F:
        REGISTRY.register_chat_completion_handler(name, handler)
        return handler

    return register


def register_chat_format(name: str) -> Callable[[F], F]:
    """Register the decorated formatter as a chat format."""

    def register(formatter: F) -> F:
        REGISTRY.register_chat_completion_handler(name, chat_formatter_to_chat_completion_handler(formatter))
        return formatter

    return register


def chat_formatter_to_chat_completion_handler(chat_formatter: ChatFormatter) -> LlamaChatCompletionHandler:
    """Return the handler that answers the prompts of a formatter."""
    return FormatHandler(chat_formatter)


class Jinja2ChatFormatter:
    """A Jinja template as a formatter. llama.cpp renders it.

    Raises:
        TemplateError: if it does not parse.
    """

    def __init__(
        self,
        template: str,
        eos_token: str,
        bos_token: str,
        add_generation_prompt: bool = True,
        stop_token_ids: Sequence[int] | None = None,
    ) -> None:
        self.template = template
        self.eos_token = eos_token
        self.bos_token = bos_token
        self.add_generation_prompt = add_generation_prompt
        self.stop_token_ids = set(stop_token_ids) if stop_token_ids is not None else None
        self._open().close()

    def _open(self) -> ChatTemplate:
        return ChatTemplate(self.template, bos=self.bos_token, eos=self.eos_token)

    def __call__(self, *, messages: Any, tools: Any = None, **variables: Any) -> ChatFormatterResponse:
        """Render messages in OpenAI's form; `variables` are those of the template.

        Raises:
            TemplateError: if the template refuses them.
        """
        given = {name: value for name, value in variables.items() if value is not None}
        rendering = Rendering(
            tools=read_tools(list(tools)) if tools else (),
            add_generation_prompt=self.add_generation_prompt,
            variables=given or None,
        )
        with self._open() as template:
            prompt = template.render(messages_of(messages), rendering).text
        ends = self.stop_token_ids
        criteria = StoppingCriteriaList([lambda tokens, _: int(tokens[-1]) in ends]) if ends is not None else None
        return ChatFormatterResponse(prompt, [self.eos_token], criteria, added_special=True)

    def to_chat_handler(self) -> LlamaChatCompletionHandler:
        """Return the handler that answers its prompts."""
        return chat_formatter_to_chat_completion_handler(self)


def hf_tokenizer_config_to_chat_formatter(
    tokenizer_config: Mapping[str, Any], add_generation_prompt: bool = True
) -> ChatFormatter:
    """Return the formatter of a `tokenizer_config.json`: its `chat_template`, `bos_token` and `eos_token`.

    `add_generation_prompt` ends the prompt with an empty answer, as llama-cpp-python does.

    Raises:
        UsageError: if one of them is not a text.
    """
    names = ("chat_template", "bos_token", "eos_token")
    source, bos, eos = (tokenizer_config.get(name) for name in names)
    if not (isinstance(source, str) and isinstance(bos, str) and isinstance(eos, str)):
        raise UsageError(f"the tokenizer configuration needs texts for {', '.join(names)}")

    def formatter(*, messages: Any, **more: Any) -> ChatFormatterResponse:
        cue = [Message("assistant", "")] if add_generation_prompt else []
        with ChatTemplate(source, bos=bos, eos=eos) as template:
            text = template.render([*messages_of(messages), *cue], Rendering(add_generation_prompt=False)).text
        return ChatFormatterResponse(text, [eos, bos], added_special=True)

    return formatter


def hf_tokenizer_config_to_chat_completion_handler(
    tokenizer_config: Mapping[str, Any], add_generation_prompt: bool = True
) -> LlamaChatCompletionHandler:
    """Return the handler of a `tokenizer_config.json`."""
    return chat_formatter_to_chat_completion_handler(
        hf_tokenizer_config_to_chat_formatter(tokenizer_config, add_generation_prompt)
    )


def format_with(name: str) -> Callable[..., ChatFormatterResponse]:
    """Return the formatter of a format by its name."""

    def formatter(messages: Any, **more: Any) -> ChatFormatterResponse:
        source, stops = find_format(name)
        with ChatTemplate(source, bos="", eos="</s>") as template:
            return ChatFormatterResponse(template.render(messages_of(messages)).text, list(stops) or None)

    return formatter


def continued_text(*, messages: Sequence[Any], **more: Any) -> ChatFormatterResponse:
    """Return the text of messages, for models without a chat template; a warning says so."""
    logger.warning("this model has no chat template: the text of the messages is continued as it is")
    texts = [message["content"] for message in messages]
    return ChatFormatterResponse(
        "\n".join(text if isinstance(text, str) else "\n".join(part["text"] for part in text or ()) for text in texts)
    )


def stops_of(stop: Any) -> tuple[str, ...]:
    """Return stop texts as a tuple.

    Raises:
        UsageError: if they are something else.
    """
    stops = (stop,) if isinstance(stop, str) else stop or ()
    if not isinstance(stops, Sequence) or not all(isinstance(one, str) for one in stops):
        raise UsageError(f"stop must be a text or a list of texts, not {stop!r}", parameter="stop")
    return tuple(one for one in stops if one)
