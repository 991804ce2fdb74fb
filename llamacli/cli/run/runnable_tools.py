"""The tools of `run --run-tools`: read, started, and asked about on the terminal."""

from __future__ import annotations

import dataclasses
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from llamacli.cli.framework.context import AppContext
from llamacli.cli.framework.inputs.tools import closing_servers, read_tools
from llamacli.cli.framework.terminal.question import ask, can_ask
from llamacli.cli.run.options import Asked, ToolOptions
from llamacli.engine.chat.message import choose_tools
from llamacli.engine.chat.question import Question
from llamacli.errors import UsageError
from llamacli.repl.conversation.call_screen import CallScreen
from llamacli.repl.screen import Screen
from llamacli.tools.loop import ToolLoop
from llamacli.tools.setup import join_servers
from llamacli.tools.toolbox import Toolbox


@dataclass(frozen=True, slots=True)
class RunnableTools:
    """Tools that run when the model calls them."""

    app: AppContext
    box: Toolbox
    options: ToolOptions
    max_calls: int

    def offered(self, question: Question) -> Question:
        """Return the question with the tools that --tool-choice admits, and without its constraint.

        Raises:
            UsageError: if --tool-choice names an unknown tool.
        """
        tools, choice = choose_tools(self.box.enabled, self.options.tool_choice)
        return self._with(question, tools=tools, tool_choice=choice, constraint=None)

    def reoffered(self, question: Question) -> Question:
        """Return the question after an answer: a required call is made, and all tools may be called."""
        if question.tool_choice != "required":
            return question
        return self._with(question, tools=self.box.enabled, tool_choice="auto")

    def loop(self) -> ToolLoop:
        """Return the loop that runs the calls; they are shown on standard error."""
        console, interrupts = self.app.console, self.app.interrupts

        def answer_of_user(question: str) -> str:
            with interrupts.guard():  # without work to cancel, so that Ctrl-C ends the question
                return ask(console, question)

        screen = Screen(
            console.write_error,
            lambda: (console.width, shutil.get_terminal_size().lines),
            color=console.stderr_color,
            live=console.terminals.stderr,
        )
        host = CallScreen(
            screen=screen,
            box=self.box,
            ask=answer_of_user,
            guard=lambda: interrupts.guard(grace=None),
            more="--json has them all",
        )
        return ToolLoop(self.box, host, self.max_calls)

    def _with(self, question: Question, **changes: object) -> Question:
        parallel = self.options.parallel_tool_calls
        return dataclasses.replace(question, parallel_tool_calls=parallel, **changes)  # type: ignore[arg-type]


@contextmanager
def open_tools(app: AppContext, asked: Asked) -> Iterator[RunnableTools]:
    """Read the tools and start the MCP servers, until the end of the block.

    Raises:
        UsageError: if a file is invalid, or there is no terminal and no tool may run without asking.
    """
    setup = read_tools(app.console, asked.tools.tools, asked.tool_calls, expected=asked.expects_allowed)
    box = setup.toolbox
    assert box is not None  # the command has checked that there are files
    with closing_servers(setup.servers):
        if setup.servers is not None:
            setup.servers.start()
        with app.progress() as bar:
            join_servers(setup, lambda: bar.update("starting the MCP servers", 0, None), app.console.warn)
        if not can_ask(app.console):
            _leave_out_unallowed(app, box)
        yield RunnableTools(app, box, asked.tools, setup.max_calls)


def _leave_out_unallowed(app: AppContext, box: Toolbox) -> None:
    """Switch off the tools that would need permission. Raises UsageError if none is left."""
    unallowed = [tool.name for tool in box.enabled if tool.name not in box.allowed]
    for name in unallowed:
        box.switch(name, on=False)
    if not box.enabled:
        known = f": {', '.join(unallowed)}" if unallowed else ""
        raise UsageError("without a terminal to ask on, no tool may run", hint=f"--allow-tool NAME allows one{known}")
    if unallowed:
        app.console.note(f"without a terminal to ask on, only tools of --allow-tool are offered, not {', '.join(unallowed)}")
