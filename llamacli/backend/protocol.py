"""The seam: a backend answers, wherever it computes. `Engine` is the one in this process."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Literal, Protocol, Self

if TYPE_CHECKING:
    from llamacli.engine.chat.message import Message
    from llamacli.engine.chat.question import Question
    from llamacli.engine.chat.rendering import Rendering
    from llamacli.engine.chat.turn import Turn
    from llamacli.engine.constraint.guidance import Constraint
    from llamacli.engine.embedding.outcome import Outcome
    from llamacli.engine.embedding.params import EmbeddingParams
    from llamacli.engine.embedding.window import Text
    from llamacli.engine.events import AnswerEvent, NextToken
    from llamacli.engine.generation.job import Job
    from llamacli.engine.generation.room import Room
    from llamacli.engine.params import Description, GenerationParams, SamplingParams
    from llamacli.engine.runtime.canceller import Canceller
    from llamacli.engine.runtime.logit_bias import Bias


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


class RowBackend(Protocol):
    """What answers many jobs, of turns that it makes: all that rows need."""

    @property
    def is_alive(self) -> bool:
        """False once it can do nothing more because its process has died."""

    def revive(self) -> None:
        """Make a backend work again whose process has died; else do nothing. Raises as opening it does."""

    def describe(self) -> Description:
        """Return the model's name, size and limits."""

    def sampling_defaults(self, base: SamplingParams) -> SamplingParams:
        """Return `base` with the recommendations of the model's metadata."""

    def resolve_biases(self, biases: Sequence[Bias]) -> tuple[tuple[int, float], ...]:
        """Return biases by token id. Raises UsageError for an unknown id or an empty text."""

    def render(self, question: Question) -> Turn:
        """Return the turn of a question. Raises TemplateError, UsageError."""

    def answer_many(
        self, jobs: Iterator[Job | None], *, parallel: int | Literal["auto"] | None = None, cancel: Canceller | None = None
    ) -> Generator[AnswerEvent, None, None]:
        """Yield the events of many answers side by side, each with its job's number. Raises as `Engine.answer_many`."""


class Backend(RowBackend, EvaluatedState, Protocol):
    """A model that answers. Calls may come from any thread; `close()` ends them with ClosedError."""

    @property
    def load_ms(self) -> float:
        """Milliseconds that loading took."""

    @property
    def notes(self) -> list[str]:
        """Deviations from what was requested, one sentence each."""

    @property
    def description(self) -> str:
        """Architecture, size class and quantization."""

    @property
    def n_ctx(self) -> int:
        """Tokens that a sequence may have."""

    @property
    def has_vocabulary(self) -> bool:
        """True if turns and events have tokens; False if only a server knows them."""

    @property
    def has_chat_template(self) -> bool:
        """True if the model has a chat template."""

    @property
    def recommended_sampling(self) -> dict[str, str]:
        """The sampling that the model's metadata recommends, as text by name."""

    @property
    def state(self) -> EvaluatedState:
        """The evaluated state."""

    def context_for(self, prompt: int, max_tokens: int | None) -> int:
        """Return the size of the context for `max_tokens` after `prompt` tokens."""

    def chat_turn(
        self,
        messages: Sequence[Message],
        rendering: Rendering | None = None,
        *,
        template: str | None = None,
        constraint: Constraint | None = None,
        budget: int | None = None,
    ) -> Turn:
        """Return the turn that answers messages. Raises TemplateError, UsageError."""

    def text_turn(self, text: str, constraint: Constraint | None = None) -> Turn:
        """Return the turn that continues the text as it is."""

    def answer_tokens(
        self, turn: Turn, messages: Sequence[Message], rendering: Rendering, *, template: str | None = None
    ) -> tuple[int, ...]:
        """Return the tokens of a started answer to `turn`, the last of `messages`."""

    def ends_answer(self, token: int) -> bool:
        """Return whether a token ends an answer of this model."""

    def knows_tools(self, source: str | None = None) -> bool:
        """Return whether a chat template (None: the model's) describes tools or renders their calls. Raises TemplateError."""

    def answer(
        self,
        turn: Turn,
        params: GenerationParams | None = None,
        *,
        samples: int = 1,
        started: Sequence[int] = (),
        closes_gap: bool = False,
        make_room: Callable[[int], Room | None] | None = None,
        cancel: Canceller | None = None,
    ) -> Generator[AnswerEvent, None, None]:
        """Return the events of an answer, at the end one `Answer` for each of `samples`. See `Engine.answer`."""

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

    def keep_prefixes(self, capacity: int) -> None:
        """Keep evaluated prompts in up to `capacity` bytes of memory when others take their slots; 0 keeps none from now on."""

    def next_tokens(self, text: str) -> list[NextToken]:
        """Return every token with its probability after a text. Raises UsageError if the text has no token."""

    def cancel(self) -> None:
        """End what runs, from any thread: its answers end with finish reason "cancelled"."""

    def close(self) -> None:
        """Free everything. May be called twice."""

    def __enter__(self) -> Self:
        """Return itself."""

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        """Close it."""
