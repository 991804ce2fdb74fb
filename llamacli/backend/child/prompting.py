"""A model in a child, and its prompts: from questions and messages to turns, before anything is evaluated."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from llamacli.backend.child import contract
from llamacli.backend.child.contract import ChatTurn, OpenedModel, StartedAnswer, TextTurn
from llamacli.backend.child.media import media_of, with_data
from llamacli.backend.child.process.child import Child
from llamacli.engine.chat.message import Message
from llamacli.engine.chat.question import Question
from llamacli.engine.chat.recommended_sampling import with_recommendations
from llamacli.engine.chat.rendering import Rendering
from llamacli.engine.chat.turn import Turn
from llamacli.engine.constraint.guidance import Constraint
from llamacli.engine.events import NextToken
from llamacli.engine.params import Description, SamplingParams

if TYPE_CHECKING:
    from llamacli.engine.runtime.logit_bias import Bias


class ChildPrompting:
    """A loaded model in a child, and its prompts. A base of `ChildEngine`, which loads it."""

    _child: Child
    _opened: OpenedModel

    # --- the model ------------------------------------------------------------------------------------------------------

    @property
    def load_ms(self) -> float:
        """Milliseconds that loading took."""
        return self._opened.load_ms

    @property
    def notes(self) -> list[str]:
        """Deviations from what was requested, one sentence each."""
        return list(self._opened.notes)

    @property
    def description(self) -> str:
        """Architecture, size class and quantization."""
        return self._opened.description.kind

    @property
    def n_ctx(self) -> int:
        """Tokens that a sequence may have; grows with the prompts unless the context size was given."""
        size: int = self._child.call(contract.N_CTX)
        return size

    @property
    def n_parallel(self) -> int:
        """Sequences that run at once."""
        return self._opened.description.n_parallel

    @property
    def has_vocabulary(self) -> bool:
        """True: tokens are known here."""
        return True

    @property
    def has_chat_template(self) -> bool:
        """True if the model has a chat template."""
        return self._opened.description.has_chat_template

    @property
    def recommended_sampling(self) -> dict[str, str]:
        """The sampling that the model's metadata recommends, as text by name."""
        return dict(self._opened.recommended_sampling)

    def describe(self) -> Description:
        """Return the model's name, size and limits."""
        description: Description = self._child.call(contract.DESCRIBE)
        return description

    def sampling_defaults(self, base: SamplingParams) -> SamplingParams:
        """Return `base` with the recommendations of the model's metadata. Invalid ones are left out and logged."""
        return with_recommendations(base, self._opened.recommended_sampling)

    def resolve_biases(self, biases: Sequence[Bias]) -> tuple[tuple[int, float], ...]:
        """Return biases by token id (see `logit_bias.resolve_biases`)."""
        resolved: tuple[tuple[int, float], ...] = self._child.call(contract.RESOLVE_BIASES, tuple(biases))
        return resolved

    def context_for(self, prompt: int, max_tokens: int | None) -> int:
        """Return the size of the context for `max_tokens` after `prompt` tokens."""
        size: int = self._child.call(contract.CONTEXT_FOR, (prompt, max_tokens))
        return size

    # --- prompts --------------------------------------------------------------------------------------------------------

    def render(self, question: Question) -> Turn:
        """Return the turn of a question. Raises as `Engine.render`."""
        turn: Turn = self._child.call(contract.RENDER, question)
        return with_data(turn, media_of(question))

    def chat_turn(
        self,
        messages: Sequence[Message],
        rendering: Rendering | None = None,
        *,
        template: str | None = None,
        constraint: Constraint | None = None,
        budget: int | None = None,
    ) -> Turn:
        """Return the turn that answers messages. Raises as `Engine.chat_turn`."""
        arguments = ChatTurn(tuple(messages), rendering, template, constraint, budget)
        turn: Turn = self._child.call(contract.CHAT_TURN, arguments)
        return with_data(turn, media_of(arguments.messages))

    def text_turn(self, text: str, constraint: Constraint | None = None) -> Turn:
        """Return the turn that continues the text as it is."""
        turn: Turn = self._child.call(contract.TEXT_TURN, TextTurn(text, constraint))
        return turn

    def answer_tokens(
        self, turn: Turn, messages: Sequence[Message], rendering: Rendering, *, template: str | None = None
    ) -> tuple[int, ...]:
        """Return the tokens of a started answer to `turn`, the last of `messages`."""
        arguments = StartedAnswer(turn, tuple(messages), rendering, template)
        tokens: tuple[int, ...] = self._child.call(contract.ANSWER_TOKENS, arguments)
        return tokens

    def ends_answer(self, token: int) -> bool:
        """Return whether a token ends an answer of this model."""
        ends: bool = self._child.call(contract.ENDS_ANSWER, token)
        return ends

    def knows_tools(self, source: str | None = None) -> bool:
        """Return whether the chat template describes tools or renders their calls. Raises TemplateError."""
        knows: bool = self._child.call(contract.KNOWS_TOOLS, source)
        return knows

    def tokenize(self, text: str, *, add_special: bool = False, special: bool = False) -> list[int]:
        """Return the token ids of a text. `special` recognizes control tokens in it, `add_special` adds BOS and EOS."""
        tokens: list[int] = self._child.call(contract.TOKENIZE, (text, add_special, special))
        return tokens

    def detokenize(self, tokens: Sequence[int]) -> bytes:
        """Return the bytes of a text in tokens. Raises UsageError for a token outside the vocabulary."""
        text: bytes = self._child.call(contract.DETOKENIZE, list(tokens))
        return text

    def pieces(self, tokens: Sequence[int]) -> list[bytes]:
        """Return the bytes of each token. Raises UsageError for a token outside the vocabulary."""
        pieces: list[bytes] = self._child.call(contract.PIECES, list(tokens))
        return pieces

    def next_tokens(self, text: str) -> list[NextToken]:
        """Return every token with its probability after a text. Raises as `Engine.next_tokens`."""
        tokens: list[NextToken] = self._child.call(contract.NEXT_TOKENS, text)
        return tokens
