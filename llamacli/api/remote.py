"""A `Llama` whose model runs on a server."""

from __future__ import annotations

import os
from collections.abc import Callable, Generator, Sequence
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any, NoReturn

from llamacli.api.arguments import values
from llamacli.api.arguments.inputs import PromptLike, token_ids
from llamacli.api.arguments.names import naming_arguments
from llamacli.api.arguments.request import SchemaConstraint
from llamacli.api.calls.answering import cancelled_by
from llamacli.api.calls.prompts import Prompts
from llamacli.api.calls.task import Stops, Task
from llamacli.api.llama import Llama
from llamacli.api.loading import set_verbose
from llamacli.backend.remote.access import clients_of, closed_on_error
from llamacli.backend.remote.embedder import RemoteEmbedder
from llamacli.backend.remote.engine import RemoteEngine
from llamacli.engine.chat.answers.judgement import check_answer
from llamacli.engine.chat.question import Question
from llamacli.engine.chat.turn import Turn
from llamacli.engine.constraint.answer_constraint import AnswerConstraint
from llamacli.engine.events import Answer, AnswerEvent
from llamacli.engine.params import SamplingParams
from llamacli.errors import ClosedError, UsageError

if TYPE_CHECKING:
    from llamacli.engine.chat.message import Message
    from llamacli.engine.chat.rendering import Rendering
    from llamacli.engine.constraint.guidance import Constraint
    from llamacli.engine.embedding.params import EmbeddingParams
    from llamacli.engine.embedding.window import Text


class RemoteLlama(Llama):
    """A `Llama` whose model runs on a server with OpenAI's API, or on several servers. `Llama(url=...)` makes it.

    `model_path` is the model's name there, which may be left out if there is only one. `key` says where the key is: `env:NAME`,
    `file:PATH` or `keyring:NAME`; LLAMACLI_API_KEY has it by default. `insecure` sends it over plain http to other machines,
    too. Completions, chats and vectors work as with a model here, and so do tokens if the server has an endpoint for them.
    Sampling that is not given is left to the server. What it cannot do is a UsageError: a sampler or grammar that it does not
    know, logits, functions of the caller, saved states.

    Raises (when built):
        UsageError: for an address or key that cannot be used, a refused key, and arguments of a model here.
        ModelNotFoundError: if the server has no such model.
        RemoteError: if it cannot be reached.
    """

    @naming_arguments
    def __init__(
        self,
        model_path: str | None = None,
        *,
        url: str | Sequence[str],
        key: str | None = None,
        insecure: bool = False,
        seed: int | None = None,
        embedding: bool = True,
        verbose: bool = False,
        **others: Any,
    ) -> None:
        given = {"url": url, "key": key, "insecure": insecure, "seed": seed, "embedding": embedding, "verbose": verbose}
        self._arguments = {"model_path": model_path, **given}
        for name, value in others.items():
            if value is not None and value is not False:
                raise UsageError(f"{name} is for a model here: the server has loaded its own", parameter=name)
        set_verbose(verbose)
        urls = _addresses(url)
        self._open_clients = partial(clients_of, urls, key, os.environ, insecure=insecure)
        self.model_path, self.verbose, self.chat_format, self.chat_handler = model_path or "", verbose, None, None
        self._embeds = embedding
        self._vectorizer: RemoteEmbedder | None = None
        clients = self._open_clients()
        with closed_on_error(clients):
            engine: Any = RemoteEngine(clients, model_path, self._lack)
            Prompts.__init__(self, engine, name=engine.describe().model, seed=values.seed(seed))
        self._defaults = engine.sampling_defaults(SamplingParams())

    def _lack(self, parameter: str) -> NoReturn:
        raise UsageError(f"the server cannot use {parameter}", parameter=parameter)

    # --- the model ------------------------------------------------------------------------------------------------------

    @property
    def engine(self) -> Any:
        """The connection to the server. Raises ClosedError after `close()`."""
        if self._closed:
            raise ClosedError("this Llama is closed")
        return self._engine

    def n_ctx(self) -> int:
        """Return the context size of one call in tokens, 0 if the server does not tell."""
        return int(self.engine.n_ctx)

    def n_embd(self) -> int:
        """Return the dimension of the model's embeddings, 0 if the server does not tell."""
        return int(self.engine.describe().n_embd)

    def n_vocab(self) -> int:
        """Return the number of tokens in the vocabulary, 0 if the server does not tell."""
        return int(self.engine.describe().n_vocab)

    def close(self) -> None:
        """Close the connections. May be called twice."""
        self._closed = True
        self._engine.close()
        if self._vectorizer is not None:
            self._vectorizer.close()

    # --- tokens ---------------------------------------------------------------------------------------------------------

    def tokenize(self, text: bytes | str, add_bos: bool = True, special: bool = False) -> list[int]:
        """Return the token ids of a text. Raises UsageError if the server does not tell them."""
        known = text if isinstance(text, str) else text.decode()
        found: list[int] = self.engine.tokenize(known, add_special=add_bos, special=special)
        return found

    def detokenize(self, tokens: Sequence[int], prev_tokens: Sequence[int] | None = None, special: bool = False) -> bytes:
        """Return the bytes of tokens. Raises UsageError if the server does not tell them."""
        before = self.engine.detokenize(token_ids(prev_tokens, "prev_tokens")) if prev_tokens else b""
        whole: bytes = self.engine.detokenize([*token_ids(prev_tokens or (), "prev_tokens"), *token_ids(tokens, "tokens")])
        return whole.removeprefix(before)

    # --- answers and vectors --------------------------------------------------------------------------------------------

    def _text_turn(self, prompt: PromptLike, suffix: str | None, constraint: Constraint | None) -> Turn:
        expected = _answer_constraint(constraint)
        if isinstance(prompt, str):
            gap = (prompt, suffix) if suffix is not None else None
            question = Question(text=prompt, raw=gap is None, gap=gap, constraint=expected)
        elif suffix is not None:
            raise UsageError("a suffix goes with a text prompt, not with tokens", parameter="suffix")
        else:
            question = Question(tokens=tuple(prompt), raw=True, constraint=expected)
        turn: Turn = self.engine.render(question)
        return turn

    def _chat_turn(
        self, chat_format: Any, messages: Sequence[Message], rendering: Rendering, constraint: Constraint | None
    ) -> tuple[Turn, Stops]:
        if chat_format is not None:
            raise UsageError("the server renders messages with its own template", parameter="chat_format")
        question = Question(
            conversation=tuple(messages),
            tools=rendering.tools,
            tool_choice=rendering.tool_choice,
            parallel_tool_calls=rendering.parallel_tool_calls,
            constraint=_answer_constraint(constraint),
        )
        return self.engine.render(question), Stops()

    def _events(self, tasks: Sequence[Task]) -> Generator[AnswerEvent, None, None]:
        for task in tasks:
            for given, name in (
                (task.processor, "logits_processor"), (task.criterion, "stopping_criteria"), (task.params.score_prompt, "echo"),
            ):  # fmt: skip
                if given:
                    raise UsageError(f"the server cannot use {name}: it computes the logits", parameter=name)
        if len(tasks) != 1:
            return super()._events(tasks)
        stream: Generator[AnswerEvent, None, None] = self.engine.answer(tasks[0].turn, tasks[0].params, cancel=cancelled_by())
        return stream  # only of one answer do pieces come as they are made

    def _check(self, task: Task, answer: Answer) -> None:
        if answer.finish_reason == "stop":
            check_answer(task.turn, answer)

    def _vectors(self, texts: list[Text], params: EmbeddingParams) -> tuple[list[Any], int]:
        return super()._vectors(texts, replace(params, overflow="error"))  # the server knows where to cut, or refuses

    def _embedder(self) -> Any:
        if not self._embeds:
            raise UsageError("this Llama was made with embedding=False", parameter="embedding")
        if self._vectorizer is None:
            clients = self._open_clients()
            with closed_on_error(clients):
                self._vectorizer = RemoteEmbedder(clients, self._name)
        return self._vectorizer


