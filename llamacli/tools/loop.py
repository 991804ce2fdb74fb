"""The loop of answers and tool calls: each call is shown, checked, confirmed and run, and its result is added for the model."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

from llamacli.engine.chat.message import Message, ToolCall
from llamacli.errors import UsageError
from llamacli.tools.outcome import Outcome, clipped
from llamacli.tools.toolbox import Offer, Toolbox

STOPPED = "[not run: the user stopped]"
"""The result of a call that was not run because of Ctrl-C."""

_TOO_MANY = "[not run: too many calls]"
_LONGEST_REASON = 500


class CallHost(Protocol):
    """Shows calls to the user, asks for permission, and runs them."""

    def show(self, call: ToolCall) -> None:
        """Show a call before it is checked."""

    def note(self, line: str) -> None:
        """Show what became of a call."""

    def permit(self, call: ToolCall, offer: Offer) -> str | None:
        """Ask whether a call may run. Return None if it may, else the result for the model.

        Raises:
            KeyboardInterrupt: if the user stops everything.
        """

    def run(self, offer: Offer, arguments: str) -> tuple[Outcome, bool]:
        """Run a call. Return its outcome, and whether the user stopped it."""


@dataclass(frozen=True, slots=True)
class ToolLoop:
    """Answers of a model that may call the tools of a box (None: there are none), at most `max_calls` times."""

    box: Toolbox | None
    host: CallHost
    max_calls: int

    def run(self, answer: Callable[[], Sequence[ToolCall]], add: Callable[[Message], object]) -> bool:
        """Get an answer and add the results of its calls, until one calls nothing. Return False if there are too many calls.

        Raises:
            KeyboardInterrupt: if the user stopped it. Every call has a result all the same, so that the conversation is
                well-formed.
        """
        left = self.max_calls
        while calls := answer():
            self._run_calls(calls[:left], calls[left:], add)
            left -= len(calls)
            if left < 0:
                return False
        return True

    def _run_calls(self, calls: Sequence[ToolCall], surplus: Sequence[ToolCall], add: Callable[[Message], object]) -> None:
        done = 0
        try:
            for call in calls:
                text, stopped = self._result(call)
                add(result_message(call, text))
                done += 1
                if stopped:
                    raise KeyboardInterrupt
        except KeyboardInterrupt:
            for call in (*calls[done:], *surplus):
                add(result_message(call, STOPPED))
            self.host.note("[stopped]")
            raise
        for call in surplus:
            add(result_message(call, _TOO_MANY))

    def _result(self, call: ToolCall) -> tuple[str, bool]:
        """Return the result for the model, and whether the user stopped the call."""
        self.host.show(call)
        try:
            if self.box is None:
                raise UsageError("this conversation has no tools")
            arguments = self.box.check(call.name, call.arguments)
        except UsageError as error:
            self.host.note(f"  not run: {error.message[:_LONGEST_REASON]}")
            return f"[not run: {clipped(error.message)}]", False
        offer = self.box.find(call.name)
        if call.name not in self.box.allowed:
            refusal = self.host.permit(call, offer)
            if refusal is not None:
                return refusal, False
        outcome, stopped = self.host.run(offer, arguments)
        return outcome.text, stopped


def result_message(call: ToolCall, text: str) -> Message:
    """Return the result of a call as a message."""
    return Message("tool", text, tool_call_id=call.id, name=call.name)
