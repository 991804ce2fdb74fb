"""From a turn to its answers: events of the engine to a sink, and the statistics."""

from __future__ import annotations

from collections.abc import Callable, Generator
from typing import TYPE_CHECKING, Any

from llamacli.cli.framework.answers import Sink, write_answers
from llamacli.cli.framework.context import AppContext
from llamacli.cli.run.options import OutputOptions
from llamacli.cli.run.output import AnswerStyle, TextSink, WholeTextSink
from llamacli.engine.chat.turn import Turn
from llamacli.engine.events import Answer, AnswerEvent
from llamacli.render.stats import SEPARATOR, stats_parts
from llamacli.values import dataclass

if TYPE_CHECKING:
    from llamacli.backend.protocol import Backend
    from llamacli.engine.chat.question import Question
    from llamacli.engine.params import GenerationParams
    from llamacli.openai.documents import Documents
    from llamacli.retrieval.quotation import Quotations


@dataclass(slots=True)
class Answering:
    """Answers to prompts of one run, written to the sinks of its options. `turn` is the last one.

    `quotations` are the passages of an index in the prompt, if it has any.

    `on_prefill` is called once, when the first prompt is evaluated and nothing of its answer is.
    """

    app: AppContext
    engine: Backend
    params: GenerationParams
    output: OutputOptions
    hides_reasoning: bool
    on_prefill: Callable[[], None]
    quotations: Quotations | None = None
    turn: Turn | None = None

    def answer(self, question: Question, sink: Sink | None = None, *, shows_calls: bool = True) -> list[Answer]:
        """Answer a question, and write the answers to `sink`, by default that of the options.

        Raises:
            LlamacliError: what rendering and answering raise.
        """
        return write_answers(*self.begin(question, sink, shows_calls=shows_calls))

    def begin(
        self, question: Question, sink: Sink | None = None, *, shows_calls: bool = True
    ) -> tuple[AppContext, Generator[AnswerEvent, None, None], Sink, Callable[[], None]]:
        """Return the arguments with which `write_answers` answers a question. Raises LlamacliError as `answer`."""
        on_prefill = self.on_prefill if self.turn is None else lambda: None
        self.turn = self.engine.render(question)
        sink = sink or self.sink(question, self.turn, shows_calls=shows_calls)
        return self.app, self.engine.answer(self.turn, self.params, samples=self.output.samples), sink, on_prefill

    def sink(self, question: Question, turn: Turn, *, shows_calls: bool = True, whole: bool = False) -> Sink:
        """Return the sink of the output options. `whole`: text is written when it is complete.

        Exact text gets no newline at its end. Prose is Markdown on a terminal, unless it is exact or shown with its prompt.
        """
        console, output = self.app.console, self.output
        if output.json or output.stream_json:
            from llamacli.cli.run.json_output import make_json_sink

            return make_json_sink(console, self.documents(turn), output)
        prompt = turn.prompt.text if output.echo else None
        is_prose = question.constraint is None and question.gap is None and prompt is None and not output.extract
        exact = question.is_text
        style = AnswerStyle(exact=exact, is_prose=is_prose, markdown=is_prose and not exact and not output.plain)
        common: dict[str, Any] = {"hides_reasoning": self.hides_reasoning, "prompt": prompt, "shows_calls": shows_calls}
        if whole or output.extract or output.samples > 1:
            return WholeTextSink(console, style, extract=output.extract, **common)
        return TextSink(console, style, **common)

    def documents(self, turn: Turn) -> Documents:
        """Return the maker of the documents of --json and --stream-json."""
        from llamacli.cli.run.json_output import make_documents

        model = self.engine.describe().model
        hides, quotations = self.hides_reasoning, self.quotations
        return make_documents(turn, self.output, model=model, hides_reasoning=hides, quotations=quotations)


def write_stats(app: AppContext, answers: list[Answer], load_ms: float) -> None:
    """Write the statistics of answers to standard error."""
    for one in answers:
        app.console.note_parts(stats_parts(one, load_ms=load_ms), SEPARATOR)
