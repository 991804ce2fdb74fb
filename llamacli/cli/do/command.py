"""`llamacli do`: a command line for a task, which runs if the user agrees."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Sequence
from typing import TYPE_CHECKING

import typer

from llamacli.cli.do.options import DoOptions, TaskArgument
from llamacli.cli.framework.backends.engine import ModelSetup, open_backend
from llamacli.cli.framework.command import command
from llamacli.cli.framework.context import AppContext
from llamacli.cli.framework.inputs.prompt import read_prompt
from llamacli.cli.framework.options import (
    ChatOptions,
    ContextOptions,
    DraftModelOptions,
    GenerationOptions,
    ModelOptions,
    PromptCacheOptions,
    RemoteOptions,
    ResidentOptions,
    SamplingOptions,
    TemplateOptions,
)
from llamacli.cli.framework.settings.templates import fill_template
from llamacli.cli.framework.terminal.question import can_ask
from llamacli.engine.params import SamplingParams
from llamacli.errors import ConstraintError, UsageError

if TYPE_CHECKING:
    from llamacli.backend.protocol import Backend
    from llamacli.cli.do.proposal import Proposal
    from llamacli.cli.framework.console import Console
    from llamacli.cli.framework.inputs.documents import Access
    from llamacli.engine.chat.message import Message
    from llamacli.engine.events import Answer
    from llamacli.tools.shell import Shell

NOT_RUN = 1
"""The exit status if the user does not agree."""


@command(
    examples=(
        ("Get a command, and decide what becomes of it.", 'llamacli do "compress all PNGs below 1 MiB"'),
        ("Only see it.", "llamacli do --print list the ten largest files"),
        ("Let it know what is there.", 'ls | llamacli do --print "rename these files to lower case"'),
        ("Use another model.", 'llamacli do -m hf:Qwen/Qwen2.5-Coder-7B-Instruct-GGUF "undo my last commit"'),
        ("Get it for another shell, as JSON.", 'llamacli do --shell fish --json "add ~/bin to the path" | jq .risks'),
    ),
    common=("-m", "-f", "-sys", "-T", "-n", "--temp", "--shell", "--print", "--json", "--url", "--keep-alive"),
)
def do(
    app: AppContext,
    task: TaskArgument = (),
    *,
    options: DoOptions,
    template: TemplateOptions,
    chat: ChatOptions,
    model: ModelOptions,
    draft: DraftModelOptions,
    generation: GenerationOptions,
    sampling: SamplingOptions,
    context: ContextOptions,
    prompt_cache: PromptCacheOptions,
    resident: ResidentOptions,
    remote: RemoteOptions,
) -> None:
    """Propose a shell command for a task, and run it if you agree.

    The command and its explanation are shown, with marks for what it deletes, overwrites, sends or fetches, runs or ends, for
    what needs root, and for programs that are not installed. The marks come from the words of the command: they do not prove
    that it is harmless. Then it asks: r runs it, e edits it, x explains it part by part, n leaves it. Nothing runs unasked.

    The exit status is that of the command that was run, 1 if none was, and 130 after Ctrl-C at the question. Questions and
    proposals go to standard error, so that standard output has the output of the command alone.

    With --print the command goes to standard output and nothing runs; without a terminal only that, or --json, is possible.
    The temperature is 0 unless --temp, the settings or a template set another. `llamacli help shell` has key bindings.
    """
    if options.print and options.json:
        raise UsageError("--print cannot be used with --json")
    only_shows = options.print or options.json
    if not only_shows and not can_ask(app.console):
        raise UsageError("do asks on a terminal before it runs anything", hint="--print writes the command, --json a document")
    generation.params(sampling.params())
    from llamacli.cli.do.assistant import Assistant
    from llamacli.cli.do.dialogue import decide
    from llamacli.tools.shell import find_shell

    shell = find_shell(app.console.environ, options.shell)
    child = resident.child(model)
    access = options.access(offline=model.offline, child=child)
    text, opening = read_task(app.console, task, options, template, access)
    setup = ModelSetup(
        model=model,
        params=model.params() if remote.url else draft.params(app, model.params(), offline=model.offline),
        context=context.params(),
        child=prompt_cache.child(child),
        remote=remote,
    )
    with open_backend(app, setup, lambda: None) as engine:
        params = generation.params(careful(sampling, engine))
        assistant = Assistant(app=app, engine=engine, params=params, shell=shell, template=chat.template())
        proposal, answer = assistant.propose(text, opening, chat.system_prompt)
        if only_shows:
            write_proposal(app.console, proposal, answer, shell, is_json=options.json)
            return
        agreed = decide(app, assistant, proposal)
    if agreed is None:
        app.console.note("nothing was run")
        raise typer.Exit(NOT_RUN)
    raise typer.Exit(run_agreed(app, shell, agreed))


def read_task(
    console: Console, task: Sequence[str], options: DoOptions, template: TemplateOptions, access: Access
) -> tuple[str, tuple[Message, ...]]:
    """Return the task with its material, put into the template if there is one, and the template's messages before it.

    Raises:
        UsageError: if it is empty, or something cannot be read.
    """
    filled = fill_template(console, template)
    required = filled is None or filled.needs_text
    text = read_prompt(console, " ".join(task) or None, options.file, raw=False, required=required, access=access)
    return (text, ()) if filled is None else (filled.prompt(text), filled.messages)


def careful(sampling: SamplingOptions, engine: Backend) -> SamplingParams:
    """Return the sampling of the options, with temperature 0 where none is given."""
    params = sampling.resolved(engine)
    return params if "temperature" in sampling.given() else dataclasses.replace(params, temperature=0.0)


def write_proposal(console: Console, proposal: Proposal, answer: Answer, shell: Shell, *, is_json: bool) -> None:
    """Write a proposal for another program: the command, with the rest on standard error, or a document.

    Raises:
        ConstraintError: if the command has invisible characters, which a line for review would not show.
    """
    if is_json:
        from llamacli.openai.documents import totals

        document = {**proposal.document(console.environ), "shell": shell.path, **totals([answer])}
        console.write(json.dumps(document, ensure_ascii=console.terminals.stdout) + "\n")
        return
    from llamacli.cli.do.dialogue import show_notes
    from llamacli.render.text import escape_line

    if any(risk.kind == "hidden" for risk in proposal.risks):
        raise ConstraintError(f"the proposed command has invisible characters: {escape_line(proposal.command)}")
    show_notes(console, proposal)
    console.show(f"{proposal.command}\n")


def run_agreed(app: AppContext, shell: Shell, agreed: str) -> int:
    """Run a command in the foreground and return its exit status. Ctrl-C is left to the command."""
    with app.interrupts.guard(grace=None) as guard:
        guard.cancel = lambda: None
        status = shell.run(agreed, app.console.environ)
        guard.received = None
    if status:
        app.console.note(f"the command ended with status {status}")
    return status
