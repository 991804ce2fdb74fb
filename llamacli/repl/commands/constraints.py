"""`/grammar` and `/schema`: the constraint of the next answers."""

from __future__ import annotations

from llamacli.errors import LlamacliError
from llamacli.repl.commands.registry import command
from llamacli.repl.conversation.state import Chat
from llamacli.repl.setup import ConstraintKind


@command(
    "grammar",
    arguments="[FILE | GBNF | off]",
    summary="Constrain answers by a grammar: file, name or text",
    completes="files",
    choices=("off",),
)
def grammar(chat: Chat, argument: str) -> None:
    """Show, set or remove the grammar."""
    _constrain(chat, "grammar", argument)


@command(
    "schema",
    arguments="[FILE | JSON | off]",
    summary="Constrain answers by a JSON schema: file or text",
    completes="files",
    choices=("off",),
)
def schema(chat: Chat, argument: str) -> None:
    """Show, set or remove the schema."""
    _constrain(chat, "schema", argument)


def _constrain(chat: Chat, kind: ConstraintKind, argument: str) -> None:
    screen, settings = chat.setup.screen, chat.settings
    if argument == "off":
        if settings.constraint is not None and settings.constraint.kind != kind:
            other = settings.constraint.kind
            screen.note(f"answers are constrained by a {other}; /{other} off removes it")
            return
        settings.constraint = None
        screen.note("answers are not constrained")
    elif argument:
        try:
            settings.constraint = chat.setup.host.read_constraint(kind, argument)
        except LlamacliError:
            if "\n" in argument or "::=" in argument or argument.startswith("{"):
                chat.turn.draft = f"/{kind} {argument}"  # so that the user can correct it
            raise
        screen.note(f"the next answers are constrained by this {kind}, until /{kind} off")
    elif settings.constraint is not None and settings.constraint.kind == kind:
        screen.show(settings.constraint.given)
    elif settings.constraint is not None:
        screen.note(f"answers are constrained by a {settings.constraint.kind}")
    else:
        screen.note("answers are not constrained")
