"""`llamacli run`: one prompt, one answer or several, streamed or as a document.

The parts: `run_options` declares, `run_prompt` reads what is asked, `run_constraint` what holds the answer, `run_answer` runs
it, `run_sinks` writes it.
"""

from __future__ import annotations

import importlib
import logging
from pathlib import Path
from typing import TYPE_CHECKING

from llamacli.cli.framework.command import command
from llamacli.cli.framework.context import AppContext
from llamacli.cli.framework.options import ChatOptions, ContextOptions, GenerationOptions, ModelOptions, SamplingOptions
from llamacli.cli.run import options as run_options
from llamacli.cli.run.batch_options import RowOptions, check_rows
from llamacli.cli.run.constraint import Held, read_constraint
from llamacli.cli.run.options import (
    ConstraintOptions,
    OutputOptions,
    PromptArgument,
    PromptOptions,
    ReasoningOptions,
    StateOptions,
    ToolOptions,
)
from llamacli.cli.run.prompt import Question, build_turn, read_base, read_question
from llamacli.engine.params import ContextParams, ModelParams, SamplingParams
from llamacli.errors import LlamacliError, UsageError

if TYPE_CHECKING:
    from llamacli.engine.engine import Engine

logger = logging.getLogger(__name__)


@command(
    examples=(
        ("Ask a question.", 'llamacli run "Why is the sky blue?"'),
        ("Summarize a text.", 'llamacli run -f notes.txt "Summarize this in one sentence."'),
        ("Use it in a pipeline.", 'git diff | llamacli run -n 60 "Write a commit message."'),
        ("Continue a text with the best token each time.", 'llamacli run --raw --temp 0 -n 20 "Once upon a time"'),
        ("Get JSON that fits a schema.", """llamacli run -jf person.json "Invent a person." | jq .name"""),
        ("Get one of three words.", 'llamacli run --choices good,bad,unclear "Is this good? It broke."'),
        ("Let the model call tools.", 'llamacli run --tools tools.json --json "Is it raining?"'),
        ("Answer thousands of prompts.", "llamacli run --input rows.jsonl --output results.jsonl"),
        ("Get the code alone.", 'llamacli run -x "Write a shell loop over all PNG files." > loop.sh'),
    )
)
def run(
    app: AppContext,
    prompt: PromptArgument = None,
    *,
    chat: ChatOptions,
    source: PromptOptions,
    model: ModelOptions,
    generation: GenerationOptions,
    output: OutputOptions,
    constraint: ConstraintOptions,
    rows: RowOptions,
    tools: ToolOptions,
    reasoning: ReasoningOptions,
    sampling: SamplingOptions,
    context: ContextOptions,
    state: StateOptions,
) -> None:
    """Stream an answer to a prompt.

    The prompt is the argument, files (-f), what is piped in, or all of them: files and piped text come first, as the material,
    and the argument last, as the instruction. The answer goes to standard output and ends with a newline; everything else goes
    to standard error. With --raw and standard output redirected the text comes exactly as the model wrote it.

    With -j, --grammar, --regex or --choices the answer is what was asked for, or the exit status is 5: a grammar or schema that
    is invalid, an answer that was cut, or one that does not fit the schema. Calls of tools are the last line, as JSON.

    With --input each row of a file is answered, many at once; the result of a row that fails is an error object in its place,
    and the exit status is then 6.
    """
    check_output(output)
    check_rows(rows)
    sampling.params()
    generation.params(SamplingParams(), logprobs=output.logprobs)
    model_params, context_params = model.params(), context.params(n_seq_max=output.samples, kv_unified=output.samples > 1)
    held = read_constraint(app.console, constraint)
    if rows.input is not None:
        check_for_rows(output, state)
        base = read_base(app.console, prompt, source, chat, tools, reasoning)
        path = app.find_model(app, model.model, offline=model.offline)
        with app.interrupts.guard() as guard, load(app, path, model_params, context_params) as engine:
            from llamacli.batch.runner import run_rows
            from llamacli.openai.batch_request import Asking

            params = generation.params(sampling_params(engine, sampling))
            asking = Asking(base, params, held, rows.template, constraint.strict, reasoning.hide_reasoning)
            run_rows(app, guard, engine, rows, asking)
        return
    question = read_question(app.console, prompt, source, chat, tools, reasoning)
    path = app.find_model(app, model.model, offline=model.offline)
    if source.dry_run:
        dry_run(app, path, question, held, generation, context_params, json=output.json)
        return
    with app.interrupts.guard() as guard, load(app, path, model_params, context_params) as engine:
        from llamacli.cli.run.answer import Answering, check_samples, make_sink

        params = generation.params(sampling_params(engine, sampling), logprobs=output.logprobs)
        turn = build_turn(engine, question, held)
        load_state(app, engine, state)
        sink = make_sink(app, turn, output, model=path.name, exact=question.is_text, hides_reasoning=reasoning.hide_reasoning)
        answering = Answering(app, engine, turn, output, sink, lambda: save_state(engine, state))
        samples = answering.run(guard, params)
        check_state(app, state, reused=any(sample.finished.usage.cached_tokens for sample in samples))
        check_samples(samples, held, engine.n_ctx, needs_call=question.tool_choice == "required")


