"""`/grammar` and `/schema`: what the next answers are held to."""

from __future__ import annotations

from llamacli.errors import LlamacliError
from llamacli.repl.commands.registry import command
from llamacli.repl.conversation.state import Chat
from llamacli.repl.setup import HeldTo


@command(
    "grammar",
    arguments="[FILE | GBNF | off]",
    summary="Hold answers to a grammar: file, built-in name or text",
    completes="files",
    choices=("off",),
)
def grammar(chat: Chat, argument: str) -> None:
    """Shows it, changes it or takes it away."""
    _hold(chat, "grammar", argument)


@command(
    "schema",
    arguments="[FILE | JSON | off]",
    summary="Hold answers to a JSON schema: file or text",
    completes="files",
    choices=("off",),
)
def schema(chat: Chat, argument: str) -> None:
    """Shows it, changes it or takes it away."""
    _hold(chat, "schema", argument)


def _hold(chat: Chat, kind: HeldTo, argument: str) -> None:
    screen = chat.setup.screen
    if argument == "off":
        if chat.held is not None and chat.held.kind != kind:
            screen.say(f"answers are held to a {chat.held.kind}; /{chat.held.kind} off takes it away")
            return
        chat.held = None
        screen.say("answers are held to nothing")
    elif argument:
        try:
            chat.held = chat.setup.read_held(kind, argument)
        except LlamacliError:
            if "\n" in argument or "::=" in argument or argument.startswith("{"):
                chat.draft = f"/{kind} {argument}"  # nobody types it twice
            raise
        screen.say(f"the next answers are held to this {kind}, until /{kind} off")
    elif chat.held is not None and chat.held.kind == kind:
        screen.show(chat.held.text)
    else:
        screen.say(f"answers are held to {f'a {chat.held.kind}' if chat.held is not None else 'nothing'}")
