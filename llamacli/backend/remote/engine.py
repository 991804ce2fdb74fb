"""A model behind an address, with the interface of the engine in this process."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Literal, NoReturn, Self

from llamacli.backend.remote import vectors
from llamacli.backend.remote.client import Client, RefusedError
from llamacli.backend.remote.exchange import OnLack, Order, Progress, exchange
from llamacli.backend.remote.pool import Endpoint, Pool
from llamacli.backend.remote.rows import Rows
from llamacli.backend.remote.server import check_document, learn
from llamacli.backend.remote.transport import Response
from llamacli.backend.remote.turn import RemoteTurn, conversation_turn, question_turn
from llamacli.engine.chat.message import Message
from llamacli.engine.chat.prompt import Prompt
from llamacli.engine.chat.question import Question
from llamacli.engine.chat.rendering import Rendering
from llamacli.engine.chat.turn import Turn
from llamacli.engine.constraint.guidance import Constraint
from llamacli.engine.events import AnswerEvent, NextToken
from llamacli.engine.generation.job import Job
from llamacli.engine.generation.room import Room
from llamacli.engine.params import Description, GenerationParams, SamplingParams
from llamacli.engine.runtime.canceller import Canceller
from llamacli.errors import RemoteError, UsageError
from llamacli.openai.client.request import unchosen

if TYPE_CHECKING:
    from llamacli.engine.embedding.outcome import Outcome
    from llamacli.engine.embedding.params import EmbeddingParams
    from llamacli.engine.embedding.window import Text
    from llamacli.engine.runtime.logit_bias import Bias


class RemoteEngine:
    """The model `wanted` (None: the only or the first one) of one server or of several. Owns the clients. A context manager.

    `on_lack` is called with each parameter that a server cannot use, once, before the request; it may raise.

    Raises (when built): UsageError, ModelNotFoundError, RemoteError; see `learn`. Of several servers one has to be there.
    """

    def __init__(self, clients: Sequence[Client], wanted: str | None, on_lack: OnLack) -> None:
        self._clients = clients
        self._on_lack = on_lack
        self._told: set[str] = set()
        self._telling = threading.Lock()
        started = time.perf_counter()
        self._pool = Pool(_endpoints(clients, wanted))
        self.load_ms = (time.perf_counter() - started) * 1e3
        self._first = self._pool.endpoints[0]

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
            n_parallel=info.slots or 1,
            n_vocab=info.n_vocab,
            has_chat_template=True,
            chat_template=info.chat_template,
            n_embd=info.n_embd,
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
        """Return the turn of a question, which the server renders."""
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
        """Return the turn that answers messages, which the server renders."""
        dialect = self._first.info.dialect
        return conversation_turn(
            messages, rendering or Rendering(), dialect, template=template, constraint=constraint, budget=budget
        )

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
        client = endpoint.client
        client.begin()
        try:
            found = client.post(f"{client.address.root}{path}", {"model": endpoint.info.model, **document})
        except RefusedError as refused:
            raise client.error(refused) from refused
        return check_document(found, str(client))

    # --- answers --------------------------------------------------------------------------------------------------------

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
        """Yield the events of the answer to a turn of this engine. A warning about what the server cannot do comes first.

        Before something of the answer has come, another server of the pool takes over from one that fails.

        Raises:
            UsageError: if the turn is not of this engine, or the answer is begun, or the server refuses the request.
            RemoteError: if the server cannot be reached, fails, or breaks off.
        """
        if started or not isinstance(turn, RemoteTurn):
            self._refuse("cannot continue an answer")
        call = _Call(self._clients, cancel)
        order = Order(
            turn=turn,
            params=params or GenerationParams(),
            on_lack=self._lack,
            is_cancelled=call.is_cancelled,
            on_open=call.opened,
            indexes=range(samples),
        )
        tried: list[Endpoint] = []
        while (endpoint := self._pool.choose(tried)) is not None:
            progress = Progress()
            tried.append(endpoint)
            try:
                yield from exchange(endpoint, order, progress)
            except RefusedError as refused:
                error = endpoint.client.error(refused)
                if not isinstance(error, RemoteError) or len(tried) == len(self._pool.endpoints):
                    raise error from refused
            except RemoteError:
                if progress.has_begun or len(tried) == len(self._pool.endpoints):
                    raise
            else:
                return

    def answer_many(
        self, jobs: Iterator[Job | None], *, parallel: int | Literal["auto"] | None = None, cancel: Canceller | None = None
    ) -> Generator[AnswerEvent, None, None]:
        """Yield the events of many answers side by side, each with its job's number.

        As many are asked for at once as the servers say, or `parallel` of them; fewer when a server is busy. A job whose server
        fails is asked again, of another server if there is one.

        Raises:
            RemoteError: if no server can be reached any more.
        """
        most = parallel if isinstance(parallel, int) else None
        self._pool.set_parallel(most)
        call = _Call(self._clients, cancel)
        rows = Rows(self._pool, most=most, on_lack=self._lack, is_cancelled=call.is_cancelled, on_open=call.opened)
        return rows.stream(jobs)

    def embed(self, texts: Iterable[Text], params: EmbeddingParams | None = None) -> Iterator[Outcome]:
        """Yield the vectors of each text, in order. Raises UsageError for what a server cannot do."""
        return vectors.embed(self._first.client, self._first.info.model, texts, params)

    def rerank(self, query: str, texts: Iterable[Text], params: EmbeddingParams | None = None) -> Iterator[Outcome]:
        """Yield the scores of each text as an answer to `query`, in order. Raises UsageError for what a server cannot do."""
        return vectors.rerank(self._first.client, self._first.info.model, query, texts, params)

    # --- state ----------------------------------------------------------------------------------------------------------

    @property
    def state(self) -> Self:
        """The evaluated state, of which there is none here."""
        return self

    @property
    def cached_tokens(self) -> int:
        """0: what is evaluated is kept by the server."""
        return 0

    @property
    def state_bytes(self) -> int:
        """0: there is nothing to save."""
        return 0

    def keep_prefixes(self, capacity: int) -> None:
        """Do nothing: the server decides what it keeps."""

    def save_state(self, path: Path) -> int:
        """Raise UsageError: what the server has evaluated stays there."""
        self._refuse("does not hand out its state")

    def load_state(self, path: Path) -> int:
        """Raise UsageError: a server takes no state."""
        self._refuse("takes no saved state")

    # --- the end --------------------------------------------------------------------------------------------------------

    def cancel(self) -> None:
        """End what runs, from any thread: its answers end with finish reason "cancelled"."""
        for client in self._clients:
            client.cancel()

    def close(self) -> None:
        """Close the connections."""
        for client in self._clients:
            client.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()


class _Call:
    """One call of `answer` or `answer_many`, which the engine's `cancel` or a canceller ends."""

    def __init__(self, clients: Sequence[Client], cancel: Canceller | None) -> None:
        self._clients = clients
        self._cancel = cancel
        for client in clients:
            client.begin()

    def is_cancelled(self) -> bool:
        """Return whether the call was ended."""
        return (self._cancel is not None and self._cancel.is_set) or any(client.is_cancelled() for client in self._clients)

    def opened(self, endpoint: Endpoint, response: Response) -> None:
        """End this response when the canceller is set."""
        if self._cancel is not None:
            self._cancel.then(lambda: endpoint.client.abort(response))


def _endpoints(clients: Sequence[Client], wanted: str | None) -> list[Endpoint]:
    """The servers that can be reached. Raises the error of the first if there is none."""
    found: list[Endpoint] = []
    first: RemoteError | None = None
    for client in clients:
        try:
            found.append(Endpoint.of(client, learn(client, wanted)))
        except RemoteError as error:
            first = first or error
    if not found:
        assert first is not None
        raise first
    return found
