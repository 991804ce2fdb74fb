"""Tokenization: text to token ids and back."""

from __future__ import annotations

import threading
from array import array
from collections.abc import Callable, Iterable, Sequence
from typing import Any, TypeVar

from llamacli.binding.arrays import char_buffer, token_array, token_buffer, token_values
from llamacli.binding.enums import llama_vocab_type
from llamacli.binding.library import library
from llamacli.engine.runtime.bounds import bounded
from llamacli.errors import EngineError, ModelUnsupportedError, UsageError

T = TypeVar("T")

SMALL = 4096
"""Bytes of text that are tokenized on the caller's own stack."""

STACK_PER_BYTE = 1024
"""Bytes of stack that a byte of text may need.

Some pre-tokenizers use std::regex, which recurses once for each character of a match.
"""

LONGEST = 4 << 20
"""Bytes of text in one call, which need 4 GiB of stack (of address space). Callers split longer text."""

_LEAST_CAPACITY = 256
"""Tokens for which there is room at least: so most texts share one type of arrays, which takes longer to make than an array."""

_NO_TOKEN = -1
"""What llama.cpp returns for text without a token."""

_stack_lock = threading.Lock()


_ANCHOR_TOKENS = 3
"""Tokens among which the text begins that `tokenize_within` asks for: a blank, and a line's end, may be before it."""


