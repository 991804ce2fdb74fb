"""`/model`: the conversation goes on with another model."""

from __future__ import annotations

from llamacli.repl.chat import Chat
from llamacli.repl.commands import command
from llamacli.repl.states import expect_state, keep_state


@command("model", arguments="[MODEL]", summary="Show the model, or go on with another one", completes="models")
def model(chat: Chat, argument: str) -> None:
    """Each message is put into the new model's template. If it cannot be loaded, the old one goes on."""
    screen = chat.setup.screen
    if not argument:
        engine = chat.engine()
        screen.show(f"{chat.model_name}: {engine.description}, a context of {engine.n_ctx} tokens")
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
        screen.warn(f"{found.name} cannot be used; the conversation goes on with {chat.model_name}")
        raise
    chat.model_name = found.name
    chat.measured = chat.first_seen = chat.compacted = None
    chat.largest_context = 0
    chat.told_no_tools = False
    chat.traces.clear()
    if chat.saver is not None and chat.saver.session is not None:
        chat.saver.moved(chat.tree.head)
    screen.say(f"the conversation goes on with {found.name}")
