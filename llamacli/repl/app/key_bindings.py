"""Key bindings that differ from those of prompt_toolkit."""

from __future__ import annotations

from collections.abc import Callable

from prompt_toolkit.application.current import get_app
from prompt_toolkit.enums import DEFAULT_BUFFER
from prompt_toolkit.filters import Condition, emacs_insert_mode, emacs_mode, has_focus, vi_insert_mode, vi_navigation_mode
from prompt_toolkit.key_binding import KeyBindings, KeyPressEvent

from llamacli.repl.app.external_editor import edit
from llamacli.repl.conversation.blocks import is_open_block


def make_bindings(hint: Callable[[str], None]) -> KeyBindings:
    """Return the bindings of the prompt line. `hint` shows a text until the next key."""
    bindings = KeyBindings()
    typing = has_focus(DEFAULT_BUFFER)

    @Condition
    def sends() -> bool:
        return not is_open_block(get_app().current_buffer.text)

    @bindings.add("enter", filter=typing & sends)
    def _send(event: KeyPressEvent) -> None:
        event.current_buffer.validate_and_handle()

    @bindings.add("c-j", filter=typing)
    @bindings.add("escape", "enter", filter=typing)
    def _newline(event: KeyPressEvent) -> None:
        event.current_buffer.newline(copy_margin=False)

    bindings.add("enter", filter=typing & ~sends & (emacs_insert_mode | vi_insert_mode))(_newline)

    @bindings.add("c-c", filter=typing)
    def _clear(event: KeyPressEvent) -> None:
        if event.current_buffer.text:
            event.current_buffer.reset()
        else:
            hint("Ctrl-D leaves")

    @bindings.add("c-z", filter=typing)
    def _suspend(event: KeyPressEvent) -> None:
        event.app.suspend_to_background()

    @bindings.add("c-o", filter=typing)
    def _editor(event: KeyPressEvent) -> None:
        event.app.create_background_task(edit(event.current_buffer, hint, sends=False))

    @bindings.add("c-x", "c-e", filter=typing & emacs_mode)
    @bindings.add("v", filter=typing & vi_navigation_mode)
    def _editor_that_sends(event: KeyPressEvent) -> None:
        event.app.create_background_task(edit(event.current_buffer, hint, sends=True))

    return bindings
