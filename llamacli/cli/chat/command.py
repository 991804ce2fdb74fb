"""`llamacli chat`: a conversation on the terminal. The conversation itself is in `repl`."""

from __future__ import annotations

from typing import Annotated

from llamacli.backend.child.decoder import decoding_in_child
from llamacli.cli.chat.constraint import read_constraint
from llamacli.cli.chat.documents import first_kinds, is_media, read_first, read_media, reader
from llamacli.cli.chat.index import open_index
from llamacli.cli.chat.model import AnswerOptions
from llamacli.cli.chat.sessions import SessionOptions, list_sessions, open_sessions
from llamacli.cli.chat.terminal import TerminalOptions, make_screen, read_entries, thumbnail_writer
from llamacli.cli.chat.tools import ChatToolOptions
from llamacli.cli.framework.command import Reread, command
from llamacli.cli.framework.context import AppContext
from llamacli.cli.framework.index.options import IndexOptions
from llamacli.cli.framework.inputs.documents import Access
from llamacli.cli.framework.inputs.tools import closing_servers, read_tools
from llamacli.cli.framework.options import (
    ChatOptions,
    CommonOptions,
    ContextOptions,
    DocumentOptions,
    DraftModelOptions,
    GenerationOptions,
    ModelOptions,
    ProjectorOptions,
    PromptCacheOptions,
    RemoteOptions,
    ResidentOptions,
    SamplingOptions,
    TemplateOptions,
    ToolCallOptions,
)
from llamacli.cli.framework.parameters import argument
from llamacli.cli.framework.parsers import parse_logit_bias
from llamacli.cli.framework.settings.templates import fill_template
from llamacli.cli.framework.spellings.wording import flag_of
from llamacli.errors import UsageError
from llamacli.repl.setup import ChatSetup, Host, PromptLine
from llamacli.store.files import paths

MessageArgument = Annotated[str | None, argument(metavar="PROMPT", help="The first message.")]


@command(
    examples=(
        ("Talk to the demo model.", "llamacli chat"),
        ("Use your own model with a system prompt.", 'llamacli chat -m model.gguf -sys "You are a patient teacher."'),
        ("Start with a question.", 'llamacli chat "What is a monad?"'),
        ("Talk about a document.", "llamacli chat -f report.pdf"),
        ("Continue the last session.", "llamacli chat --continue"),
        ("Translate each message.", "llamacli chat -T translate --var language=French"),
        ("Save nothing.", "llamacli chat --no-save"),
        ("Ask about your files.", "llamacli chat --index notes.db"),
        ("Let the model call your own commands, each confirmed.", "llamacli chat --tools tools.json"),
    ),
    common=(
        "-m",
        "-f",
        "-sys",
        "-T",
        "-n",
        "--temp",
        "-c",
        "--session",
        "--continue",
        "--list",
        "--tools",
        "--index",
        "--no-save",
        "--url",
        "--keep-alive",
    ),
)
def chat(
    app: AppContext,
    prompt: MessageArgument = None,
    *,
    template: TemplateOptions,
    conversation: ChatOptions,
    documents: DocumentOptions,
    sessions: SessionOptions,
    tools: ChatToolOptions,
    tool_calls: ToolCallOptions,
    index: IndexOptions,
    screen: TerminalOptions,
    generation: GenerationOptions,
    model: ModelOptions,
    draft: DraftModelOptions,
    projector: ProjectorOptions,
    sampling: SamplingOptions,
    context: ContextOptions,
    prompt_cache: PromptCacheOptions,
    resident: ResidentOptions,
    remote: RemoteOptions,
    common: CommonOptions,
    reread: Reread,
) -> None:
    """Talk to a model.

    Enter sends, Alt-Enter or Ctrl-J starts a new line, Ctrl-C stops an answer and keeps its text, Ctrl-D leaves. /help lists
    the commands. The model loads while you type the first message, and each turn evaluates only the new tokens.

    The text of documents (-f, /file) goes with the next message, and images and sounds (-f, /image, /audio) if the model takes
    them; so does a file that is dropped on the terminal.

    With --index each message comes with the passages of an index that fit it, and answers cite them; /index off stops that.

    With --url a server answers; /model FILE goes on here, and /model NAME with a model of the server or of the settings.
    """
    if sessions.list:
        list_sessions(app.console, alone=prompt is None and not sessions.resume and not reread.given("session"))
        return
    entries = read_entries(app.console, screen.script)
    sessions.check()
    if prompt is not None and not prompt.strip():
        raise UsageError("the prompt is empty")
    sampling.params()
    filled = fill_template(app.console, template)
    answers = AnswerOptions(
        conversation=conversation,
        generation=generation,
        model=model,
        draft=draft,
        projector=projector,
        sampling=sampling,
        context=context,
        prompt_cache=prompt_cache.unless(not sessions.save),
        resident=resident,
        remote=remote,
    )
    tool_setup = read_tools(app.console, tools.tools, tool_calls, expected=reread.given("allow_tool"))
    models = answers.models(app, reread, first_kinds(documents))
    access = documents.access(offline=model.offline, child=resident.child(model))
    documents.check(is_recursive_given=reread.given("recursive"))
    with (
        decoding_in_child(model.child()),
        closing_servers(tool_setup.servers),
        open_index(app, index, model, remote, keep_alive=resident.keep_alive) as index_setup,
        open_sessions(sessions) as session_setup,
    ):
        setup = ChatSetup(
            models=models,
            screen=make_screen(app.console),
            host=make_host(app, access, screen),
            prompt_line=make_prompt_line(screen, saves=sessions.save),
            sessions=session_setup,
            tools=tool_setup,
            index=index_setup,
            system=conversation.system_prompt,
            profile=common.profile,
            attachments=read_first(app.console, documents, access),
            prompt=prompt if filled is None else filled.first_message(prompt),
            wrap=filled.prompt if filled is not None and filled.template.uses_input else None,
            opening=() if filled is None else filled.messages,
            plain=screen.plain,
        )
        run_chat(setup, entries)


chat.changes_models = True


def make_host(app: AppContext, access: Access, screen: TerminalOptions) -> Host:
    """Return the services of the command line for a conversation."""
    return Host(
        guard=lambda: app.interrupts.guard(grace=None),
        progress=app.progress,
        read_documents=reader(app.console, access),
        read_media=read_media,
        is_media=is_media,
        thumbnail=thumbnail_writer(app.console, screen.thumbnails),
        read_constraint=lambda kind, given: read_constraint(app.console, kind, given),
        read_bias=parse_logit_bias,
        flag_of=flag_of,
    )


def make_prompt_line(options: TerminalOptions, *, saves: bool) -> PromptLine:
    """Return the settings of the prompt line."""
    history = paths.data_dir() / "chat-history" if options.keep_history and saves else None
    return PromptLine(history=history, editing=options.editing)


def run_chat(setup: ChatSetup, entries: tuple[str, ...] | None) -> None:
    """Run the conversation, with a user or from a script."""
    if entries is None:
        from llamacli.repl.app.loop import converse

        converse(setup)
    else:
        from llamacli.repl.script import play

        play(setup, entries)
