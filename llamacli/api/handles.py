"""The model and the context of a `Llama`, as C functions take them: `Llama.model` and `Llama.ctx`."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from llamacli.binding.c_api import Handle

if TYPE_CHECKING:
    from llamacli.engine.runtime.context import Context
    from llamacli.engine.runtime.model import Model


class LlamaModel(Handle):
    """The loaded model. C functions take it for a model and for a vocabulary, until the `Llama` is closed.

    >>> llm.model.token_to_piece(77) == llm.token_to_piece(77)
    True
    """

    def __init__(self, model: Callable[[], Model]) -> None:
        self._find = model

    def pointer(self, structure: str) -> Any:
        """See `Handle`."""
        model = self._find()
        if structure == "llama_vocab":
            return model.vocabulary.handle
        return model.handle if structure == "llama_model" else None

    def token_to_piece(self, token: int, special: bool = False) -> bytes:
        """Return the bytes of a token."""
        vocabulary = self._find().vocabulary
        return vocabulary.special_piece(token) if special else vocabulary.piece(token)

    def tokenize(self, text: bytes, add_bos: bool = True, special: bool = False) -> list[int]:
        """Return the token ids of a text."""
        return self._find().vocabulary.tokenize(text, special=special, add_special=add_bos)

    def detokenize(self, tokens: Sequence[int], special: bool = False) -> bytes:
        """Return the bytes of tokens."""
        return self._find().vocabulary.detokenize(tokens, special=special)

    def n_vocab(self) -> int:
        """Return the number of tokens in the vocabulary."""
        return self._find().vocabulary.size

    def n_ctx_train(self) -> int:
        """Return the context length in tokens that the model was trained with."""
        return self._find().n_ctx_train

    def n_embd(self) -> int:
        """Return the dimension of the embeddings."""
        return self._find().n_embd

    def desc(self) -> str:
        """Return llama.cpp's description: architecture, size class, quantization."""
        return self._find().description

    def metadata(self) -> dict[str, str]:
        """Return the scalars of the file's metadata, as text."""
        return self._find().all_metadata()

    def token_bos(self) -> int:
        """Return the BOS token, or -1."""
        return self._find().vocabulary.bos

    def token_eos(self) -> int:
        """Return the EOS token, or -1."""
        return self._find().vocabulary.eos

    def token_nl(self) -> int:
        """Return the newline token, or -1."""
        return self._find().vocabulary.newline

    def __repr__(self) -> str:
        return f"<LlamaModel {self.desc()}>"


class LlamaContext(Handle):
    """The context of evaluation by hand. C functions take it for a context, until the `Llama` is closed."""

    def __init__(self, context: Callable[[], Context]) -> None:
        self._find = context

    def pointer(self, structure: str) -> Any:
        """See `Handle`."""
        return self._find().handle if structure == "llama_context" else None

    def n_ctx(self) -> int:
        """Return the size of the context in tokens."""
        return self._find().n_ctx

    def __repr__(self) -> str:
        return f"<LlamaContext of {self.n_ctx()} tokens>"
