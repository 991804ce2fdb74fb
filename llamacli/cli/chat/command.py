"""`llamacli chat`: a conversation on the terminal. The conversation itself is `repl`."""

from __future__ import annotations

import shutil
from contextlib import closing, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal

from llamacli.cli import complete
from llamacli.cli.chat.constraint import read_held
from llamacli.cli.chat.tools import ChatToolOptions, check_allowed, closing_servers, read_mcp_servers, read_toolbox
from llamacli.cli.framework.command import Reread, command
from llamacli.cli.framework.console import Console
from llamacli.cli.framework.context import AppContext
from llamacli.cli.framework.files import STDIN, read_text_file
from llamacli.cli.framework.options import (
    ChatOptions,
    CommonOptions,
    ContextOptions,
    GenerationOptions,
    ModelOptions,
    SamplingOptions,
)
from llamacli.cli.framework.parameters import argument, option
from llamacli.cli.framework.parsers import parse_logit_bias
from llamacli.engine.params import SamplingParams
from llamacli.errors import ModelUnsupportedError, UsageError
from llamacli.store.files import paths

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from llamacli.engine.engine import Engine
    from llamacli.repl.setup import ChatSetup, FoundModel

MessageArgument = Annotated[str | None, argument(metavar="PROMPT", help="The first message.")]


@dataclass(frozen=True, slots=True, kw_only=True)
class ScreenOptions:
    """How the conversation looks and feels."""

    PANEL: ClassVar[str] = "Terminal"

    plain: Annotated[bool, option("--plain", help="Show answers as they come, without rendering Markdown.")] = False
    editing: Annotated[Literal["emacs", "vi"], option("--editing", help="The keys of the prompt line.")] = "emacs"
    keep_history: Annotated[bool, option("--history/--no-history", help="Keep what is typed for the next conversations.")] = (
        True
    )
    script: Annotated[
        Path | None,
        option(
            "--script",
            metavar="FILE",
            help="Play a conversation from a file, a line for each message or command, without a terminal.",
            environment=False,
        ),
    ] = None


@dataclass(frozen=True, slots=True, kw_only=True)
class SessionOptions:
    """Saved conversations."""

    PANEL: ClassVar[str] = "Sessions"

    resume: Annotated[
        bool, option("-C", "--continue", help="Go on with the session that was used last.", environment=False)
    ] = False
    session: Annotated[
        str | None, option("--session", metavar="NAME", help="Go on with this session, or begin one of this name.")
    ] = None
    list: Annotated[bool, option("--list", help="List the saved sessions.", environment=False)] = False
    save: Annotated[bool, option("--save/--no-save", help="Save what is said, as it is said.")] = True
    state: Annotated[
        bool,
        option(
            "--state/--no-state", help="Keep what was evaluated beside the session, so that going on with it starts at once."
        ),
    ] = True


@command(
    examples=(
        ("Talk to the demo model.", "llamacli chat"),
        ("Use your own model, and tell it who it is.", 'llamacli chat -m model.gguf -sys "You are a patient teacher."'),
        ("Begin with a question.", 'llamacli chat "What is a monad?"'),
        ("Go on where you were.", "llamacli chat --continue"),
        ("Leave no trace.", "llamacli chat --no-save"),
        ("Let the model call your own commands, each asked for.", "llamacli chat --tools tools.json"),
    )
)
def chat(
    app: AppContext,
    prompt: MessageArgument = None,
    *,
    conversation: ChatOptions,
    sessions: SessionOptions,
    tools: ChatToolOptions,
    screen: ScreenOptions,
    generation: GenerationOptions,
    model: ModelOptions,
    sampling: SamplingOptions,
    context: ContextOptions,
    common: CommonOptions,
    reread: Reread,
) -> None:
    """Talk to a model.

    Enter sends, Alt-Enter or Ctrl-J begins a line, Ctrl-C stops an answer and keeps what came, Ctrl-D leaves. /help lists the
    commands. The model loads while the first message is typed, and each turn evaluates only what is new.
    """
    if sessions.list:
        if prompt is not None or sessions.resume or reread.given("session"):
            raise UsageError("--list only lists the sessions: it has no place beside PROMPT, --session and --continue")
        list_sessions(app.console)
        return
    entries = read_entries(app.console, screen.script)
    check_sessions(sessions)
    if prompt is not None and not prompt.strip():
        raise UsageError("the prompt is empty")
    sampling.params()
    options: dict[str, Any] = {
        "conversation": conversation,
        "generation": generation,
        "model": model,
        "sampling": sampling,
        "context": context,
    }
    toolbox, servers = read_toolbox(app.console, tools), read_mcp_servers(app.console, tools)
    if names_tools := reread.given("allow_tool"):  # settings name those of any conversation
        check_allowed(toolbox, tools)

    from llamacli.repl.setup import ChatSetup, Screen

    found = find_model(app, model.model, **options)
    from llamacli.store.sessions.store import SessionStore

    store = SessionStore() if sessions.save else None
    with closing_servers(servers), closing(store) if store is not None else nullcontext():
        begin(
            ChatSetup(
                model=found,
                find_model=lambda name: find_model(app, name, **picked(reread("-m", name), options)),
                model_names=lambda: [name for name, _ in complete.models()],
                screen=Screen(
                    app.console.write,
                    lambda: terminal_size(app.console),
                    color=app.console.stdout_color,
                    live=app.console.terminals.stdout,
                ),
                guard=lambda: app.interrupts.guard(grace=None),
                progress=app.progress,
                read_file=read_text_file,
                read_held=lambda kind, given: read_held(app.console, kind, given),
                read_bias=parse_logit_bias,
                history=paths.data_dir() / "chat-history" if screen.keep_history and sessions.save else None,
                system=conversation.system_prompt,
                profile=common.profile,
                prompt=prompt,
                plain=screen.plain,
                editing=screen.editing,
                sessions=store,
                session=sessions.session,
                resumes=sessions.resume,
                keeps_state=sessions.state,
                toolbox=toolbox,
                servers=servers,
                expected_tools=tools.allow_tool if names_tools else (),
                max_tool_calls=tools.max_tool_calls,
            ),
            entries,
        )


