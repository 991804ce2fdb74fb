"""`run` at work: load the model, render the question, answer and write."""

from __future__ import annotations

import importlib
import logging
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING

from llamacli.cli.framework.backends.engine import ModelSetup, open_backend
from llamacli.cli.framework.context import AppContext
from llamacli.cli.framework.inputs.files import STDIN
from llamacli.cli.run.batch_options import RowOptions
from llamacli.cli.run.constraint import read_constraint
from llamacli.cli.run.log import FinishedRun, open_journal
from llamacli.cli.run.log_options import LogOptions
from llamacli.cli.run.media import attach, read_with_media, with_projector
from llamacli.cli.run.options import Asked, MediaOptions, OutputOptions, StateOptions
from llamacli.cli.run.passages import find_passages, note_places, with_passages
from llamacli.cli.run.prompt import read_base, read_row_template
from llamacli.engine.params import ModelParams
from llamacli.errors import LlamacliError
from llamacli.units import counted

if TYPE_CHECKING:
    from llamacli.backend.protocol import Backend, RowBackend
    from llamacli.cli.run.runnable_tools import RunnableTools
    from llamacli.engine.chat.question import Question
    from llamacli.engine.events import Answer
    from llamacli.engine.params import GenerationParams

logger = logging.getLogger(__name__)


def answer_prompt(
    app: AppContext,
    prompt: str | None,
    asked: Asked,
    setup: ModelSetup,
    output: OutputOptions,
    state: StateOptions,
    log: LogOptions,
) -> None:
    """Answer one prompt, once or several times, and keep it in the log if that is wanted.

    Raises:
        LlamacliError: what reading the options, loading and `Engine.answer` raise; ConstraintError and ContextFullError for
            answers that are not what was asked for.
    """
    asked.check(logprobs=output.logprobs)
    constraint = read_constraint(app.console, asked.constraint)
    question, attachments = read_with_media(app, prompt, asked, constraint)
    found = find_passages(app, asked.index, setup, _searched(prompt, question))
    with _tools(app, asked) as tools, open_journal(app, log) as journal:
        if tools is not None:
            question = tools.offered(question)
        if journal is not None:
            question, setup = journal.question(question), journal.setup(setup)
        question, setup = attach(app, asked.media, setup, question, attachments)
        with open_backend(app, _foreseeing(setup, question), _importer(app)) as engine:
            from llamacli.cli.framework.answers import check_answers, write_answers
            from llamacli.cli.run.answer import Answering, write_stats

            if journal is not None and state.load_state is None:
                journal.restore_state(engine)
            params = asked.generation.params(asked.sampling.resolved(engine), logprobs=output.logprobs)
            question, quotations = with_passages(engine, question, found, asked.index)
            _load_state(engine, state)
            hides_reasoning = asked.reasoning.hide_reasoning
            answering = Answering(app, engine, params, output, hides_reasoning, lambda: _save_state(engine, state), quotations)
            if tools is None:
                answers = last = write_answers(*answering.begin(question))
            else:
                from llamacli.cli.run.tool_rounds import ToolRounds

                rounds = ToolRounds(answering, tools, question, constraint)
                rounds.run()
                question, answers, last = rounds.question, rounds.answers, rounds.answers[-1:]
            if quotations is not None and not (output.json or output.stream_json):
                note_places(app, quotations, last)
            if output.stats:
                write_stats(app, answers, engine.load_ms)
            _check_state(app, state, reused=any(one.usage.cached_tokens for one in answers))
            if journal is not None:
                journal.add(app, engine, _finished(engine, setup, question, params, last))
            if answering.turn is not None:
                check_answers(answering.turn, last, engine.n_ctx, shifts=params.context_shift)


def _foreseeing(setup: ModelSetup, question: Question) -> ModelSetup:
    """Return the setup with what stands for the question, by which its evaluated prompt is found while the model loads."""
    if not setup.child.prompt_cache or setup.remote.url:
        return setup
    from llamacli.backend.child.wire.codec import encode

    return replace(setup, child=replace(setup.child, question=encode(question)))


def _searched(prompt: str | None, question: Question) -> str:
    """Return what passages are searched for: the instruction alone, without files and piped text before it."""
    return prompt if prompt and prompt.strip() and prompt != STDIN else question.text


def _finished(
    engine: Backend, setup: ModelSetup, question: Question, params: GenerationParams, answers: Sequence[Answer]
) -> FinishedRun:
    """Return what the log keeps of a run."""
    return FinishedRun(
        model=engine.describe().model,
        reference=setup.model.model,
        question=question,
        params=params,
        answers=answers,
        load_ms=engine.load_ms,
    )