def check_output(output: OutputOptions) -> None:
    """Whether the output options make sense together. Raises UsageError if they do not."""
    if output.json and output.stream_json:
        raise UsageError("--json and --stream-json exclude each other")
    if output.extract and (output.json or output.stream_json):
        raise UsageError("-x writes text: it has no place with --json and --stream-json")
    if output.logprobs is not None and not (output.json or output.stream_json):
        raise UsageError("--logprobs has its place in a document", hint="add --json or --stream-json")


def check_for_rows(output: OutputOptions, state: StateOptions) -> None:
    """Whether nothing was asked for that is for one prompt. Raises UsageError if it was."""
    for given, name in (
        (output.json, "--json"), (output.stream_json, "--stream-json"), (output.samples != 1, "--samples"),
        (output.extract, "-x"), (output.echo, "--echo"),
        (state.save_state, "--save-state"), (state.load_state, "--load-state"),
    ):  # fmt: skip
        if given:
            raise UsageError(
                f"{name} has no place beside --input", hint="results are JSON lines, and a summary comes at the end"
            )


def load(app: AppContext, path: Path, model: ModelParams, context: ContextParams) -> Engine:
    """The engine with the model in it, and a progress bar while that takes more than a moment."""
    with app.progress(delay=run_options.DELAY_SECONDS) as bar:

        def told(share: float) -> None:
            importlib.import_module("llamacli.cli.run.answer")  # while C reads the weights, not after it
            bar.update(f"loading {path.name}", share, 1.0)

        return app.open_engine(path, model, context, on_load=told)


def sampling_params(engine: Engine, options: SamplingOptions) -> SamplingParams:
    """Our defaults, changed by what the model recommends, changed by what was given."""
    if engine.recommended_sampling:
        told = ", ".join(f"{name} {value}" for name, value in engine.recommended_sampling.items())
        logger.info("the model recommends: %s (used where no option says otherwise)", told)
    return options.resolved(engine)


def dry_run(
    app: AppContext,
    path: Path,
    question: Question,
    held: Held | None,
    generation: GenerationOptions,
    context: ContextParams,
    *,
    json: bool,
) -> None:
    """Writes the prompt exactly, and on standard error its length and the context that it would get. Loads no weights."""
    with load(app, path, ModelParams(vocabulary_only=True, gpu_layers=0), context) as engine:
        turn = build_turn(engine, question, held)
        tokens, size = turn.prompt.tokens, engine.context_for(turn.prompt, generation.predict)
    if json:
        from llamacli.cli.run.output import write_line

        document = {"prompt": turn.prompt.text, "prompt_tokens": len(tokens), "n_ctx": size, "tokens": list(tokens)}
        write_line(app.console, document)
        return
    from llamacli.render.stats import format_tokens

    app.console.show(turn.prompt.text + ("\n" if app.console.terminals.stdout else ""))
    fits = "" if len(tokens) <= size else ", which is too small"
    app.console.note(f"{format_tokens(len(tokens))}; the context would have {size}{fits}")


def load_state(app: AppContext, engine: Engine, state: StateOptions) -> None:
    """Brings back what was saved, if it was asked for."""
    if state.load_state is not None:
        from llamacli.render.stats import format_tokens

        tokens = engine.load_state(state.load_state)
        logger.info("%s holds %s", state.load_state, format_tokens(tokens))


def save_state(engine: Engine, state: StateOptions) -> None:
    """Saves the evaluated prompt, if it was asked for. Raises LlamacliError if the file cannot be written."""
    if state.save_state is None:
        return
    try:
        engine.save_state(state.save_state)
    except OSError as error:
        raise LlamacliError(f"cannot write the saved state {state.save_state}: {error.strerror or error}") from error


def check_state(app: AppContext, state: StateOptions, *, reused: bool) -> None:
    """Says when a state was loaded for nothing."""
    if state.load_state is not None and not reused:
        app.console.warn(f"the prompt has nothing in common with {state.load_state}: all of it was evaluated")
