"""`/tools`: which tools there are, and which the model may use."""

from __future__ import annotations

from llamacli.errors import UsageError
from llamacli.repl.commands.registry import command
from llamacli.repl.conversation.state import Chat
from llamacli.repl.conversation.tool_calls import toolbox
from llamacli.tools.toolbox import Toolbox


@command(
    "tools",
    arguments="[on|off|allow|ask NAME… | call [NAME] | last]",
    summary="List, switch, allow or require tools; show a result",
    completes="tools",
    choices=("on", "off", "allow", "ask", "call", "last"),
)
def tools(chat: Chat, argument: str) -> None:
    """`allow` runs a tool without asking, `ask` takes that back, `call` makes the next answer call one."""
    word, *names = argument.split()[:100] or [""]
    if word == "last":
        chat.setup.screen.show(chat.last_result or "no tool was called yet")
        return
    box = toolbox(chat)
    if box is None or not len(box):
        raise UsageError("there are no tools", hint="llamacli chat --tools FILE or --mcp FILE brings some")
    if word == "call":
        _require(chat, box, names)
    elif word in _SWITCHES and names:
        for name in box_names(box, names):
            _SWITCHES[word](box, name)
    elif word:
        raise UsageError("/tools takes on, off, allow or ask with names, call or last")
    _list(chat, box)


def box_names(box: Toolbox, names: list[str]) -> list[str]:
    """The names, `all` being every one. Raises UsageError for one that there is not."""
    if names == ["all"]:
        return [offer.tool.name for offer in box.offers]
    return [box.find(name).tool.name for name in names]


def _require(chat: Chat, box: Toolbox, names: list[str]) -> None:
    if chat.held is not None:
        raise UsageError(f"answers are held to a {chat.held.kind}, and call no tools", hint=f"/{chat.held.kind} off")
    if not chat.engine().knows_tools(chat.model.template):
        raise UsageError("the chat template of this model knows no tools", hint="--chat-template names another one")
    chat.required_tool = box_names(box, names[:1])[0] if names else ""
    if chat.required_tool and not box.is_enabled(chat.required_tool):
        chat.required_tool = None
        raise UsageError(f"the tool {names[0]} is off", hint=f"/tools on {names[0]}")
    chat.setup.screen.say(f"the next answer calls {chat.required_tool or 'a tool'}")


def _list(chat: Chat, box: Toolbox) -> None:
    """A line for each: whether it is on, whether it is asked for, what it is for."""
    width = max(len(offer.tool.name) for offer in box.offers)
    lines = []
    for offer in box.offers:
        name = offer.tool.name
        state = "off  " if not box.is_enabled(name) else "runs " if name in box.allowed else "asks "
        about = " ".join((offer.tool.description or offer.origin).split())
        lines.append(f"{state} {name:<{width}}  {about}"[: max(chat.setup.screen.size()[0] - 1, 20)])
    chat.setup.screen.show("\n".join(lines))


_SWITCHES = {
    "on": lambda box, name: box.switch(name, on=True),
    "off": lambda box, name: box.switch(name, on=False),
    "allow": lambda box, name: box.allowed.add(name),
    "ask": lambda box, name: box.allowed.discard(name),
}
