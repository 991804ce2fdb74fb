"""`/probs` and `/pick`: the probability of each token of the last answer, and an answer with another token."""

from __future__ import annotations

from typing import TYPE_CHECKING

from llamacli.engine.chat.turn import text_turn
from llamacli.engine.events import Piece, TokenLogprob
from llamacli.engine.params import GenerationParams, SamplingParams
from llamacli.errors import UsageError
from llamacli.render.chat.probabilities import format_alternatives, format_legend, format_probabilities
from llamacli.repl.commands.registry import command, parse_number
from llamacli.repl.conversation.state import Chat
from llamacli.repl.conversation.trace import Beginning, Step, Trace

if TYPE_CHECKING:
    from llamacli.repl.conversation.tree import Node

_ALTERNATIVES = 10
_PARAMS = GenerationParams(max_tokens=1, logprobs=_ALTERNATIVES, sampling=SamplingParams(temperature=0, ignore_eos=True))
"""The end of the answer cannot be chosen, but its probability is listed."""


@command("probs", arguments="[N]", summary="Show token probabilities, or the alternatives to token N")
def probs(chat: Chat, argument: str) -> None:
    """Show the model's own probabilities, before any sampler."""
    _, trace = _last(chat)
    screen = chat.setup.screen
    if argument:
        number = _number(argument, trace)
        found = _alternatives(chat, trace, number)
        before = b"".join(step.piece for step in trace.steps[: number - 1])
        screen.write(format_alternatives(found, trace.steps[number - 1].id, before, number, screen.paint, screen.size()[0]))
        return
    tokens = [(step.piece, step.logprob) for step in trace.steps]
    screen.write(format_probabilities(tokens, screen.paint, screen.size()[0] - 1))
    screen.note(format_legend(tokens, color=screen.color))


@command("pick", arguments="N ALT", summary="Answer again from token N on, with its alternative ALT")
def pick(chat: Chat, argument: str) -> None:
    """Continue on a new branch."""
    node, trace = _last(chat)
    first, _, text = argument.partition(" ")
    number = _number(first, trace)
    if not text.strip():
        raise UsageError("/pick needs the number of a token and an alternative", hint=f"/probs {number} lists them")
    chosen = _chosen(_alternatives(chat, trace, number), text.strip(), number)
    if chat.engine().ends_answer(chosen.id):
        raise UsageError("this alternative ends the answer: no token can follow it")
    chat.tree.move(node.parent)
    chat.turn.beginning = Beginning(node.parent, (*trace.steps[: number - 1], Step(chosen.id, chosen.piece, chosen.logprob)))
    chat.turn.wants_answer = True


def _last(chat: Chat) -> tuple[Node, Trace]:
    """Return the last answer and its tokens.

    Raises:
        UsageError: if they are unknown.
    """
    if not chat.engine().has_vocabulary:
        raise UsageError("the server does not tell the probabilities of all tokens")
    node = chat.tree.last("assistant")
    if node is None:
        raise UsageError("no answer yet")
    trace = chat.traces.get(node.id)
    if trace is None or not trace.steps:
        reason = "another process or model generated it, or too many answers followed"
        raise UsageError(f"the tokens of this answer are unknown: {reason}", hint="/regen answers again")
    return node, trace


def _number(text: str, trace: Trace) -> int:
    number = parse_number(text, len(trace.steps))
    if number is None:
        raise UsageError(f"expected a token number from 1 to {len(trace.steps)}", hint="/probs shows them")
    return number


def _chosen(found: tuple[TokenLogprob, ...], text: str, number: int) -> TokenLogprob:
    """Return the alternative with that number or text."""
    rank = parse_number(text, len(found))
    if rank is not None:
        return found[rank - 1]
    same = [one for one in found if one.piece.decode("utf-8", "replace").strip() == text.strip("\"'").strip()]
    if not same:
        raise UsageError(f"{text} is not one of the {len(found)} alternatives", hint=f"/probs {number} lists them")
    return same[0]


def _alternatives(chat: Chat, trace: Trace, number: int) -> tuple[TokenLogprob, ...]:
    """Return the most probable tokens at a position of an answer, the best first."""
    engine = chat.engine()
    started = [step.id for step in trace.steps[: number - 1]]
    top: tuple[TokenLogprob, ...] = ()
    with chat.setup.host.guard() as guard:
        guard.cancel = engine.cancel
        for event in engine.answer(text_turn(trace.prompt), _PARAMS, started=started):
            if isinstance(event, Piece) and event.token is not None:
                top = event.token.top
    if not top:
        raise UsageError("no probabilities: the evaluation was stopped")
    return top
