"""Tool calls before a user: each is shown on the screen, confirmed by a typed answer, and run with its output folded."""

from __future__ import annotations

import threading
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass

from llamacli.engine.chat.message import ToolCall
from llamacli.render.chat.tool_calls import FoldedOutput, format_call
from llamacli.repl.screen import Screen
from llamacli.repl.setup import Cancelling
from llamacli.tools.outcome import Outcome
from llamacli.tools.toolbox import Offer, Toolbox

_QUESTION = "run it? y(es), a(lways this tool), n(o) [REASON]: "
_YES, _ALWAYS, _NO = ("y", "yes"), ("a", "always"), ("n", "no")


@dataclass(frozen=True, slots=True, kw_only=True)
class CallScreen:
    """A `tools.loop.CallHost` on a screen.

    `ask` puts a question to the user and returns the typed line. `guard` cancels a call on Ctrl-C. `more` says where the hidden
    rows of a result are to be found, `on_result` receives each result.
    """

    screen: Screen
    box: Toolbox | None
    ask: Callable[[str], str]
    guard: Callable[[], AbstractContextManager[Cancelling]]
    more: str
    on_result: Callable[[str], None] = lambda text: None

    def show(self, call: ToolCall) -> None:
        """Show a call."""
        screen = self.screen
        screen.write(screen.label("tool ") + format_call(call.name, call.arguments, screen.size()[0] - 6) + "\n")

    def note(self, line: str) -> None:
        """Show a dim line."""
        self.screen.note(line)

    def permit(self, call: ToolCall, offer: Offer) -> str | None:
        """Ask for permission. Return None if the call may run, else the result for the model.

        Raises:
            KeyboardInterrupt: on Ctrl-C and Ctrl-D.
        """
        self.screen.note(f"  this runs: {offer.origin}")
        while True:
            try:
                typed = self.ask(_QUESTION).strip()
            except EOFError:
                raise KeyboardInterrupt from None
            word, _, reason = typed.partition(" ")
            if word.lower() in _NO:
                because = f": {reason.strip()}" if reason.strip() else ""
                return f"[not run: the user does not allow it{because}]"
            if typed.lower() in _ALWAYS and self.box is not None:
                self.box.allowed.add(call.name)
                return None
            if typed.lower() in _YES:
                return None
            if typed.lower() == "v":
                self.screen.write(format_call(call.name, call.arguments, self.screen.size()[0] - 1, whole=True) + "\n")

    def run(self, offer: Offer, arguments: str) -> tuple[Outcome, bool]:
        """Run a call and show its output. Return its outcome, and whether the user stopped it."""
        screen, cancelled = self.screen, threading.Event()
        view = FoldedOutput(screen.write, screen.size()[0], color=screen.color)
        outcome = Outcome("", "[stopped by the user]", failed=True)
        try:
            with self.guard() as guard:
                guard.cancel = cancelled.set
                outcome = offer.run(arguments, cancelled, view.add)
        except KeyboardInterrupt:
            cancelled.set()
        if outcome.note:
            view.add(("\n" if outcome.output and not outcome.output.endswith("\n") else "") + outcome.note)
        view.finish(self.more)
        self.on_result(outcome.text)
        return outcome, cancelled.is_set()
