"""`/probs` and `/pick`: how sure the model was of each token of its last answer, and what would have come of another one."""

from __future__ import annotations

from typing import TYPE_CHECKING

from llamacli.engine.events import Token, TokenLogprob
from llamacli.engine.params import GenerationParams, SamplingParams
from llamacli.errors import UsageError
from llamacli.render.chat.probabilities import LEGEND, format_alternatives, format_probabilities
from llamacli.repl.commands.registry import command, numbered
from llamacli.repl.conversation.state import Chat
from llamacli.repl.conversation.trace import Beginning, Step, Trace

if TYPE_CHECKING:
    from llamacli.repl.conversation.tree import Node

_ALTERNATIVES = 10
_PARAMS = GenerationParams(max_tokens=1, logprobs=_ALTERNATIVES, sampling=SamplingParams(temperature=0, ignore_eos=True))
"""The end of the answer is forbidden as a choice, not left out of the probabilities."""


@command("probs", arguments="[N]", summary="Show how probable each token was, or what else could be N")
def probs(chat: Chat, argument: str) -> None:
    """Probabilities are the model's own, before any sampler."""
    _, trace = _last(chat)
    screen = chat.setup.screen
    if argument:
        number = _number(argument, trace)
        found = _alternatives(chat, trace, number)
        behind = b"".join(step.piece for step in trace.steps[: number - 1])
        screen.write(format_alternatives(found, trace.steps[number - 1].id, behind, number, screen.paint, screen.size()[0]))
        return
    tokens = [(step.piece, step.logprob) for step in trace.steps]
    screen.write(format_probabilities(tokens, screen.paint, screen.size()[0] - 1))
    screen.say(LEGEND)


@command("pick", arguments="N ALT", summary="Answer again from token N on, with alternative ALT there")
def pick(chat: Chat, argument: str) -> None:
    """Makes a branch."""
    node, trace = _last(chat)
    first, _, text = argument.partition(" ")
    number = _number(first, trace)
    if not text.strip():
        raise UsageError("/pick needs the number of a token and an alternative", hint=f"/probs {number} lists them")
    chosen = _chosen(_alternatives(chat, trace, number), text.strip(), number)
    if chat.engine().ends_answer(chosen.id):
        raise UsageError("this is the end of the answer: nothing comes behind it")
    chat.tree.move(node.parent)
    chat.beginning = Beginning(node.parent, (*trace.steps[: number - 1], Step(chosen.id, chosen.piece, chosen.logprob)))
    chat.wants_answer = True


def _last(chat: Chat) -> tuple[Node, Trace]:
    """The last answer and its tokens. Raises UsageError if they are not known."""
    node = chat.tree.last("assistant")
    if node is None:
        raise UsageError("nothing was answered yet")
    trace = chat.traces.get(node.id)
    if trace is None or not trace.steps:
        hint = "/regen answers again"
        raise UsageError(
            "the tokens of this answer are not known: it was made by another program or model, or long ago", hint=hint
        )
    return node, trace


def _number(text: str, trace: Trace) -> int:
    number = numbered(text, len(trace.steps))
    if number is None:
        raise UsageError(f"the last answer has the tokens 1 to {len(trace.steps)}", hint="/probs shows them")
    return number


def _chosen(found: tuple[TokenLogprob, ...], text: str, number: int) -> TokenLogprob:
    """The alternative of that number, or the one that is this text."""
    place = numbered(text, len(found))
    if place is not None:
        return found[place - 1]
    same = [one for one in found if one.piece.decode("utf-8", "replace").strip() == text.strip("\"'").strip()]
    if not same:
        raise UsageError(f"{text} is none of the {len(found)} alternatives", hint=f"/probs {number} lists them")
    return same[0]


def _alternatives(chat: Chat, trace: Trace, number: int) -> tuple[TokenLogprob, ...]:
    """The most probable tokens at a place of an answer, the best first; what stands before it is in the cache mostly."""
    engine = chat.engine()
    begun = [step.id for step in trace.steps[: number - 1]]
    top: tuple[TokenLogprob, ...] = ()
    with chat.setup.guard() as guard:
        guard.cancel = engine.cancel
        for event in engine.generate(trace.prompt, _PARAMS, started=begun):
            if isinstance(event, Token):
                top = event.top
    if not top:
        raise UsageError("the probabilities could not be told")
    return top
