"""`llamacli help`: the guides, and the help of commands."""

from __future__ import annotations

import difflib
from typing import TYPE_CHECKING, Annotated, Any

import typer

from llamacli.cli.framework.command import Group, command
from llamacli.cli.framework.context import AppContext
from llamacli.cli.framework.help import format_help
from llamacli.cli.framework.parameters import argument
from llamacli.cli.help.pager import show_paged
from llamacli.cli.help.topics import TOPICS, Topic, find_topic
from llamacli.errors import UsageError

if TYPE_CHECKING:
    from llamacli.cli.framework.console import Console
    from llamacli.render.guide.blocks import Block, Table


@command(
    examples=(
        ("List the guides and the commands.", "llamacli help"),
        ("Read a guide.", "llamacli help pipelines"),
        ("Read the help of a command.", "llamacli help bench compare"),
    ),
)
def help(  # noqa: A001
    app: AppContext,
    topic: Annotated[tuple[str, ...], argument(metavar="TOPIC", help="A guide, or a command.")] = (),
) -> None:
    """Show a guide or the help of a command.

    Without TOPIC, list the guides and the commands. On a terminal the text is shown through $LLAMACLI_PAGER, $PAGER or less.
    If a guide and a command share a name, such as chat, the guide is shown; `llamacli chat --help` shows the command.
    """
    found = find_topic(topic[0]) if len(topic) == 1 else None
    if not topic:
        show_paged(app, _overview(app.console))
    elif found is not None:
        show_paged(app, _guide(found, app.console))
    else:
        show_paged(app, _command_help(topic, app.console))


help.reads_settings = False  # it must work when the settings are broken


def _overview(console: Console) -> str:
    from llamacli.cli.registry import REGISTRY
    from llamacli.render.guide.blocks import Heading, Span

    blocks: list[Block] = [
        Heading(2, (Span("Guides: llamacli help GUIDE"),)),
        _rows((topic.name, topic.summary) for topic in TOPICS),
        Heading(2, (Span("Commands: llamacli COMMAND --help"),)),
        _rows((entry.name, entry.summary) for entry in REGISTRY),
    ]
    return _laid_out("llamacli: run local language models from the terminal", blocks, console)


def _guide(topic: Topic, console: Console) -> str:
    from llamacli.render.guide.blocks import Heading, Span, parse_guide

    related = [
        *((f"llamacli {name.replace('-', ' ')} --help", "") for name in topic.commands),
        *((f"llamacli help {name}", _summary(name)) for name in topic.guides),
    ]
    blocks = [*parse_guide(topic.read()), Heading(2, (Span("See also"),)), _rows(related)]
    return _laid_out(f"{topic.page}: {topic.summary}", blocks, console)


def _summary(name: str) -> str:
    topic = find_topic(name)
    assert topic is not None
    return topic.summary


def _command_help(words: tuple[str, ...], console: Console) -> str:
    """The help of a command or a group: `("bench", "compare")`. Raises UsageError for one that does not exist."""
    from llamacli.cli.program import Program
    from llamacli.cli.registry import REGISTRY

    owner: Any = Program(REGISTRY)
    ctx = typer.Context(owner, info_name="llamacli")
    for word in words:
        names = owner.list_commands(ctx) if isinstance(owner, Group) else list(owner.groups)
        if word not in names:
            guides = [topic.name for topic in TOPICS] if word is words[0] else []
            near = difflib.get_close_matches(word, [*guides, *names], n=1)
            hint = f"did you mean {near[0]}?" if near else "`llamacli help` lists the guides and the commands"
            raise UsageError(f"no help about {' '.join(words)}", hint=hint)
        if isinstance(owner, Group):
            owner = owner.get_command(ctx, word)
            ctx = typer.Context(owner, info_name=word, parent=ctx)
        else:  # its arguments are not part of the call: `llamacli embed index add`
            owner = owner.group(word)
            ctx = typer.Context(owner, info_name=f"{ctx.command_path} {word}")
    return format_help(ctx, width=console.width, bold=lambda text: console.styled(text, "bold", stdout=True))


def _rows(rows: Any) -> Table:
    from llamacli.render.guide.blocks import Span, Table

    return Table(((), ()), tuple(((Span(name),), (Span(text),) if text else ()) for name, text in rows))


def _laid_out(title: str, blocks: list[Block], console: Console) -> str:
    from llamacli.render.guide.layout import format_guide

    return format_guide(title, blocks, width=console.width, bold=lambda text: console.styled(text, "bold", stdout=True))
