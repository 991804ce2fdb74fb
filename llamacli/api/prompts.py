"""Prompts of the Python API: from texts, tokens and messages to turns."""

from __future__ import annotations

import dataclasses
import logging
import threading
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from llamacli.api.answers import Answering
from llamacli.api.arguments import PromptLike
from llamacli.api.callables import criterion_of
from llamacli.api.chat.formats import find_format
from llamacli.api.chat.handlers import ChatFormatter, ChatFormatterResponse, FormatterTemplate
from llamacli.engine.chat.chat_turn import chat_turn
from llamacli.engine.chat.infill import infill_prompt
from llamacli.engine.chat.prompt import Prompt, plain_prompt
from llamacli.engine.chat.rendering import PromptTemplate, Rendering
from llamacli.engine.chat.turn import Turn, text_turn
from llamacli.engine.engine import Engine
from llamacli.engine.generation.request import Criterion
from llamacli.engine.params import GenerationParams
from llamacli.errors import UsageError

if TYPE_CHECKING:
    from llamacli.api.tokenizer import BaseLlamaTokenizer
    from llamacli.engine.chat.message import Message
    from llamacli.engine.constraint.guidance import Constraint

logger = logging.getLogger("llamacli.api")


@dataclass(frozen=True, slots=True, kw_only=True)
class Stops:
    """What ends the answers of a chat format, beside the request's own stops."""

    texts: tuple[str, ...] = ()
    criterion: Criterion | None = None

    def added_to(self, params: GenerationParams) -> GenerationParams:
        """Return the limits with these stop texts."""
        return dataclasses.replace(params, stop=(*params.stop, *self.texts)) if self.texts else params

    def joined(self, other: Criterion | None) -> Criterion | None:
        """Return the criterion that is met if this one or the other is."""
        own = self.criterion
        if own is None or other is None:
            return own or other
        return lambda tokens, logits: own(tokens, logits) or other(tokens, logits)


class Prompts(Answering):
    """Makers of prompts. A base of `Completions`."""

    def __init__(
        self,
        engine: Engine,
        *,
        name: str,
        seed: int | None,
        repeat_last_n: int = 64,
        tokenizer: BaseLlamaTokenizer | None = None,
        spm_infill: bool = False,
    ) -> None:
        super().__init__(engine, name=name, seed=seed, repeat_last_n=repeat_last_n)
        self._tokenizer = tokenizer
        self.spm_infill = spm_infill
        self._template_lock = threading.Lock()

    def _text_turn(self, prompt: PromptLike, suffix: str | None, constraint: Constraint | None) -> Turn:
        """Return the turn that continues a text or tokens."""
        return text_turn(self._prompt(prompt, suffix), constraint)

    def _prompt(self, prompt: PromptLike, suffix: str | None) -> Prompt:
        vocabulary = self.engine.model.vocabulary
        if isinstance(prompt, str):
            if suffix is not None:
                return infill_prompt(vocabulary, prompt, suffix, suffix_first=self.spm_infill)
            if self._tokenizer is not None:
                return Prompt(prompt, tuple(self._tokenizer.tokenize(prompt.encode(), add_bos=True, special=True)))
            return plain_prompt(vocabulary, prompt, special=True)
        if suffix is not None:
            raise UsageError("a suffix goes with a text prompt, not with tokens", parameter="suffix")
        return Prompt(vocabulary.detokenize(prompt, special=True).decode("utf-8", "replace"), tuple(prompt))

    def _chat_turn(
        self,
        chat_format: str | ChatFormatter | None,
        messages: Sequence[Message],
        rendering: Rendering,
        constraint: Constraint | None,
    ) -> tuple[Turn, Stops]:
        """Return the turn that answers messages, and what ends the answers of the format."""
        engine = self.engine
        if chat_format is None and not engine.has_chat_template:
            logger.warning("this model has no chat template: the text of the messages is continued as it is")
            chat_format = _plain_text
        if not isinstance(chat_format, str | None):
            template = FormatterTemplate(chat_format)
            turn = self._turn_of(template, messages, rendering, constraint)
            return turn, Stops(criterion=criterion_of(template.response.stopping_criteria))
        source, texts = find_format(chat_format) if chat_format is not None else (None, ())
        with self._template_lock:  # templates are for one thread at a time
            return self._turn_of(engine.template(source), messages, rendering, constraint), Stops(texts=texts)

    def _turn_of(
        self, template: PromptTemplate, messages: Sequence[Message], rendering: Rendering, constraint: Constraint | None
    ) -> Turn:
        return chat_turn(self.engine.model.vocabulary, template, messages, rendering, constraint=constraint)


def _plain_text(*, messages: Sequence[Any], **more: Any) -> ChatFormatterResponse:
    """Return the text of messages, for models without a chat template."""
    texts = [message["content"] for message in messages]
    return ChatFormatterResponse(
        "\n".join(text if isinstance(text, str) else "\n".join(part["text"] for part in text or ()) for text in texts)
    )