class Vocabulary:
    """The vocabulary of a model, `owner`. Thread-safe: calls hold the owner's gate, so that it is not freed meanwhile.

    `normalize` is applied to every text before llama.cpp tokenizes it.
    """

    def __init__(self, owner: Any, handle: Any, *, normalize: Callable[[bytes], bytes] | None = None) -> None:
        self._owner = owner
        self._library = library()
        self._handle = handle
        self._normalize = normalize
        self._pieces: dict[int, bytes] = {}
        self.type = llama_vocab_type(self._library.llama_vocab_type(handle))
        self.size: int = self._library.llama_vocab_n_tokens(handle)
        self.bos: int = self._library.llama_vocab_bos(handle)
        self.eos: int = self._library.llama_vocab_eos(handle)
        self.newline: int = self._library.llama_vocab_nl(handle)
        self.add_bos: bool = self._library.llama_vocab_get_add_bos(handle)
        self.add_eos: bool = self._library.llama_vocab_get_add_eos(handle)

    @property
    def handle(self) -> Any:
        """The `llama_vocab` pointer.

        Raises:
            ClosedError: if the model was closed.
        """
        self._owner.require_open()
        return self._handle

    def tokenize(self, text: str | bytes, *, special: bool = False, add_special: bool = False) -> list[int]:
        """Return the token ids of `text`.

        `special` parses control tokens in the text; `add_special` adds BOS and EOS if the model wants them.

        Raises:
            UsageError: if the text is longer than LONGEST bytes.
            ModelUnsupportedError: if the vocabulary has no token for a part of it.
        """
        data = text.encode("utf-8", "replace") if isinstance(text, str) else text
        return self.token_array(data, special=special, add_special=add_special).tolist()

    def tokenize_within(self, text: str) -> list[int]:
        """Return the tokens of a text that goes on within a line: without the blank that some vocabularies put before a text.

        Empty if the tokens would not be just this text.
        """
        data = text.encode()
        for anchor in (b"", b"\n"):
            tokens = self.tokenize(anchor + data)
            pieces = [self.piece(token) for token in tokens]
            for first in range(min(len(tokens), _ANCHOR_TOKENS)):
                if b"".join(pieces[first:]) == data:
                    return tokens[first:]
        return []

    def token_array(
        self, data: bytes, *, special: bool = False, add_special: bool = False, stack_bytes: int = SMALL
    ) -> array[int]:
        """Return the token ids of `data` as an array of int32. The caller's stack is used for up to `stack_bytes` of text."""
        if len(data) > LONGEST:
            raise UsageError(f"text of {len(data)} bytes is too long for one tokenizer call; the limit is {LONGEST}")
        if len(data) <= stack_bytes:
            return self._tokenize(data, special, add_special)
        return _on_large_stack(lambda: self._tokenize(data, special, add_special), len(data) * STACK_PER_BYTE)

    def _tokenize(self, data: bytes, special: bool, add_special: bool) -> array[int]:
        if self._normalize is not None:
            data = self._normalize(data)
        capacity = max(len(data) + 8, _LEAST_CAPACITY)
        for _ in range(2):
            buffer = token_buffer(capacity)
            with self._owner.gate, bounded("text", len(data)):
                count: int = self._library.llama_tokenize(self._handle, data, len(data), buffer, capacity, add_special, special)
            if count >= 0:
                tokens = token_values(buffer, count)
                # Other types have tokens for bytes, or an unknown one.
                if self.type is llama_vocab_type.LLAMA_VOCAB_TYPE_RWKV and _NO_TOKEN in tokens:
                    raise ModelUnsupportedError("the model's vocabulary has no token for a part of the text")
                return tokens
            capacity = -count
        raise EngineError("llama.cpp could not tokenize the text")

    def piece(self, token: int) -> bytes:
        """Return the bytes of a token, empty for control tokens.

        Raises:
            UsageError: if the id is outside the vocabulary.
        """
        known = self._pieces.get(token)
        if known is None:
            known = self._pieces[token] = self._piece(token, special=False)
        return known

    def special_piece(self, token: int) -> bytes:
        """Return the bytes of a token; those of control tokens as templates write them."""
        return self._piece(token, special=True)

    def _piece(self, token: int, *, special: bool) -> bytes:
        self.check_ids((token,))
        size = 64
        while True:
            buffer = char_buffer(size)
            with self._owner.gate:
                count: int = self._library.llama_token_to_piece(self._handle, token, buffer, size, 0, special)
            if count >= 0:
                return bytes(buffer.raw[:count])
            size = -count

    def detokenize(self, tokens: Sequence[int], *, special: bool = False) -> bytes:
        """Return the bytes of a sequence of tokens. `special` includes control tokens.

        Raises:
            UsageError: if an id is outside the vocabulary.
        """
        self.check_ids(tokens)
        if not tokens:
            return b""
        array = token_array(tokens)
        size = 8 * len(tokens) + 64
        while True:
            buffer = char_buffer(size)
            with self._owner.gate:
                count: int = self._library.llama_detokenize(self._handle, array, len(tokens), buffer, size, False, special)
            if count >= 0:
                return bytes(buffer.raw[:count])
            size = -count

    def text(self, token: int) -> bytes:
        """Return a token as the model's file spells it: spaces as U+2581, or bytes as printable characters."""
        self.check_ids((token,))
        with self._owner.gate:
            return bytes(self._library.llama_vocab_get_text(self._handle, token))

    def attribute(self, token: int) -> int:
        """Return the attributes (`llama_token_attr`) of a token."""
        self.check_ids((token,))
        with self._owner.gate:
            return int(self._library.llama_vocab_get_attr(self._handle, token))

    def attributes(self) -> list[int]:
        """Return the attributes (`llama_token_attr`) of all tokens."""
        attribute = self._library.llama_vocab_get_attr
        with self._owner.gate:
            return [attribute(self._handle, token) for token in range(self.size)]

    def is_end(self, token: int) -> bool:
        """Return whether the token ends an answer (EOS, EOT, …)."""
        return bool(self._library.llama_vocab_is_eog(self._handle, token))

    def end_tokens(self) -> list[int]:
        """Return all tokens that end an answer."""
        with self._owner.gate:
            count = self._library.llamacli_end_tokens(self._handle, token_buffer(1), 0)
            buffer = token_buffer(count)
            self._library.llamacli_end_tokens(self._handle, buffer, count)
        return list(buffer)

    def is_control(self, token: int) -> bool:
        """Return whether the token is a control token, which plain text never becomes."""
        return bool(self._library.llama_vocab_is_control(self._handle, token))

    def check_ids(self, tokens: Iterable[int]) -> None:
        """Reject ids on which llama.cpp would abort.

        Raises:
            UsageError: if an id is negative or not below `size`.
        """
        for token in tokens:
            if not 0 <= token < self.size:
                raise UsageError(f"token {token} is not in the vocabulary of {self.size} tokens")


def _on_large_stack(work: Callable[[], T], size: int) -> T:
    """Run `work` on a thread with `size` bytes of stack, of which only the used pages take memory."""
    outcome: list[T] = []
    failure: list[BaseException] = []

    def run() -> None:
        try:
            outcome.append(work())
        except BaseException as error:  # noqa: BLE001 - raised again in the caller's thread
            failure.append(error)

    thread = threading.Thread(target=run, name="llamacli-tokenize")
    start_with_stack(thread, size)
    thread.join()
    if failure:
        raise failure[0]
    return outcome[0]


def start_with_stack(thread: threading.Thread, size: int) -> None:
    """Start a thread with `size` bytes of stack for the tokenizer, and 8 MiB for Python."""
    with _stack_lock:  # the size is a setting of the whole process
        before = threading.stack_size((size // 4096 + 2048) * 4096)
        try:
            thread.start()
        finally:
            threading.stack_size(before)
