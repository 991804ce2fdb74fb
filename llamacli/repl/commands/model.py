"""`/model`: the conversation continues with another model."""

from __future__ import annotations

import dataclasses
from typing import Any

from llamacli.engine.media.media import NOUNS
from llamacli.engine.params import GenerationParams
from llamacli.repl.commands.registry import command
from llamacli.repl.conversation.kv_state import expect_state, keep_state
from llamacli.repl.conversation.state import Chat
from llamacli.repl.setup import FoundModel


@command("model", arguments="[MODEL]", summary="Show the model, or continue with another one", completes="models")
def model(chat: Chat, argument: str) -> None:
    """Render the messages with the new model's template, with its settings except for what `/set` changed.

    If it cannot be loaded, the old one stays.
    """
    screen = chat.setup.screen
    if not argument:
        engine = chat.engine()
        size = f"context of {engine.n_ctx} tokens" if engine.n_ctx else "context of unknown size"
        screen.show_row(f"{chat.model.found.name}: ", f"{engine.description}, {size}")
        return
    found = chat.setup.models.find(argument)
    _load(chat, found)
    settings, old = chat.settings, chat.model.found.generation
    changed = {name: value for name, value in _fields(settings.generation) if value != getattr(old, name)}
    chat.model.found = found
    settings.generation = dataclasses.replace(found.generation, **changed)
    chat.forget_answers()
    chat.window.size = 0
    chat.tools.warned_general_form = False
    if chat.session.journal is not None and chat.session.current is not None:
        chat.session.journal.moved(chat.tree.head)
    screen.note(f"the conversation continues with {found.name}")
    _check_media(chat)


def _load(chat: Chat, found: FoundModel) -> None:
    """Load a model in place of the current one, which is loaded again if that fails."""
    keep_state(chat)
    old = chat.model.loader
    old.close()  # two models at once may not fit in memory
    chat.model.loader = old.successor(found.load)
    chat.model.loader.start()
    try:
        chat.engine()
    except BaseException:
        chat.model.loader.close()
        chat.model.loader = old.successor()
        expect_state(chat)
        chat.model.loader.start()
        chat.setup.screen.warn(f"cannot load {found.name}; the conversation continues with {chat.model.found.name}")
        raise


def _check_media(chat: Chat) -> None:
    """Take back the images and sounds that the model does not take, and warn of those in the conversation."""
    screen, takes, name = chat.setup.screen, chat.engine().describe().takes, chat.model.found.name
    for one in list(chat.turn.attachments):
        if one.media is not None and one.media.kind not in takes:
            chat.turn.attachments.remove(one)
            screen.note(f"{one.name} is not sent: {name} takes no {NOUNS[one.media.kind]}")
    kinds = dict.fromkeys(media.kind for message in chat.tree.messages() for media in message.media)
    if refused := [NOUNS[kind] for kind in kinds if kind not in takes]:
        words = " and ".join(refused)
        screen.warn(f"the conversation has {words}, which {name} does not take: /clear begins without, /model goes back")


def _fields(params: GenerationParams) -> list[tuple[str, Any]]:
    return [(field.name, getattr(params, field.name)) for field in dataclasses.fields(params)]
