"""Events of generation: plain frozen values, without ctypes.

The scheduler emits `Prefill`, `Token`, `Finished` and `Failed`, one stream for each sequence. `Engine.answer` turns them into
`Prefill`, `Piece` and one closing `Answer`, in which the text is parsed into content, reasoning and tool calls.
"""

from __future__ import annotations

from typing import Literal

from llamacli.engine.chat.message import Message, ToolCall
from llamacli.values import dataclass

FinishReason = Literal["stop", "length", "context", "cancelled"]
"""`stop`: an end-of-generation token or a stop text; `length`: max_tokens; `context`: the context is full; `cancelled`."""


@dataclass(frozen=True, slots=True)
class Usage:
    """Token counts of one sequence. `cached_tokens` of the prompt were in the cache and were not evaluated.

    `restored_tokens` are those of them that an earlier program had evaluated: they came from the prompt cache on disk.
    """

    prompt_tokens: int
    completion_tokens: int
    cached_tokens: int = 0
    restored_tokens: int = 0

    @property
    def total_tokens(self) -> int:
        """Prompt and completion together."""
        return self.prompt_tokens + self.completion_tokens


@dataclass(frozen=True, slots=True)
class Timings:
    """Durations in milliseconds, with llama-server's names. `predicted_n` counts sampled tokens, the end token included.

    `draft_n` counts the drafted tokens, `draft_n_accepted` those of them that became part of the answer.
    """

    prompt_n: int
    prompt_ms: float
    predicted_n: int
    predicted_ms: float
    draft_n: int = 0
    draft_n_accepted: int = 0

    @property
    def prompt_per_second(self) -> float:
        """Prompt tokens evaluated per second, 0.0 if none was evaluated."""
        return 1e3 * self.prompt_n / self.prompt_ms if self.prompt_ms else 0.0

    @property
    def predicted_per_second(self) -> float:
        """Generated tokens per second, 0.0 if none was generated."""
        return 1e3 * self.predicted_n / self.predicted_ms if self.predicted_ms else 0.0


@dataclass(frozen=True, slots=True)
class TokenLogprob:
    """A candidate at one position: its id, its bytes and its natural-log probability before any sampler."""

    id: int
    piece: bytes
    logprob: float


@dataclass(frozen=True, slots=True)
class NextToken:
    """A token of the vocabulary that may come next: its id, its bytes, its natural-log probability, and if it ends an answer.

    `piece` includes the text of control tokens.
    """

    id: int
    piece: bytes
    logprob: float
    ends_answer: bool


@dataclass(frozen=True, slots=True)
class Prefill:
    """Progress of a prompt: `done` of `total` tokens are evaluated. The last of these events has done == total."""

    sequence: int
    done: int
    total: int


@dataclass(frozen=True, slots=True)
class Token:
    """A sampled token. `text` is what became certain with it: whole characters, nothing that could begin a stop text.

    `text` may be empty, and may contain characters of earlier tokens. `logprob` and `top` are set if logprobs were requested.
    """

    sequence: int
    id: int
    piece: bytes
    text: str
    logprob: float | None = None
    top: tuple[TokenLogprob, ...] = ()


@dataclass(frozen=True, slots=True)
class Finished:
    """The end of a sequence. `text` is its remaining text (withheld for a stop text or a partial character), often empty.

    `stop_text` is the stop text that matched, if any. A partial character at the very end becomes U+FFFD. `satisfied` is True
    if the text is complete under the grammar that constrained it from its beginning, None without such a grammar. `prompt` are
    the tokens of the prompt if it was to be scored; the first has no log probability.
    """

    sequence: int
    reason: FinishReason
    usage: Usage
    timings: Timings
    text: str = ""
    stop_text: str | None = None
    satisfied: bool | None = None
    prompt: tuple[Token, ...] = ()


@dataclass(frozen=True, slots=True)
class Failed:
    """The end of a sequence by its own error; other sequences continue."""

    sequence: int
    error: Exception


Event = Prefill | Token | Finished | Failed
"""An event of the scheduler."""


@dataclass(frozen=True, slots=True)
class ToolCallDelta:
    """New text of tool call number `index`: `id` and `name` come with its first delta, `arguments` is JSON text."""

    index: int
    id: str
    name: str
    arguments: str


@dataclass(frozen=True, slots=True)
class Delta:
    """New text of a growing answer."""

    content: str = ""
    reasoning_content: str = ""
    tool_call: ToolCallDelta | None = None


@dataclass(frozen=True, slots=True)
class Piece:
    """One step of answer number `index`: the deltas that became certain, often none, and the token, if one was sampled."""

    index: int
    deltas: tuple[Delta, ...]
    token: Token | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """A whole answer, number `index` of its call.

    `tokens` are kept if log probabilities were requested. `first_token_ms` is the time from the request to the first token in
    milliseconds, None if no token was sampled. `stop_text`, `satisfied` and `prompt` are those of `Finished`. `well_formed` is
    False for text outside the template's own format: all of it is `content`.
    """

    index: int = 0
    content: str = ""
    reasoning_content: str = ""
    tool_calls: tuple[ToolCall, ...] = ()
    well_formed: bool = True
    tokens: tuple[Token, ...] = ()
    prompt: tuple[Token, ...] = ()
    finish_reason: FinishReason
    usage: Usage
    timings: Timings
    stop_text: str | None = None
    satisfied: bool | None = None
    first_token_ms: float | None = None

    def message(self) -> Message:
        """Return the answer as a message of the conversation."""
        return Message("assistant", self.content, tool_calls=self.tool_calls, reasoning_content=self.reasoning_content or None)


AnswerEvent = Prefill | Piece | Answer | Failed
"""An event of `Engine.answer` and `Engine.answer_many`; `Failed` comes from the latter only."""
