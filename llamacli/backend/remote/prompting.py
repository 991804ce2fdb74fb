"""A model behind an address: what is known of it, and its prompts, which the server will make tokens of."""

from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any, NoReturn

from llamacli.backend.remote.client import Client
from llamacli.backend.remote.exchange import OnLack
from llamacli.backend.remote.pool import Endpoint
from llamacli.backend.remote.server import ask
from llamacli.backend.remote.turn import RemoteTurn, conversation_turn, question_turn
from llamacli.engine.chat.message import Message
from llamacli.engine.chat.prompt import Prompt
from llamacli.engine.chat.question import Question
from llamacli.engine.chat.rendering import Rendering
from llamacli.engine.chat.turn import Turn
from llamacli.engine.constraint.guidance import Constraint
from llamacli.engine.events import NextToken
from llamacli.engine.media.media import NOUNS
from llamacli.engine.params import Description, SamplingParams
from llamacli.errors import RemoteError, UsageError
from llamacli.openai.client.request import unchosen

if TYPE_CHECKING:
    from llamacli.engine.runtime.logit_bias import Bias


class RemotePrompting:
    """What is known of a model of one server or of several, and its prompts. A base of `RemoteEngine`, which finds it."""

    _clients: Sequence[Client]
    _on_lack: OnLack
    _told: set[str]
    _telling: threading.Lock
    _first: Endpoint

    def _lack(self, parameter: str) -> None:
        with self._telling:
            if parameter not in self._told:
                self._on_lack(parameter)
                self._told.add(parameter)

    def _refuse(self, what: str) -> NoReturn:
        raise UsageError(f"{self._first.client} {what}")

    # --- the model ------------------------------------------------------------------------------------------------------

    @property
    def is_alive(self) -> bool:
        """True: a server that was lost is asked again."""
        return True

    def revive(self) -> None:
        """Do nothing: nothing here has died."""

    @property
    def notes(self) -> list[str]:
        """No notes: nothing was loaded."""
        return []

    @property
    def description(self) -> str:
        """What the server says of the model, and where it is."""
        return f"{self._first.info.kind} at {', '.join(str(client) for client in self._clients)}"

    @property
    def n_ctx(self) -> int:
        """Tokens that a sequence may have, 0 if the server does not tell."""
        return self._first.info.n_ctx or 0

    @property
    def n_parallel(self) -> int:
        """Answers that the first server makes side by side, 1 if it does not tell."""
        return self._first.info.slots or 1

    @property
    def has_vocabulary(self) -> bool:
        """False: the tokens are known to the server only."""
        return False

    @property
    def has_chat_template(self) -> bool:
        """True: the server renders messages."""
        return True

    @property
    def recommended_sampling(self) -> dict[str, str]:
        """Nothing: the server applies what the model recommends."""
        return {}

    def describe(self) -> Description:
        """Return the model's name, size and limits, 0 for what the server does not tell."""
        info = self._first.info
        return Description(
            model=info.model,
            kind=info.kind,
            n_ctx=self.n_ctx,
            n_ctx_train=self.n_ctx,
            n_parallel=self.n_parallel,
            n_vocab=info.n_vocab,
            has_chat_template=True,
            chat_template=info.chat_template,
            n_embd=info.n_embd,
            takes=info.takes if info.takes is not None else ("image", "audio"),
        )

    def sampling_defaults(self, base: SamplingParams) -> SamplingParams:
        """Return `base` with its numbers marked as not chosen: what nobody sets is left to the server."""
        return unchosen(base)

    def resolve_biases(self, biases: Sequence[Bias]) -> tuple[tuple[int, float], ...]:
        """Return biases by token id. A text is tokenized by the server, where it can. Raises UsageError for an empty text."""
        resolved: list[tuple[int, float]] = []
        for token, bias in biases:
            if isinstance(token, int):
                resolved.append((token, bias))
            elif not token:
                raise UsageError(f"the text of a logit bias has no tokens: {token!r}")
            elif self._first.info.dialect == "llama":
                resolved += [(each, bias) for each in dict.fromkeys(self.tokenize(token, special=True))]
            else:
                self._lack("logit_bias")
        return tuple(resolved)

    def context_for(self, prompt: int, max_tokens: int | None) -> int:
        """Return the size of the context, or if that is unknown one in which the answer fits."""
        return self.n_ctx or prompt + (max_tokens or 0) + 1

    # --- prompts --------------------------------------------------------------------------------------------------------

    def render(self, question: Question) -> RemoteTurn:
        """Return the turn of a question, which the server renders. Raises UsageError if it takes no images or sound of it."""
        self._require_media(question.messages)
        return question_turn(question, self._first.info.dialect)

    def chat_turn(
        self,
        messages: Sequence[Message],
        rendering: Rendering | None = None,
        *,
        template: str | None = None,
        constraint: Constraint | None = None,
        budget: int | None = None,
    ) -> RemoteTurn:
        """Return the turn that answers messages, which the server renders. Raises as `render`."""
        self._require_media(messages)
        dialect = self._first.info.dialect
        return conversation_turn(
            messages, rendering or Rendering(), dialect, template=template, constraint=constraint, budget=budget
        )

    def _require_media(self, messages: Sequence[Message]) -> None:
        takes = self._first.info.takes
        for media in (one for message in messages for one in message.media):
            if takes is not None and media.kind not in takes:
                self._refuse(f"has a model that takes no {NOUNS[media.kind]}")

    def text_turn(self, text: str, constraint: Constraint | None = None) -> Turn:
        """Return the turn that continues the text as it is, with its tokens. Raises UsageError if the server tells none."""
        from llamacli.engine.constraint.answer_constraint import AnswerConstraint

        expected = AnswerConstraint(constraint) if constraint is not None else None
        turn = question_turn(Question(text=text, raw=True, constraint=expected), self._first.info.dialect)
        return replace(turn, prompt=Prompt(text, tuple(self.tokenize(text, add_special=True))))

    def answer_tokens(
        self, turn: Turn, messages: Sequence[Message], rendering: Rendering, *, template: str | None = None
    ) -> tuple[int, ...]:
        """Raise UsageError: an answer that was begun here cannot be continued there."""
        self._refuse("cannot continue an answer")

    def ends_answer(self, token: int) -> bool:
        """Return False: tokens are known to the server only."""
        return False

    def knows_tools(self, source: str | None = None) -> bool:
        """Return True: a server that does not know tools refuses them."""
        return True

    def tokenize(self, text: str, *, add_special: bool = False, special: bool = False) -> list[int]:
        """Return the token ids of a text. Raises UsageError if the server cannot tell them."""
        document = self._asked("/tokenize", {"content": text, "add_special": add_special, "parse_special": special})
        tokens = document.get("tokens")
        if not isinstance(tokens, list) or not all(isinstance(one, int) for one in tokens):
            raise RemoteError(f"{self._first.client} answered with something other than tokens")
        return tokens

    def detokenize(self, tokens: Sequence[int]) -> bytes:
        """Return the bytes of a text in tokens. Raises UsageError if the server cannot tell them."""
        return str(self._asked("/detokenize", {"tokens": list(tokens)}).get("content", "")).encode("utf-8", "replace")

    def pieces(self, tokens: Sequence[int]) -> list[bytes]:
        """Return the bytes of each token. Raises UsageError if the server cannot tell them."""
        return [self.detokenize((token,)) for token in tokens]

    def next_tokens(self, text: str) -> list[NextToken]:
        """Raise UsageError: no API tells the probabilities of all tokens."""
        self._refuse("does not tell the probabilities of all tokens")

    def _asked(self, path: str, document: Mapping[str, Any]) -> Mapping[str, Any]:
        """The answer of an endpoint that only servers of the dialect `llama` have."""
        endpoint = self._first
        if endpoint.info.dialect != "llama":
            self._refuse(f"has no {path}")
        endpoint.client.begin()
        return ask(endpoint.client, endpoint.info.model, path, document)
