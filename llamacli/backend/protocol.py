"""The seam: a backend answers, wherever it computes. `Engine` is the one in this process."""

from __future__ import annotations

from collections.abc import Generator, Iterable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Literal, Protocol

from llamacli.engine.chat.question import Question
from llamacli.engine.chat.turn import Turn
from llamacli.engine.events import AnswerEvent
from llamacli.engine.generation.job import Job
from llamacli.engine.params import Description, GenerationParams, SamplingParams
from llamacli.engine.runtime.canceller import Canceller
from llamacli.engine.runtime.logit_bias import Bias

if TYPE_CHECKING:
    from llamacli.engine.embedding.outcome import Outcome
    from llamacli.engine.embedding.params import EmbeddingParams
    from llamacli.engine.embedding.window import Text


class EvaluatedState(Protocol):
    """State of what a backend has evaluated, to be saved and restored."""

    @property
    def cached_tokens(self) -> int:
        """Tokens of the last prompt and its answer that are kept."""

    @property
    def state_bytes(self) -> int:
        """Approximate size of the file that `save_state` would write; 0 while there is nothing to save."""

    def save_state(self, path: Path) -> int:
        """Write the state to a file; return the number of tokens. Raises OSError."""

    def load_state(self, path: Path) -> int:
        """Restore what `save_state` wrote; return the number of tokens. Raises StateError, ContextFullError."""


class Backend(Protocol):
    """A model that answers. Calls may come from any thread; `close()` ends them with ClosedError."""

    @property
    def state(self) -> EvaluatedState:
        """The evaluated state."""

    def describe(self) -> Description:
        """Return the model's name, size and limits."""

    def sampling_defaults(self, base: SamplingParams) -> SamplingParams:
        """Return `base` with the recommendations of the model's metadata."""

    def resolve_biases(self, biases: Sequence[Bias]) -> tuple[tuple[int, float], ...]:
        """Return biases by token id. Raises UsageError for an unknown id or an empty text."""

    def render(self, question: Question) -> Turn:
        """Return the turn of a question. Raises TemplateError, UsageError."""

    def answer(
        self, turn: Turn, params: GenerationParams | None = None, *, samples: int = 1, cancel: Canceller | None = None
    ) -> Generator[AnswerEvent, None, None]:
        """Return the events of an answer, at the end one `Answer` for each of `samples`. Raises as `Engine.answer`."""

    def answer_many(
        self, jobs: Iterator[Job | None], *, parallel: int | Literal["auto"] | None = None, cancel: Canceller | None = None
    ) -> Generator[AnswerEvent, None, None]:
        """Yield the events of many answers side by side, each with its job's number. Raises as `Engine.answer_many`."""

    def embed(self, texts: Iterable[Text], params: EmbeddingParams | None = None) -> Iterator[Outcome]:
        """Yield the vectors of each text, in order: float32, (rows, dimension). Raises as `Embedder.embed`."""

    def rerank(self, query: str, texts: Iterable[Text], params: EmbeddingParams | None = None) -> Iterator[Outcome]:
        """Yield the scores of each text as an answer to `query`, in order. Raises as `Embedder.rerank`."""

    def tokenize(self, text: str, *, add_special: bool = False, special: bool = False) -> list[int]:
        """Return the token ids of a text. `special`: control tokens in it are recognized."""

    def detokenize(self, tokens: Sequence[int]) -> bytes:
        """Return the bytes of a text in tokens. Raises UsageError for a token outside the vocabulary."""

    def pieces(self, tokens: Sequence[int]) -> list[bytes]:
        """Return the bytes of each token. Raises UsageError for a token outside the vocabulary."""

    def cancel(self) -> None:
        """End what runs, from any thread: its answers end with finish reason "cancelled"."""

    def close(self) -> None:
        """Free everything. May be called twice."""
