"""From the events of an engine to a sink, and the check of what it got."""

from __future__ import annotations

from collections.abc import Callable, Generator, Sequence
from contextlib import closing
from typing import Protocol

from llamacli.cli.framework.backends import engine as backends
from llamacli.cli.framework.context import AppContext
from llamacli.engine.chat.answers.judgement import check_answer
from llamacli.engine.chat.turn import Turn
from llamacli.engine.events import Answer, AnswerEvent, Piece, Prefill
from llamacli.errors import ContextFullError
from llamacli.units import counted


class Sink(Protocol):
    """Receiver of answers, numbered from 0: their pieces, each whole answer, and at the end all of them."""

    def add(self, piece: Piece) -> None:
        """Take a piece of an answer."""

    def end(self, answer: Answer) -> None:
        """Take a whole answer."""

    def finish(self, answers: Sequence[Answer]) -> None:
        """Take all answers."""

    def close(self) -> None:
        """End the output, also after an error."""


def write_answers(
    app: AppContext, events: Generator[AnswerEvent, None, None], sink: Sink, on_prefill: Callable[[], None]
) -> list[Answer]:
    """Write answers as their events come, and return them: all that were completed or cut.

    `on_prefill` is called once, when the prompt is evaluated and nothing of the answer is.
    """
    answers: list[Answer] = []
    evaluated = False
    with app.progress(delay=backends.DELAY_SECONDS) as bar, closing(sink), closing(events):
        for event in events:
            if isinstance(event, Prefill):
                bar.update("reading the prompt", event.done, event.total)
                if event.done == event.total and not evaluated:
                    evaluated = True
                    on_prefill()
                continue
            bar.finish()
            if isinstance(event, Piece):
                if event.deltas or event.token is not None:
                    sink.add(event)
            elif isinstance(event, Answer):
                answers.append(event)
                sink.end(event)
        answers.sort(key=lambda answer: answer.index)
        if answers:
            sink.finish(answers)
    return answers


def check_answers(turn: Turn, answers: list[Answer], n_ctx: int, *, shifts: bool = False) -> None:
    """Raise if a script could take an answer for what it is not. `shifts`: old tokens were to be dropped for new ones.

    Raises:
        ConstraintError: see `check_answer`.
        ContextFullError: if an answer was cut because the context is full.
    """
    for one in answers:
        check_answer(turn, one)
        if one.finish_reason == "context":
            shift = "" if shifts else ", --context-shift continues without the oldest tokens"
            reason = "; nothing old can be dropped" if shifts else ""
            raise ContextFullError(
                f"the answer was cut: {counted(one.usage.prompt_tokens, 'token')} of the prompt and "
                f"{one.usage.completion_tokens} of the answer fill the context of {n_ctx}{reason}",
                needed=one.usage.total_tokens + 1,
                available=n_ctx,
                hint=f"-c makes it larger{shift}, -n ends the answer sooner",
            )