def answer_rows(app: AppContext, prompt: str | None, asked: Asked, setup: ModelSetup, rows: RowOptions) -> None:
    """Answer each row of a file.

    Raises:
        RowsFailedError: if some rows failed.
        LlamacliError: what reading the options, loading, reading and writing raise.
    """
    asked.check()
    constraint = read_constraint(app.console, asked.constraint)
    base = read_base(app.console, prompt, asked, constraint)
    template = read_row_template(app.console, asked.template, rows.template)
    from llamacli.cli.run.rows import check_files, run_rows
    from llamacli.openai.batch_request import RowDefaults, template_media

    kinds = template_media(template) if rows.dask is None else ()
    setup, rate = with_projector(app, asked.media, setup, kinds, may_come=rows.dask is None)

    if not check_files(app, rows, template):
        return
    with _row_engine(app, setup, rows, asked.media) as engine:
        from llamacli.cli.framework.inputs.attachments import read_named

        params = asked.generation.params(asked.sampling.resolved(engine))
        strict, hides_reasoning = asked.constraint.strict, asked.reasoning.hide_reasoning
        defaults = RowDefaults(base, params, template, strict=strict, attach=partial(read_named, rate=rate))
        run_rows(app, engine, rows, defaults, hides_reasoning=hides_reasoning)


def show_prompt(app: AppContext, prompt: str | None, asked: Asked, setup: ModelSetup, log: LogOptions, *, json: bool) -> None:
    """Write the prompt exactly, and its length and its context's size to standard error. Loads no weights for text."""
    asked.check()
    constraint = read_constraint(app.console, asked.constraint)
    question, attachments = read_with_media(app, prompt, asked, constraint)
    found = find_passages(app, asked.index, setup, _searched(prompt, question))
    with _tools(app, asked) as tools, open_journal(app, log if log.continues else LogOptions()) as journal:
        if tools is not None:
            question = tools.offered(question)
        if journal is not None:
            question, setup = journal.question(question), journal.setup(setup)
        question, setup = attach(app, asked.media, setup, question, attachments)
    path = app.find_model(app, setup.model.model, offline=setup.model.offline)
    has_media = any(message.media for message in question.messages)  # which are counted with the weights
    model = setup.params if has_media else ModelParams(vocabulary_only=True, gpu_layers=0)
    with app.open_engine(path, model, setup.context, child=setup.child) as engine:
        question, _ = with_passages(engine, question, found, asked.index)
        turn = engine.render(question)
        tokens = turn.prompt.tokens
        size = engine.context_for(len(tokens), asked.generation.predict)
    from llamacli.cli.run.output import write_line

    if json:
        document = {"prompt": turn.prompt.text, "prompt_tokens": len(tokens), "n_ctx": size, "tokens": list(tokens)}
        write_line(app.console, document)
        return
    app.console.show(turn.prompt.text + ("\n" if app.console.terminals.stdout else ""))
    fits = "" if len(tokens) <= size else ", which is too small"
    app.console.note(f"{counted(len(tokens), 'token')}; the context would have {size}{fits}")


@contextmanager
def _tools(app: AppContext, asked: Asked) -> Iterator[RunnableTools | None]:
    """The tools that run when the model calls them; None if none does."""
    if not asked.tools.run_tools:
        yield None
        return
    from llamacli.cli.run.runnable_tools import open_tools

    with open_tools(app, asked) as tools:
        yield tools


@contextmanager
def _row_engine(app: AppContext, setup: ModelSetup, rows: RowOptions, media: MediaOptions) -> Iterator[RowBackend]:
    """What answers rows: the engine, or the workers of a cluster; signals cancel what it does."""
    if rows.dask is None:
        with open_backend(app, setup, _importer(app)) as engine:
            yield engine
        return
    from llamacli.cli.framework.backends.cluster import open_cluster

    params = replace(setup.params, image_max_tokens=media.image_max_tokens)
    opening = open_cluster(rows.dask, setup.model.model, params, setup.context, setup.child, finds_projector=media.mmproj_auto)
    with app.interrupts.guard() as guard, opening as cluster:
        guard.cancel = cluster.cancel
        yield cluster


def _importer(app: AppContext) -> Callable[[], None]:
    """Return what imports the parts that an answer needs."""

    def load() -> None:
        importlib.import_module("llamacli.cli.run.answer")
        if app.console.redraws:
            importlib.import_module("llamacli.render.chat.markdown")

    return load


def _load_state(engine: Backend, state: StateOptions) -> None:
    if state.load_state is not None:
        tokens = engine.load_state(state.load_state)
        logger.info("%s contains %s", state.load_state, counted(tokens, "token"))


def _save_state(engine: Backend, state: StateOptions) -> None:
    """Save the evaluated prompt, if it is wanted. Raises LlamacliError if the file cannot be written."""
    if state.save_state is None:
        return
    try:
        engine.save_state(state.save_state)
    except OSError as error:
        raise LlamacliError(f"cannot write the saved state {state.save_state}: {error.strerror or error}") from error


def _check_state(app: AppContext, state: StateOptions, *, reused: bool) -> None:
    """Warn if a state was loaded in vain."""
    if state.load_state is not None and not reused:
        app.console.warn(f"the prompt has nothing in common with {state.load_state}: all of it was evaluated")
