"""From a turn to its answers: runs the engine, hands what comes to a sink, and says when it is not what was asked for."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from typing import TYPE_CHECKING

from llamacli.cli.framework.context import AppContext
from llamacli.cli.run import options as run_options
from llamacli.cli.run.constraint import Held
from llamacli.cli.run.options import OutputOptions
from llamacli.cli.run.output import ChunkSink, DocumentSink, Sink, TextSink, WholeTextSink
from llamacli.engine.chat.answer import AnswerReader
from llamacli.engine.chat.turn import Turn
from llamacli.engine.events import Event, Finished, Prefill, Token, Usage
from llamacli.engine.params import GenerationParams
from llamacli.errors import ConstraintError, ContextFullError
from llamacli.openai.documents import Documents, Sample
from llamacli.render.stats import format_stats, format_tokens

if TYPE_CHECKING:
    from llamacli.cli.framework.signals import Guard
    from llamacli.engine.engine import Engine

_CUT = {
    "length": ("by -n", "a larger -n lets it be completed"),
    "context": ("by the end of the context", "-c makes it larger"),
    "stop": ("by a stop text", None),
    "cancelled": ("short", None),
}


def make_sink(app: AppContext, turn: Turn, options: OutputOptions, *, model: str, exact: bool, hides_reasoning: bool) -> Sink:
    """What the output options ask for. `exact` text gets no newline at its end."""
    console = app.console
    prompt = turn.prompt.text if options.echo else None
    if options.json or options.stream_json:
        documents = Documents(
            model=model,
            is_chat=turn.is_chat,
            hides_reasoning=hides_reasoning,
            logprobs=options.logprobs is not None,
            prompt=prompt,
        )
        return DocumentSink(console, documents) if options.json else ChunkSink(console, documents, options.samples)
    if options.extract or options.samples > 1:
        return WholeTextSink(console, exact=exact, extract=options.extract, hides_reasoning=hides_reasoning, prompt=prompt)
    return TextSink(console, exact=exact, hides_reasoning=hides_reasoning, prompt=prompt)


@dataclass(slots=True)
class _Running:
    """One answer on its way."""

    reader: AnswerReader
    tokens: list[Token]
    first_token_ms: float | None = None
    sample: Sample | None = None


class Answering:
    """Runs one turn. `on_prefill` is called when the prompt is evaluated and nothing of the answer is."""

    def __init__(
        self, app: AppContext, engine: Engine, turn: Turn, options: OutputOptions, sink: Sink, on_prefill: Callable[[], None]
    ) -> None:
        self._app = app
        self._engine = engine
        self._turn = turn
        self._options = options
        self._sink = sink
        self._on_prefill = on_prefill
        self._running: list[_Running] = []
        self._started = 0.0

    def run(self, guard: Guard, params: GenerationParams) -> list[Sample]:
        """Writes the answers, and the statistics if they were asked for; gives those that were completed or cut."""
        count = self._options.samples
        guard.cancel = self._engine.cancel
        self._started = time.perf_counter()
        with ExitStack() as stack:
            self._running = [_Running(stack.enter_context(AnswerReader(self._turn)), []) for _ in range(count)]
            stack.callback(self._sink.close)
            bar = stack.enter_context(self._app.progress(delay=run_options.DELAY_SECONDS))
            events = self._engine.generate(self._turn.prompt, params, guidance=self._turn.guidance, samples=count)
            for event in events:
                if isinstance(event, Prefill):
                    bar.update("reading the prompt", event.done, event.total)
                    if event.done == event.total and event.sequence == self._first(event):
                        self._on_prefill()
                else:
                    bar.finish()
                    self._take(event)
            samples = [running.sample for running in self._running if running.sample is not None]
            if samples:
                self._sink.finish(samples)
        if self._options.stats:
            self._tell_stats()
        return samples

    def _first(self, event: Prefill) -> int:
        """The number of the first answer: engines number on where there is only one."""
        return 0 if self._options.samples > 1 else event.sequence

    def _take(self, event: Event) -> None:
        if not isinstance(event, Token | Finished):
            return
        index = event.sequence if self._options.samples > 1 else 0
        running = self._running[index]
        tokens = []
        if isinstance(event, Token):
            if running.first_token_ms is None:
                running.first_token_ms = (time.perf_counter() - self._started) * 1e3
            if self._options.logprobs is not None:
                tokens = [event]
                running.tokens.append(event)
        deltas = running.reader.feed(event.text)
        if isinstance(event, Finished):
            answer, last = running.reader.finish(complete=event.reason == "stop")
            deltas += last
        if deltas or tokens:
            self._sink.add(index, deltas, tokens)
        if isinstance(event, Finished):
            running.sample = Sample(answer, event, tuple(running.tokens))
            self._sink.end(index, running.sample)

    def _tell_stats(self) -> None:
        for running in self._running:
            if running.sample is not None:
                finished, first = running.sample.finished, running.first_token_ms
                self._app.console.note(format_stats(finished, load_ms=self._engine.load_ms, first_token_ms=first))


def check_samples(samples: list[Sample], held: Held | None, n_ctx: int, *, needs_call: bool) -> None:
    """Whether the answers are what a script may take them for.

    Raises:
        ConstraintError: one was cut before it was complete under its constraint, or does not fit its schema, or has no call
            of a tool although one was required.
        ContextFullError: one was cut because the context is full.
    """
    for sample in samples:
        finished = sample.finished
        if finished.reason == "cancelled":
            continue
        if held is not None:
            if finished.reason != "stop" or finished.satisfied is False:
                how, hint = _CUT[finished.reason]
                raise ConstraintError(f"the answer was cut {how} before it was complete", hint=hint)
            held.check(sample.answer.content)
        if needs_call and not (sample.answer.tool_calls and finished.reason == "stop"):
            hint = None if sample.answer.content.strip() else _CUT[finished.reason][1]  # prose goes on for ever
            raise ConstraintError("the answer has no complete call of a tool", hint=hint)
        if finished.reason == "context":
            raise context_full(finished.usage, n_ctx)


def context_full(usage: Usage, size: int) -> ContextFullError:
    """The error for an answer that ends because there is no room for more."""
    return ContextFullError(
        f"the answer was cut: {format_tokens(usage.prompt_tokens)} of the prompt and {usage.completion_tokens} of the answer "
        f"fill the context of {size}",
        needed=usage.total_tokens + 1,
        available=size,
        hint="-c makes it larger, --context-shift goes on without the oldest tokens, -n ends the answer sooner",
    )
