"""Marks that stand for pictures and sounds while a chat template runs, which knows text only."""

from __future__ import annotations

import dataclasses
import re
import secrets
from collections.abc import Iterator, Sequence
from typing import Any

from llamacli.engine.chat.message import Message
from llamacli.engine.chat.prompt import Part
from llamacli.engine.media.media import NOUN, Media
from llamacli.errors import TemplateError


class MediaMarkers:
    """The marks of the pictures and sounds of messages. They are drawn at random, so that no text can contain one."""

    def __init__(self, messages: Sequence[Message]) -> None:
        self._media = [media for message in messages for media in message.media]
        self._secret = f"media{secrets.token_hex(16)}x" if self._media else ""
        self._next = 0
        self._found: set[int] = set()

    def part(self, media: Media) -> dict[str, Any]:
        """Return the content part of the next picture or sound, in the order of the messages, as llama.cpp takes it."""
        return {"type": "media_marker", "text": self._mark()}

    def flattened(self, message: Message) -> Message:
        """Return a message whose content is one text, for templates that take nothing else, with marks in it."""
        if not message.media:
            return message
        text = ""
        follows_text = False
        for part in message.content or ():
            is_text = isinstance(part, str)
            text += ("\n" if is_text and follows_text else "") + (part if isinstance(part, str) else self._mark())
            follows_text = is_text
        return dataclasses.replace(message, content=text)

    def _mark(self) -> str:
        number, self._next = self._next, self._next + 1
        return f"{self._secret}{number}y"

    def resolve(self, parts: Sequence[Part]) -> tuple[Part, ...]:
        """Return the parts of a rendered prompt with pictures and sounds in place of their marks.

        Raises:
            TemplateError: if the template left one out.
        """
        if not self._media:
            return tuple(parts)
        resolved = [piece for part in parts for piece in self._pieces(part)]
        for number, media in enumerate(self._media):
            if number not in self._found:
                raise TemplateError(f"the chat template leaves out a {NOUN[media.kind]}")
        return tuple(resolved)

    def _pieces(self, part: Part) -> Iterator[Part]:
        texts = re.split(f"{self._secret}(\\d+)y", part.text)
        for place, text in enumerate(texts):
            if place % 2:
                self._found.add(int(text))
                media = self._media[int(text)]
                yield Part(_description(media), True, media)
            elif text:
                yield Part(text, part.is_input)


def _description(media: Media) -> str:
    """What people see in place of a picture or sound."""
    if media.kind == "image":
        return f"[picture, {media.width} x {media.height}]"
    return f"[sound, {media.seconds:.3g} s]"
