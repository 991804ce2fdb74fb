"""Tokenizers: the model's own, and one of Hugging Face's in its place."""

from __future__ import annotations

import importlib
from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from llamacli.api.handles import LlamaModel


class HasModel(Protocol):
    """A `Llama`, as far as a tokenizer needs it."""

    @property
    def model(self) -> LlamaModel:
        """The model."""


class BaseLlamaTokenizer(ABC):
    """A tokenizer that `Llama(tokenizer=...)` uses in place of the model's own."""

    @abstractmethod
    def tokenize(self, text: bytes, add_bos: bool = True, special: bool = True) -> list[int]:
        """Return the token ids of UTF-8 text. `special` recognizes control tokens in it."""

    @abstractmethod
    def detokenize(self, tokens: Sequence[int], prev_tokens: Sequence[int] | None = None, special: bool = False) -> bytes:
        """Return the text of tokens that follow `prev_tokens`. `special` keeps control tokens."""


class LlamaTokenizer(BaseLlamaTokenizer):
    """The tokenizer of a loaded model.

    >>> llm.tokenizer().decode(llm.tokenizer().encode("Hello", add_bos=False))
    'Hello'
    """

    def __init__(self, llama: HasModel) -> None:
        self._model = llama.model
        self._llama = llama  # keeps the model open

    def tokenize(self, text: bytes, add_bos: bool = True, special: bool = True) -> list[int]:
        """See `BaseLlamaTokenizer`."""
        return self._model.tokenize(text, add_bos=add_bos, special=special)

    def detokenize(self, tokens: Sequence[int], prev_tokens: Sequence[int] | None = None, special: bool = False) -> bytes:
        """See `BaseLlamaTokenizer`."""
        return self._model.detokenize(tokens, special=special)

    def encode(self, text: str, add_bos: bool = True, special: bool = True) -> list[int]:
        """Return the token ids of a text."""
        return self.tokenize(text.encode("utf-8", "ignore"), add_bos=add_bos, special=special)

    def decode(self, tokens: Sequence[int]) -> str:
        """Return the text of tokens."""
        return self.detokenize(tokens).decode("utf-8", "ignore")

    @classmethod
    def from_ggml_file(cls, path: str) -> LlamaTokenizer:
        """Return the tokenizer of a file, of which only the vocabulary is loaded."""
        llama = importlib.import_module("llamacli.api.llama")  # which takes tokenizers: it can only be looked up

        return cls(llama.Llama(path, vocab_only=True))


class LlamaHFTokenizer(BaseLlamaTokenizer):
    """A tokenizer of the `transformers` library."""

    def __init__(self, hf_tokenizer: Any) -> None:
        self.hf_tokenizer = hf_tokenizer

    def tokenize(self, text: bytes, add_bos: bool = True, special: bool = True) -> list[int]:
        """See `BaseLlamaTokenizer`."""
        ids: list[int] = self.hf_tokenizer.encode(text.decode("utf-8", "ignore"), add_special_tokens=special)
        return ids

    def detokenize(self, tokens: Sequence[int], prev_tokens: Sequence[int] | None = None, special: bool = False) -> bytes:
        """See `BaseLlamaTokenizer`."""

        def text(ids: list[int]) -> bytes:
            return str(self.hf_tokenizer.decode(ids, skip_special_tokens=not special)).encode("utf-8", "ignore")

        before = list(prev_tokens or ())
        return text([*before, *tokens])[len(text(before)) if before else 0 :]

    @classmethod
    def from_pretrained(cls, pretrained_model_name_or_path: str) -> LlamaHFTokenizer:
        """Return the tokenizer of a repository or folder.

        Raises:
            ImportError: if `transformers` is not installed.
        """
        try:
            from transformers import AutoTokenizer
        except ImportError as error:
            raise ImportError("LlamaHFTokenizer needs transformers: pip install transformers") from error
        return cls(AutoTokenizer.from_pretrained(pretrained_model_name_or_path))
