"""The tool calls of an answer: each is shown, checked, confirmed and run, and its result is returned to the model."""

from __future__ import annotations

import difflib
import threading
from typing import TYPE_CHECKING, Any

from llamacli.engine.chat.message import Message, ToolCall
from llamacli.errors import UsageError
from llamacli.render.chat.tool_calls import FoldedOutput, format_call
from llamacli.repl.conversation.state import Chat
from llamacli.tools.outcome import Outcome, clipped
from llamacli.tools.toolbox import Toolbox

if TYPE_CHECKING:
    from llamacli.backend.protocol import Backend

STOPPED = "[not run: the user stopped]"
_QUESTION = "run it? y(es), a(lways this tool), n(o) [REASON]: "
_YES, _ALWAYS, _NO = ("y", "yes"), ("a", "always"), ("n", "no")


def open_toolbox(chat: Chat) -> Toolbox | None:
    """Return the tools of the conversation, or None. Wait for MCP servers that are starting."""
    tools = chat.setup.tools
    if tools.servers is not None and not chat.tools.servers_joined:
        with chat.setup.host.progress() as bar:
            offers = tools.servers.wait(lambda: bar.update("starting the MCP servers", 0, None))
        chat.tools.servers_joined = True
        for problem in tools.servers.problems:
            chat.setup.screen.warn(problem)
        if tools.toolbox is not None:
            tools.toolbox.add(offer for offer in offers if not _is_taken(chat, offer.tool.name))
            for name in tools.expected:
                _check_expected(chat, tools.toolbox, name)
    return tools.toolbox


def tool_rendering(chat: Chat, engine: Backend) -> dict[str, Any]:
    """Return the arguments of `Rendering` about tools. Warn once if the template knows no tools."""
    box = open_toolbox(chat)
    if box is None or not box.enabled:
        return {}
    if not chat.tools.warned_general_form and not engine.knows_tools(chat.model.found.template):
        chat.tools.warned_general_form = True
        chat.setup.screen.warn(
            "the chat template of this model does not support tools: the system message describes them in a general form, "
            "which the model may not know; --chat-template selects another template"
        )
    required, offered = chat.tools.required, {"tools": box.enabled, "parallel_tool_calls": True}
    if required is None:
        return offered
    chosen = tuple(tool for tool in box.enabled if required in ("", tool.name))
    return {**offered, "tools": chosen, "tool_choice": "required"} if chosen else offered


def run_calls(chat: Chat, left: int) -> int | None:
    """Run the calls of the last message, at most `left`. Return the number left, None if there is nothing to answer.

    Raises:
        KeyboardInterrupt: if the user stopped it. Every call gets a result all the same, so that the conversation is
            well-formed.
    """
    calls = open_calls(chat)
    if not calls:
        return None
    try:
        for call in calls:
            if left == 0:
                chat.setup.screen.warn(
                    f"stopped after {chat.setup.tools.max_calls} tool calls for one message (--max-tool-calls)"
                )
                close_calls(chat, "[not run: too many calls]")
                return None
            left -= 1
            text, stopped = _answer_call(chat, call)
            chat.tree.add(result_message(call, text))
            if stopped:
                raise KeyboardInterrupt
    except KeyboardInterrupt:
        close_calls(chat, STOPPED)
        chat.setup.screen.note("[stopped]")
        raise
    return left


def open_calls(chat: Chat) -> tuple[ToolCall, ...]:
    """Return the calls at the end of the conversation that have no result yet."""
    for done, message in enumerate(reversed(chat.tree.messages())):
        if message.role != "tool":
            return message.tool_calls[done:]
    return ()


def close_calls(chat: Chat, text: str) -> None:
    """Add this result to every call without one: templates reject a call without a result."""
    for call in open_calls(chat):
        chat.tree.add(result_message(call, text))


def result_message(call: ToolCall, text: str) -> Message:
    """Return the result of a call as a message."""
    return Message("tool", text, tool_call_id=call.id, name=call.name)


def _answer_call(chat: Chat, call: ToolCall) -> tuple[str, bool]:
    """Return the result for the model, and whether the user stopped the call."""
    screen, box = chat.setup.screen, chat.setup.tools.toolbox
    screen.write(screen.label("tool ") + format_call(call.name, call.arguments, screen.size()[0] - 6) + "\n")
    try:
        if box is None:
            raise UsageError("this conversation has no tools")
        arguments = box.check(call.name, call.arguments)
    except UsageError as error:
        screen.note(f"  not run: {error.message[:500]}")
        return f"[not run: {clipped(error.message)}]", False
    if call.name not in box.allowed:
        refusal = _confirm(chat, box, call)
        if refusal is not None:
            return refusal, False
    return _run(chat, box, call.name, arguments)


def _confirm(chat: Chat, box: Toolbox, call: ToolCall) -> str | None:
    """Ask for permission. Return None if the call may run, else the result for the model.

    Raises:
        KeyboardInterrupt: on Ctrl-C and Ctrl-D.
    """
    screen = chat.setup.screen
    screen.note(f"  this runs: {box.find(call.name).origin}")
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
        with chat.setup.host.guard() as guard:
            guard.cancel = cancelled.set
            outcome = box.find(name).run(arguments, cancelled, view.add)
    except KeyboardInterrupt:
        cancelled.set()
    if outcome.note:
        view.add(("\n" if outcome.output and not outcome.output.endswith("\n") else "") + outcome.note)
    view.finish("/tools last")
    chat.tools.last_result = outcome.text
    return outcome.text, cancelled.is_set()


def _check_expected(chat: Chat, box: Toolbox, name: str) -> None:
    names = [offer.tool.name for offer in box.offers]
    if name not in names:
        near = difflib.get_close_matches(name, names, n=1)
        chat.setup.screen.warn(f"--allow-tool: unknown tool {name}" + (f" (did you mean {near[0]}?)" if near else ""))


def _is_taken(chat: Chat, name: str) -> bool:
    box = chat.setup.tools.toolbox
    taken = box is not None and any(offer.tool.name == name for offer in box.offers)
    if taken:
        chat.setup.screen.warn(f"ignoring the tool {name} of an MCP server: another tool has this name")
    return taken
