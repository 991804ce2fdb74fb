"""Prompts of the Python API: from texts, tokens and messages to turns."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from typing import TYPE_CHECKING

from llamacli.api.calls.answering import Answering
from llamacli.errors import UsageError

if TYPE_CHECKING:
    from llamacli.api.arguments.inputs import PromptLike
    from llamacli.api.calls.task import Stops
    from llamacli.api.chat.handlers import ChatFormatter
    from llamacli.api.tokenizer import BaseLlamaTokenizer
    from llamacli.engine.chat.message import Message
    from llamacli.engine.chat.prompt import Prompt
    from llamacli.engine.chat.rendering import PromptTemplate, Rendering
    from llamacli.engine.chat.turn import Turn
    from llamacli.engine.constraint.guidance import Constraint
    from llamacli.engine.engine import Engine


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
        from llamacli.engine.chat.turn import text_turn

        return text_turn(self._prompt(prompt, suffix), constraint)

    def _prompt(self, prompt: PromptLike, suffix: str | None) -> Prompt:
        from llamacli.engine.chat.infill import infill_prompt
        from llamacli.engine.chat.prompt import Prompt, plain_prompt

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
        from llamacli.api.callables import criterion_of
        from llamacli.api.calls.task import Stops
        from llamacli.api.chat.formats import find_format
        from llamacli.api.chat.handlers import FormatterTemplate, continued_text

        engine = self.engine
        if chat_format is None and not engine.has_chat_template:
            chat_format = continued_text
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
        from llamacli.engine.chat.chat_turn import chat_turn

        engine = self.engine
        engine.require_media(messages)
        vocabulary, expand = engine.model.vocabulary, engine.expand_media
        return chat_turn(vocabulary, template, messages, rendering, constraint=constraint, expand=expand)
