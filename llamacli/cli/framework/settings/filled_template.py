"""A prompt template with the values of its variables, which takes the user's text."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from llamacli.engine.chat.message import Message
from llamacli.store.templates.template import PromptTemplate
from llamacli.store.templates.text import INPUT


@dataclass(frozen=True, slots=True)
class FilledTemplate:
    """A template, and the values of its variables."""

    template: PromptTemplate
    values: Mapping[str, str]

    @property
    def messages(self) -> tuple[Message, ...]:
        """The messages before the prompt."""
        return tuple(Message(role, text) for role, text in self.template.messages)

    @property
    def needs_text(self) -> bool:
        """True if there is no prompt without the user's text."""
        return self.template.prompt is None or self.template.uses_input

    def prompt(self, text: str) -> str:
        """Return the prompt with the user's text at its place, else before it, as the material of the instruction."""
        prompt = self.template.prompt
        if prompt is None:
            return text
        filled = prompt.fill({**self.values, INPUT: text})
        return filled if self.template.uses_input or not text else f"{text}\n\n{filled}"

    def first_message(self, text: str | None) -> str | None:
        """Return the first message of a conversation, in which each message is put into a prompt that uses it."""
        return text if self.needs_text else self.prompt(text or "")

    def row_template(self) -> str:
        """Return the template of rows, whose field `prompt` is the user's text."""
        assert self.template.prompt is not None
        parts = self.template.prompt.parts
        written = [
            _escaped(part) if isinstance(part, str) else "{prompt}" if part.name == INPUT else _escaped(self.values[part.name])
            for part in parts
        ]
        return "".join(written if self.template.uses_input else ["{prompt}\n\n", *written])


def _escaped(text: str) -> str:
    return text.replace("{", "{{").replace("}", "}}")
