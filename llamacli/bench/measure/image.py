"""The image test: the time that a user waits for an answer about a picture."""

from __future__ import annotations

import dataclasses
import random
import re
from collections.abc import Callable

from llamacli.bench.measure.end_to_end import EndToEndTest
from llamacli.bench.measure.params import BenchTest, Repetition
from llamacli.engine.chat.message import Message
from llamacli.engine.chat.prompt import Prompt
from llamacli.engine.media.media import Media, new_image
from llamacli.engine.runtime.canceller import Canceller

_MARK = 3
"""Bytes of the first pixel, which differs between pictures."""


class ImageTest(EndToEndTest):
    """An end-to-end test whose message begins with a picture of random pixels; `n_prompt` are the tokens beside it.

    Each repetition has another picture, so that none was encoded before. Encoding is timed from the pixels to the embeddings.
    """

    def __init__(self, test: BenchTest, cancel: Canceller, on_load: Callable[[float], None] | None = None) -> None:
        self._width, self._height = map(int, re.findall(r"\d+", test.image))
        self._pixels = random.Random(0).randbytes(3 * self._width * self._height)  # the same on every machine
        self._picture = self._next_picture(0)
        super().__init__(test, cancel, on_load)

    def _next_picture(self, number: int) -> Media:
        mark = (number % (1 << 8 * _MARK)).to_bytes(_MARK, "little")
        return new_image(self._width, self._height, mark + self._pixels[_MARK:])

    def _turn(self, n_gen: int) -> Repetition:
        self._picture = self._next_picture(self._count)
        before = self._encode_ns
        sample = super()._turn(n_gen)
        spent = self._encode_ns - before
        return dataclasses.replace(sample, encode_ns=spent, image_tokens=self._image_tokens)

    @property
    def _encode_ns(self) -> int:
        return self.engine.encoder.encode_ns if self.engine.encoder is not None else 0

    @property
    def _image_tokens(self) -> int:
        return len(self.engine.expand_media(self._picture))

    def _prompt(self, words: str) -> Prompt:
        return self.engine.chat_turn([Message("user", (self._picture, words))]).prompt

    def _length(self, words: str) -> int:
        return super()._length(words) - self._image_tokens

    def _context_size(self) -> int | None:
        """None: the tokens of the picture are known when the model is loaded."""
        return None
