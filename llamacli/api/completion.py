"""Completions and chats as OpenAI's documents, whole or streamed."""

from __future__ import annotations

import threading
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from typing import Any, Unpack

from llamacli.api.arguments import (
    LogitsProcessor,
    PromptLike,
    constraint_of,
    processor_of,
    rendering_of,
    response_constraint,
    several,
    total_usage,
)
from llamacli.api.grammar import LlamaGrammar
from llamacli.api.options import SamplingKeywords, generation, sampling_params
from llamacli.engine.chat.chat_turn import chat_turn
from llamacli.engine.chat.infill import infill_prompt
from llamacli.engine.chat.message import read_messages
from llamacli.engine.chat.prompt import Prompt
from llamacli.engine.chat.turn import Turn, text_turn
from llamacli.engine.engine import Engine
from llamacli.engine.events import Answer, AnswerEvent, Failed, Piece
from llamacli.engine.generation.job import Job
from llamacli.engine.generation.request import Processor
from llamacli.engine.params import GenerationParams, SamplingParams
from llamacli.engine.runtime.canceller import Canceller
from llamacli.errors import ClosedError, UsageError
from llamacli.openai import response
from llamacli.openai.documents import Documents
from llamacli.openai.response import Document, Heading

_thread = threading.local()


def cancellable(cancel: Canceller, call: Callable[[], Any]) -> Any:
    """Run `call`. Generation in it raises CancelledError when `cancel` is set, also when it continues later, elsewhere."""
    _thread.cancel = cancel
    try:
        return call()
    finally:
        _thread.cancel = None


def _own_cancel() -> Canceller | None:
    found: Canceller | None = getattr(_thread, "cancel", None)
    return found


@dataclass(frozen=True, slots=True, kw_only=True)
class Task:
    """One answer to make: its turn, its parameters, and what its documents need."""

    turn: Turn
    params: GenerationParams
    processor: Processor | None
    index: int = 0
    echo: str = ""

    def documents(self, heading: Heading) -> Documents:
        """Return the maker of the answer's documents."""
        logprobs, prompt = self.params.logprobs is not None, self.echo if self.echo and not heading.is_chat else None
        return Documents(heading=heading, logprobs=logprobs, prompt=prompt, role={"role": "assistant"})