def find_model(
    app: AppContext,
    reference: str | None,
    *,
    conversation: ChatOptions,
    generation: GenerationOptions,
    model: ModelOptions,
    sampling: SamplingOptions,
    context: ContextOptions,
) -> FoundModel:
    """A model, and how these options load it and talk to it."""
    from llamacli.repl.setup import FoundModel

    template, model_params, context_params = conversation.template(), model.params(), context.params()
    params = generation.params(SamplingParams())
    path = app.find_model(app, reference, offline=model.offline)

    def load(on_load: Callable[[float], None]) -> Engine:
        engine = app.open_engine(path, model_params, context_params, on_load=on_load)
        if template is None and not engine.has_chat_template:
            engine.close()
            raise ModelUnsupportedError(f"{path.name} has no chat template", hint="--chat-template names one")
        return engine

    return FoundModel(path.name.removesuffix(".gguf"), load, sampling.resolved, params, template)


def picked(values: Mapping[str, Any], names: Iterable[str]) -> dict[str, Any]:
    """The values of these names."""
    return {name: values[name] for name in names}


def begin(setup: ChatSetup, entries: tuple[str, ...] | None) -> None:
    """Has the conversation, with a person or from a script."""
    if entries is None:
        from llamacli.repl.app.loop import converse

        converse(setup)
    else:
        from llamacli.repl.script import play

        play(setup, entries)


def read_entries(console: Console, script: Path | None) -> tuple[str, ...] | None:
    """What a script types; None for a person on a terminal. Raises UsageError if there is neither."""
    if script is None:
        check_terminal(console)
        return None
    from llamacli.repl.script import read_script

    return read_script(console.read_input() if str(script) == STDIN else read_text_file(script), str(script))


def list_sessions(console: Console) -> None:
    """Writes a line for each saved session."""
    from llamacli.repl.commands.sessions import format_sessions
    from llamacli.store.sessions.store import SessionStore

    with closing(SessionStore()) as store:
        found = store.sessions()
    if found:
        console.show(format_sessions(found))
    else:
        console.note("there are no saved sessions")


def check_sessions(sessions: SessionOptions) -> None:
    """Raises UsageError for options that exclude each other."""
    if sessions.resume and sessions.session is not None:
        raise UsageError("--continue is the last session, --session another: give one of them")
    if sessions.session is not None and not sessions.session.strip():
        raise UsageError("--session needs a name: this one is empty")
    if not sessions.save and (sessions.resume or sessions.session is not None):
        raise UsageError("--no-save leaves no trace: it has no place with --continue and --session")


def check_terminal(console: Console) -> None:
    """Raises UsageError unless a person can talk here."""
    if not (console.terminals.stdin and console.terminals.stdout):
        which = "input" if not console.terminals.stdin else "output"
        raise UsageError(f"chat needs a terminal, and standard {which} is none", hint="llamacli run answers in a pipeline")


def terminal_size(console: Console) -> tuple[int, int]:
    """Columns and rows of the terminal as it is now."""
    return console.width, shutil.get_terminal_size().lines
