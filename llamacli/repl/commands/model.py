"""`/model`: the conversation goes on with another model."""

from __future__ import annotations

import dataclasses
from typing import Any

from llamacli.engine.params import GenerationParams
from llamacli.repl.commands.registry import command
from llamacli.repl.conversation.kv_state import expect_state, keep_state
from llamacli.repl.conversation.state import Chat


@command("model", arguments="[MODEL]", summary="Show the model, or go on with another one", completes="models")
def model(chat: Chat, argument: str) -> None:
    """Each message is put into the new model's template, and the settings for that model count, but for what `/set` changed.

    If it cannot be loaded, the old one goes on.
    """
    screen = chat.setup.screen
    if not argument:
        engine = chat.engine()
        screen.show(f"{chat.model.name}: {engine.description}, a context of {engine.n_ctx} tokens")
        return
    found = chat.setup.find_model(argument)
    keep_state(chat)
    old = chat.loader
    old.close()  # two models at once may not fit
    chat.loader = old.successor(found.load)
    chat.loader.start()
    try:
        chat.engine()
    except BaseException:
        chat.loader.close()
        chat.loader = old.successor()
        expect_state(chat)
        chat.loader.start()
        screen.warn(f"{found.name} cannot be used; the conversation goes on with {chat.model.name}")
        raise
    set_here = {name: value for name, value in _fields(chat.generation) if value != getattr(chat.model.generation, name)}
    chat.model, chat.generation = found, dataclasses.replace(found.generation, **set_here)
    chat.measured = chat.first_seen = chat.compacted = None
    chat.largest_context = 0
    chat.told_no_tools = False
    chat.traces.clear()
    if chat.saver is not None and chat.saver.session is not None:
        chat.saver.moved(chat.tree.head)
    screen.say(f"the conversation goes on with {found.name}")


def _fields(params: GenerationParams) -> list[tuple[str, Any]]:
    return [(field.name, getattr(params, field.name)) for field in dataclasses.fields(params)]