class Completions:
    """Calls that generate. A base of `Llama`, which loads the model."""

    def __init__(self, engine: Engine, *, name: str, chat_format: str | None, seed: int | None) -> None:
        self._engine = engine
        self._closed = False
        self._name = name
        self.chat_format = chat_format
        self._defaults = engine.sampling_defaults(SamplingParams(seed=seed))
        self._template_lock = threading.Lock()

    @property
    def engine(self) -> Engine:
        """Engine underneath.

        Raises:
            ClosedError: after `close()`.
        """
        if self._closed:
            raise ClosedError("this Llama is closed")
        return self._engine

    def create_completion(
        self,
        prompt: PromptLike | Sequence[str],
        suffix: str | None = None,
        max_tokens: int | None = 16,
        *,
        logprobs: int | None = None,
        echo: bool = False,
        stop: str | Sequence[str] | None = None,
        stream: bool = False,
        model: str | None = None,
        logits_processor: LogitsProcessor | Sequence[LogitsProcessor] | None = None,
        grammar: LlamaGrammar | str | None = None,
        **sampling: Unpack[SamplingKeywords],
    ) -> Document | Iterator[Document]:
        """Continue a text, a list of token ids, or several texts as one batch on parallel sequences.

        `suffix` follows the gap that is filled, for models trained for infill. `max_tokens` None or below 1 is no limit. A
        logits processor gets the tokens so far and a (n_vocab,) array of logits, which it changes or returns anew.
        Returns OpenAI's `text_completion`, or an iterator of its chunks with `stream`.

        >>> answer = llm.create_completion("Once upon a time", max_tokens=4, temperature=0)
        >>> answer["object"], answer["choices"][0]["finish_reason"]
        ('text_completion', 'length')
        >>> len(list(llm.create_completion("Once upon a time", max_tokens=4, temperature=0, stream=True))) > 1
        True
        >>> llm("Once upon a time", max_tokens=2)["usage"]["completion_tokens"]
        2
        >>> [choice["index"] for choice in llm.create_completion(["One", "Two"], max_tokens=2)["choices"]]
        [0, 1]

        Raises:
            ContextFullError: if a prompt is longer than the context.
            GrammarError: if the grammar is invalid, or the model cannot satisfy it.
            UsageError: if an argument is invalid.
        """
        params = generation(sampling_params(self._defaults, sampling), max_tokens=max_tokens, stop=stop, logprobs=logprobs)
        constraint = constraint_of(grammar)
        tasks = []
        for index, one in enumerate(several(prompt)):
            asked = self._prompt(one, suffix)
            shown = "" if not echo else one if isinstance(one, str) else asked.text
            turn = text_turn(asked, constraint)
            tasks.append(Task(turn=turn, params=params, processor=processor_of(logits_processor), index=index, echo=shown))
        heading = Heading(model or self._name, is_chat=False)
        return self._stream(heading, tasks) if stream else self._whole(heading, tasks)

    __call__ = create_completion

    def create_chat_completion(
        self,
        messages: Sequence[Mapping[str, Any]],
        *,
        tools: Sequence[Mapping[str, Any]] | None = None,
        tool_choice: str | Mapping[str, Any] | None = None,
        parallel_tool_calls: bool = False,
        response_format: Mapping[str, Any] | None = None,
        stream: bool = False,
        stop: str | Sequence[str] | None = None,
        max_tokens: int | None = None,
        model: str | None = None,
        logits_processor: LogitsProcessor | Sequence[LogitsProcessor] | None = None,
        grammar: LlamaGrammar | str | None = None,
        logprobs: bool = False,
        top_logprobs: int = 0,
        **sampling: Unpack[SamplingKeywords],
    ) -> Document | Iterator[Document]:
        """Answer a conversation. Returns OpenAI's `chat.completion`, or an iterator of its chunks with `stream`.

        `response_format` is `{"type": "json_object"}`, with a `schema` if wanted, or OpenAI's `json_schema`.

        >>> messages = [{"role": "user", "content": "Say something."}]
        >>> answer = llm.create_chat_completion(messages, max_tokens=3, temperature=0)
        >>> answer["choices"][0]["message"]["role"]
        'assistant'
        >>> chunks = list(llm.create_chat_completion(messages, max_tokens=3, stream=True))
        >>> chunks[0]["choices"][0]["delta"]
        {'role': 'assistant'}

        Raises:
            TemplateError: if the chat template refuses the messages, or there is none.
            ContextFullError, GrammarError, UsageError: as `create_completion`.
        """
        wanted = top_logprobs if logprobs else None
        params = generation(sampling_params(self._defaults, sampling), max_tokens=max_tokens, stop=stop, logprobs=wanted)
        constraint = constraint_of(grammar) or response_constraint(response_format)
        rendering = rendering_of(tools, tool_choice, parallel_tool_calls)
        with self._template_lock:  # templates are for one thread at a time
            template = self.engine.template(self.chat_format)
            vocabulary = self.engine.model.vocabulary
            turn = chat_turn(vocabulary, template, read_messages(list(messages)), rendering, constraint=constraint)
        task = Task(turn=turn, params=params, processor=processor_of(logits_processor))
        heading = Heading(model or self._name)
        return self._stream(heading, [task]) if stream else self._whole(heading, [task])

    # --- the answers ----------------------------------------------------------------------------------------------------

    def _prompt(self, prompt: PromptLike, suffix: str | None) -> Prompt:
        vocabulary = self.engine.model.vocabulary
        if isinstance(prompt, str):
            return infill_prompt(vocabulary, prompt, suffix) if suffix is not None else self.engine.text_prompt(prompt)
        if suffix is not None:
            raise UsageError("a suffix goes with a text prompt, not with tokens")
        return Prompt(vocabulary.detokenize(prompt, special=True).decode("utf-8", "replace"), tuple(prompt))

    def _answers(self, tasks: Sequence[Task]) -> Generator[AnswerEvent, None, None]:
        """The events of all tasks, which run side by side. An error of one is raised."""
        jobs = (Job(number=task.index, turn=task.turn, params=task.params, processor=task.processor) for task in tasks)
        with closing(self.engine.answer_many(jobs, cancel=_own_cancel())) as events:
            for event in events:
                if isinstance(event, Failed):
                    raise event.error
                yield event

    def _whole(self, heading: Heading, tasks: Sequence[Task]) -> Document:
        answers = {event.index: event for event in self._answers(tasks) if isinstance(event, Answer)}
        choices = [task.documents(heading).choice(answers[task.index]) for task in tasks]
        timings = response.timings(answers[0].timings) if heading.is_chat else None
        return heading.document(choices, usage=response.usage(total_usage(list(answers.values()))), timings=timings)

    def _stream(self, heading: Heading, tasks: Sequence[Task]) -> Iterator[Document]:
        makers = [task.documents(heading) for task in tasks]
        offsets = [len(task.echo) for task in tasks]
        for task, maker in zip(tasks, makers, strict=True):
            if (chunk := maker.first_chunk(task.index)) is not None:
                yield chunk
        for event in self._answers(tasks):
            if isinstance(event, Piece):
                yield from makers[event.index].chunks(event, offsets[event.index])
                offsets[event.index] += sum(len(delta.content) for delta in event.deltas)
            elif isinstance(event, Answer):
                usage = None if heading.is_chat else response.usage(event.usage)
                yield makers[event.index].last_chunk(event, usage=usage)
