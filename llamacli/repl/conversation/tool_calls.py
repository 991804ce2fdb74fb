"""The tools that an answer calls: each call is shown, checked, asked for, run, and its result given back to the model."""

from __future__ import annotations

import difflib
import threading
from typing import TYPE_CHECKING, Any

from llamacli.engine.chat.message import Message, ToolCall
from llamacli.errors import UsageError
from llamacli.render.chat.tool_calls import FoldedOutput, format_call
from llamacli.tools.outcome import Outcome, clipped
from llamacli.tools.toolbox import Toolbox

if TYPE_CHECKING:
    from llamacli.engine.engine import Engine
    from llamacli.repl.conversation.state import Chat

STOPPED = "[not run: the user stopped]"
_QUESTION = "run it? y(es), a(lways this tool), n(o) [REASON]: "
_YES, _ALWAYS, _NO = ("y", "yes"), ("a", "always"), ("n", "no")


def toolbox(chat: Chat) -> Toolbox | None:
    """The tools of the conversation, None if there are none; waits for MCP servers that start."""
    setup = chat.setup
    if setup.servers is not None and not chat.servers_joined:
        with setup.progress() as bar:
            offers = setup.servers.wait(lambda: bar.update("starting the MCP servers", 0, None))
        chat.servers_joined = True
        for problem in setup.servers.problems:
            setup.screen.warn(problem)
        if setup.toolbox is not None:
            setup.toolbox.add(offer for offer in offers if not _is_taken(chat, offer.tool.name))
            for name in setup.expected_tools:
                _check_expected(chat, setup.toolbox, name)
    return setup.toolbox


def rendering_of_tools(chat: Chat, engine: Engine) -> dict[str, Any]:
    """What `Rendering` needs to know of tools. A template that knows none is told of none, which is said once."""
    box = toolbox(chat)
    if box is None or not box.enabled:
        return {}
    if not engine.knows_tools(chat.model.template):
        if not chat.told_no_tools:
            chat.told_no_tools = True
            chat.setup.screen.warn(
                "the chat template of this model knows no tools, so it is told of none; --chat-template names another template"
            )
        return {}
    if chat.required_tool is None:
        return {"tools": box.enabled}
    chosen = tuple(tool for tool in box.enabled if chat.required_tool in ("", tool.name))
    return {"tools": chosen, "tool_choice": "required"} if chosen else {"tools": box.enabled}


def run_calls(chat: Chat, left: int) -> int | None:
    """Runs what the last message calls. How many calls may follow; None if there is nothing for the model to go on with.

    Raises:
        KeyboardInterrupt: the user stopped it. Every call has a result all the same, so that the conversation is well-formed.
    """
    calls = open_calls(chat)
    if not calls:
        return None
    try:
        for call in calls:
            if left == 0:
                chat.setup.screen.warn(
                    f"{chat.setup.max_tool_calls} calls of tools are the most for one message (--max-tool-calls)"
                )
                close_calls(chat, "[not run: there were too many calls]")
                return None
            left -= 1
            text, stopped = _answer_call(chat, call)
            chat.tree.add(result_message(call, text))
            if stopped:
                raise KeyboardInterrupt
    except KeyboardInterrupt:
        close_calls(chat, STOPPED)
        chat.setup.screen.say("[stopped]")
        raise
    return left


def open_calls(chat: Chat) -> tuple[ToolCall, ...]:
    """The calls at the end of the conversation that have no result yet."""
    for done, message in enumerate(reversed(chat.tree.messages())):
        if message.role != "tool":
            return message.tool_calls[done:]
    return ()


def close_calls(chat: Chat, text: str) -> None:
    """Gives every call without a result this one: no template takes a call without."""
    for call in open_calls(chat):
        chat.tree.add(result_message(call, text))


def result_message(call: ToolCall, text: str) -> Message:
    """A call's result as a message."""
    return Message("tool", text, tool_call_id=call.id, name=call.name)


def _answer_call(chat: Chat, call: ToolCall) -> tuple[str, bool]:
    """What the model is told, and whether the user stopped it."""
    screen, box = chat.setup.screen, chat.setup.toolbox
    screen.write(screen.marked("tool ") + format_call(call.name, call.arguments, screen.size()[0] - 6) + "\n")
    try:
        if box is None:
            raise UsageError("there are no tools in this conversation")
        arguments = box.check(call.name, call.arguments)
    except UsageError as error:
        screen.say(f"  not run: {error.message[:500]}")
        return f"[not run: {clipped(error.message)}]", False
    if call.name not in box.allowed:
        refusal = _ask(chat, box, call)
        if refusal is not None:
            return refusal, False
    return _run(chat, box, call.name, arguments)


def _ask(chat: Chat, box: Toolbox, call: ToolCall) -> str | None:
    """Asks for a call. None if it may run, else what the model is told. Raises KeyboardInterrupt for Ctrl-C and Ctrl-D."""
    screen = chat.setup.screen
    screen.say(f"  it is {box.find(call.name).origin}")
    while True:
        try:
            typed = chat.ask(_QUESTION).strip()
        except EOFError:
            raise KeyboardInterrupt from None
        word, _, reason = typed.partition(" ")
        if word.lower() in _NO:
            because = f": {reason.strip()}" if reason.strip() else ""
            return f"[not run: the user does not allow it{because}]"
        if typed.lower() in _ALWAYS:
            box.allowed.add(call.name)
            return None
        if typed.lower() in _YES:
            return None
        if typed.lower() == "v":
            screen.write(format_call(call.name, call.arguments, screen.size()[0] - 1, whole=True) + "\n")


def _run(chat: Chat, box: Toolbox, name: str, arguments: str) -> tuple[str, bool]:
    screen, cancelled = chat.setup.screen, threading.Event()
    view = FoldedOutput(screen.write, screen.size()[0], color=screen.color)
    outcome = Outcome("", "[stopped by the user]", failed=True)
    try:
        with chat.setup.guard() as guard:
            guard.cancel = cancelled.set
            outcome = box.find(name).run(arguments, cancelled, view.add)
    except KeyboardInterrupt:
        cancelled.set()
    if outcome.note:
        view.add(("\n" if outcome.output and not outcome.output.endswith("\n") else "") + outcome.note)
    view.finish("/tools last")
    chat.last_result = outcome.text
    return outcome.text, cancelled.is_set()


def _check_expected(chat: Chat, box: Toolbox, name: str) -> None:
    there = [offer.tool.name for offer in box.offers]
    if name not in there:
        near = difflib.get_close_matches(name, there, n=1)
        chat.setup.screen.warn(f"--allow-tool {name}: there is no such tool" + (f" (did you mean {near[0]}?)" if near else ""))


def _is_taken(chat: Chat, name: str) -> bool:
    taken = chat.setup.toolbox is not None and any(offer.tool.name == name for offer in chat.setup.toolbox.offers)
    if taken:
        chat.setup.screen.warn(f"the tool {name} of an MCP server is left out: another one has this name")
    return taken