def _answer_constraint(constraint: Constraint | None) -> AnswerConstraint | None:
    if constraint is None:
        return None
    if isinstance(constraint, SchemaConstraint):
        return AnswerConstraint(constraint, constraint.schema, has_schema=True)
    return AnswerConstraint(constraint)


def _refuse(*_: Any, **__: Any) -> NoReturn:
    """Raise UsageError: this needs the model in this process."""
    raise UsageError("this needs the model in this process, not on a server", hint="Llama(model_path) loads one")


def _refused(name: str) -> Callable[..., Any] | property:
    return property(_refuse) if isinstance(getattr(Llama, name), property) else _refuse


for _name in (
    "context_params", "ctx", "eval", "eval_logits", "eval_tokens", "generate", "input_ids", "kv_overrides", "load_state",
    "logits", "lora_path", "lora_scale", "manual", "metadata", "model", "model_params", "n_batch", "n_threads",
    "n_threads_batch", "n_tokens", "numa", "pooling_type", "reset", "sample", "save_state", "scores", "set_cache",
    "tensor_split", "token_bos", "token_eos", "token_nl", "token_to_piece", "tokenizer", "tokenizer_",
):  # fmt: skip
    setattr(RemoteLlama, _name, _refused(_name))
RemoteLlama.__call__ = RemoteLlama.create_completion  # type: ignore[method-assign]


def _addresses(url: object) -> list[str]:
    """Return the addresses that `url` is. Raises UsageError if it is neither a text nor several."""
    urls = [url] if isinstance(url, str) else list(url) if isinstance(url, Sequence) and not isinstance(url, bytes) else [None]
    texts = [one for one in urls if isinstance(one, str)]
    if len(texts) < len(urls):
        raise UsageError(f"url must be the address of a server, or a list of addresses, not {url!r}", parameter="url")
    if not texts:
        raise UsageError("url names no server", parameter="url")
    return texts
