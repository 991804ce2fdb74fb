"""The tools of a conversation: what the model is offered, and the calls of its last message."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from llamacli.engine.chat.message import ToolCall
from llamacli.repl.conversation.call_screen import CallScreen
from llamacli.repl.conversation.state import Chat
from llamacli.tools.loop import STOPPED, ToolLoop, result_message
from llamacli.tools.setup import join_servers
from llamacli.tools.toolbox import Toolbox

if TYPE_CHECKING:
    from llamacli.backend.protocol import Backend


def open_toolbox(chat: Chat) -> Toolbox | None:
    """Return the tools of the conversation, or None. Wait for MCP servers that are starting."""
    tools = chat.setup.tools
    if tools.servers is not None and not chat.tools.servers_joined:
        with chat.setup.host.progress() as bar:
            join_servers(tools, lambda: bar.update("starting the MCP servers", 0, None), chat.setup.screen.warn)
        chat.tools.servers_joined = True
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


def tool_loop(chat: Chat) -> ToolLoop:
    """Return the loop that runs the calls of the conversation."""

    def keep(result: str) -> None:
        chat.tools.last_result = result

    box = chat.setup.tools.toolbox
    host = CallScreen(
        screen=chat.setup.screen,
        box=box,
        ask=chat.ask,
        guard=chat.setup.host.guard,
        more="/tools last",
        on_result=keep,
    )
    return ToolLoop(box, host, chat.setup.tools.max_calls)


def open_calls(chat: Chat) -> tuple[ToolCall, ...]:
    """Return the calls at the end of the conversation that have no result yet."""
    for done, message in enumerate(reversed(chat.tree.messages())):
        if message.role != "tool":
            return message.tool_calls[done:]
    return ()


def close_calls(chat: Chat) -> None:
    """Add a result to every call without one: templates reject a call without a result."""
    for call in open_calls(chat):
        chat.tree.add(result_message(call, STOPPED))
