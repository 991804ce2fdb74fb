"""`/tools`: the tools of the conversation, and which of them the model may use."""

from __future__ import annotations

from llamacli.errors import UsageError
from llamacli.render.wrap import cut
from llamacli.repl.commands.registry import command
from llamacli.repl.conversation.state import Chat
from llamacli.repl.conversation.tool_calls import open_toolbox
from llamacli.tools.toolbox import Toolbox

_MAX_DESCRIPTION = 200
"""Columns of a description in the list."""


@command(
    "tools",
    arguments="[on|off|allow|ask NAME… | call [NAME] | last]",
    summary="List, enable, allow or require tools; last result",
    completes="tools",
    choices=("on", "off", "allow", "ask", "call", "last"),
)
def tools(chat: Chat, argument: str) -> None:
    """Change tools: `allow` runs one without asking, `ask` reverts that, `call` makes the next answer call one."""
    word, *names = argument.split()[:100] or [""]
    if word == "last":
        chat.setup.screen.show(chat.tools.last_result or "no tool was called yet")
        return
    box = open_toolbox(chat)
    if box is None or not len(box):
        raise UsageError("this conversation has no tools", hint="llamacli chat --tools FILE or --mcp FILE adds some")
    if word == "call":
        _require(chat, box, names)
    elif word in _SWITCHES and names:
        for name in _names_in(box, names):
            _SWITCHES[word](box, name)
    elif word:
        raise UsageError("/tools needs on, off, allow or ask with names, call or last")
    _list(chat, box)


def _names_in(box: Toolbox, names: list[str]) -> list[str]:
    """Return the names, every name for `all`.

    Raises:
        UsageError: if a name is unknown.
    """
    if names == ["all"]:
        return [offer.tool.name for offer in box.offers]
    return [box.find(name).tool.name for name in names]


def _require(chat: Chat, box: Toolbox, names: list[str]) -> None:
    constraint = chat.settings.constraint
    if constraint is not None:
        raise UsageError(
            f"answers that are constrained by a {constraint.kind} cannot call tools", hint=f"/{constraint.kind} off"
        )
    chat.tools.required = _names_in(box, names[:1])[0] if names else ""
    if chat.tools.required and not box.is_enabled(chat.tools.required):
        chat.tools.required = None
        raise UsageError(f"the tool {names[0]} is off", hint=f"/tools on {names[0]}")
    chat.setup.screen.note(f"the next answer calls {chat.tools.required or 'a tool'}")


def _list(chat: Chat, box: Toolbox) -> None:
    """Show a line for each tool: its state and the beginning of its description."""
    screen = chat.setup.screen
    column = max(len(offer.tool.name) for offer in box.offers)
    for offer in box.offers:
        name = offer.tool.name
        state = "off " if not box.is_enabled(name) else "runs" if name in box.allowed else "asks"
        about = " ".join((offer.tool.description or offer.origin).split())
        screen.show_row(f"{state}  {name:<{column}}  ", cut(about, _MAX_DESCRIPTION))


_SWITCHES = {
    "on": lambda box, name: box.switch(name, on=True),
    "off": lambda box, name: box.switch(name, on=False),
    "allow": lambda box, name: box.allowed.add(name),
    "ask": lambda box, name: box.allowed.discard(name),
}
