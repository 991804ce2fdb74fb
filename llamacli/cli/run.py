"""`llamacli run`: one prompt, one answer, streamed."""

from __future__ import annotations

import logging
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, ClassVar

from llamacli.cli.command import command
from llamacli.cli.context import AppContext
from llamacli.cli.options import ChatOptions, ContextOptions, GenerationOptions, ModelOptions, SamplingOptions
from llamacli.cli.parameters import argument, option
from llamacli.cli.prompt import read_prompt
from llamacli.engine.events import Finished, Prefill, Token, Usage
from llamacli.engine.params import ContextParams, GenerationParams, ModelParams, SamplingParams
from llamacli.errors import ContextFullError, UsageError
from llamacli.render.stats import format_stats
from llamacli.render.stream import AnswerStream

if TYPE_CHECKING:
    from llamacli.cli.interrupt import Guard
    from llamacli.engine.engine import Engine
    from llamacli.engine.prompt import Prompt

logger = logging.getLogger(__name__)

DELAY_SECONDS = 0.5
"""Loading, or reading the prompt, shows a progress bar only if it takes longer."""

PromptArgument = Annotated[
    str | None,
    argument(metavar="PROMPT", help="The question or instruction; - is standard input."),
]


@dataclass(frozen=True, slots=True, kw_only=True)
class PromptOptions:
    """What the prompt is made of."""

    PANEL: ClassVar[str] = "Prompt"

    file: Annotated[
        tuple[Path, ...],
        option(
            "-f", "--file", metavar="FILE", help="Text to put before the prompt; may be given many times; - is standard input."
        ),
    ] = ()
    raw: Annotated[bool, option("--raw", help="Continue the text as it is, without a chat template.")] = False


@dataclass(frozen=True, slots=True, kw_only=True)
class OutputOptions:
    """What else is written."""

    PANEL: ClassVar[str] = "Answer"

    stats: Annotated[bool, option("--stats", help="Say on standard error how long it took.")] = False


@command(
    examples=(
        ("Ask a question.", 'llamacli run "Why is the sky blue?"'),
        ("Summarize a text.", 'llamacli run -f notes.txt "Summarize this in one sentence."'),
        ("Use it in a pipeline.", 'git diff | llamacli run -n 60 "Write a commit message for this change."'),
        ("Continue a text with the best token each time.", 'llamacli run --raw --temp 0 -n 20 "Once upon a time"'),
    )
)
def run(
    app: AppContext,
    prompt: PromptArgument = None,
    *,
    source: PromptOptions,
    chat: ChatOptions,
    generation: GenerationOptions,
    output: OutputOptions,
    model: ModelOptions,
    sampling: SamplingOptions,
    context: ContextOptions,
) -> None:
    """Stream an answer to a prompt.

    The prompt is the argument, files (-f), what is piped in, or all of them: files and piped text come first, as the material,
    and the argument last, as the instruction. The answer goes to standard output and ends with a newline; everything else goes
    to standard error. With --raw and standard output redirected the text comes exactly as the model wrote it.
    """
    template = chat.template()
    sampling.params()
    generation.params(SamplingParams())
    model_params, context_params = model.params(), context.params()
    if source.raw and (chat.system_prompt is not None or template is not None):
        raise UsageError("--raw uses no chat template: -sys and --chat-template have no place in it")
    text = read_prompt(app.console, prompt, source.file, raw=source.raw)
    path = app.find_model(app, model.model, offline=model.offline)
    with app.interrupts.guard() as guard, load(app, path, model_params, context_params) as engine:
        params = generation.params(recommended(engine, sampling))
        request = build_prompt(engine, text, system=chat.system_prompt, template=template, raw=source.raw)
        stream(app, guard, engine, request, params, raw=source.raw, stats=output.stats)


def load(app: AppContext, path: Path, model: ModelParams, context: ContextParams) -> Engine:
    """The engine with the model in it, and a progress bar while that takes more than a moment."""
    what = f"loading {path.name}"
    with app.progress(delay=DELAY_SECONDS) as bar:
        return app.open_engine(path, model, context, on_load=lambda share: bar.update(what, share, 1.0))


def recommended(engine: Engine, options: SamplingOptions) -> SamplingParams:
    """Our defaults, changed by what the model recommends, changed by what was given."""
    if engine.recommended_sampling:
        told = ", ".join(f"{name} {value}" for name, value in engine.recommended_sampling.items())
        logger.info("the model recommends: %s (used where no option says otherwise)", told)
    return options.params(engine.sampling_defaults(SamplingParams()))


def build_prompt(engine: Engine, text: str, *, system: str | None, template: str | None, raw: bool) -> Prompt:
    """The tokens for `text`: through a chat template if there is one, else as it is."""
    if raw:
        return engine.text_prompt(text)
    if template is None and not engine.has_chat_template:
        if system is not None:
            raise UsageError("this model has no chat template, so -sys has no place", hint="--chat-template names one")
        logger.info("this model has no chat template: the text is continued as it is")
        return engine.text_prompt(text)
    messages = [{"role": "system", "content": system}] if system is not None else []
    return engine.chat_prompt([*messages, {"role": "user", "content": text}], template=template)


def stream(
    app: AppContext, guard: Guard, engine: Engine, prompt: Prompt, params: GenerationParams, *, raw: bool, stats: bool
) -> None:
    """Writes the answer as it comes, then the statistics if they were asked for.

    Raises ContextFullError if the answer was cut because the context is full: a script must not take it for a whole one.
    """
    console = app.console
    answer = AnswerStream(console.write, terminal=console.terminals.stdout, exact=raw)
    started, first_token_ms, finished = time.perf_counter(), None, None
    guard.cancel = engine.cancel
    try:
        with app.progress(delay=DELAY_SECONDS) as bar:
            for event in engine.generate(prompt, params):
                match event:
                    case Prefill():
                        bar.update("reading the prompt", event.done, event.total)
                    case Token():
                        if first_token_ms is None:
                            first_token_ms = (time.perf_counter() - started) * 1e3
                            bar.finish()
                        answer.add(event.text)
                    case Finished():
                        bar.finish()
                        answer.add(event.text)
                        finished = event
    finally:
        answer.finish()
    if finished is None:
        return
    if stats:
        console.note(format_stats(finished, load_ms=engine.load_ms, first_token_ms=first_token_ms))
    if finished.reason == "context":
        raise context_full(finished.usage, engine.n_ctx)


def context_full(usage: Usage, size: int) -> ContextFullError:
    """The error for an answer that ends because there is no room for more."""
    return ContextFullError(
        f"the answer was cut: {usage.prompt_tokens} prompt tokens and {usage.completion_tokens} of the answer fill the context "
        f"of {size}",
        needed=usage.total_tokens + 1,
        available=size,
        hint="-c makes it larger, --context-shift goes on without the oldest tokens, -n ends the answer sooner",
    )
