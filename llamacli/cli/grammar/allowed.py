"""`llamacli grammar allowed`: what may come next, as characters and as a model's tokens."""

from __future__ import annotations

import json as json_format
import math
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from llamacli.cli.framework.command import command
from llamacli.cli.framework.context import AppContext
from llamacli.cli.framework.grammar_files import GrammarArgument, RootOption, parse_grammar, read_grammar
from llamacli.cli.framework.options import JsonOption, OfflineOption
from llamacli.cli.framework.parameters import argument, option
from llamacli.engine.params import ContextParams, ModelParams
from llamacli.errors import GateError, UsageError

if TYPE_CHECKING:
    from llamacli.engine.runtime.model import Model
    from llamacli.grammar.matcher import Matcher, State


@command(
    examples=(
        ("What may follow?", """llamacli grammar allowed json '{"a":'"""),
        ("Which tokens, and how likely are they?", """llamacli grammar allowed json '{"a":' -m model.gguf -n 20"""),
    )
)
def allowed(
    app: AppContext,
    file: GrammarArgument,
    text: Annotated[str, argument(metavar="TEXT", help="The beginning of a text; may be empty.")] = "",
    *,
    number: Annotated[int, option("-n", "--number", metavar="N", help="How many tokens to show.", environment=False)] = 40,
    prompt: Annotated[
        str, option("-p", "--prompt", metavar="PROMPT", help="What the model reads before the text.", environment=False)
    ] = "",
    of_model: Annotated[
        str | None,
        option(
            "-m", "--model", metavar="MODEL", help="Show this model's tokens as well; none is used unasked.", environment=False
        ),
    ] = None,
    offline: OfflineOption = False,
    root: RootOption = "root",
    json: JsonOption = False,
) -> None:
    """Show what a grammar allows after a text.

    That is characters, each with the rule that it comes from. With -m, also the tokens of that model, with the probability that
    it gives to each, and their share among those that are allowed. Exit status 8 if the text itself is not allowed.
    """
    from llamacli.grammar.matcher import Matcher
    from llamacli.render.grammar.text import expected_document, format_expected, format_match, format_tokens

    if number < 0:
        raise UsageError("-n must be a number from 0")
    source = read_grammar(app.console, file)
    matcher = Matcher(parse_grammar(app.console, source, root).with_tokens_as_text())
    state = matcher.advance(matcher.start, text)
    if state is None:
        app.console.write_error(format_match("the text", text, matcher.match(text)))
        raise GateError(f"{source.name} does not allow this text")
    expected, may_end = matcher.expected(state), matcher.may_end(state)
    document = {"text": text, "may_end": may_end, "expected": [expected_document(one) for one in expected]}
    if not json:
        app.console.show(format_expected(expected, may_end=may_end))
    if of_model is not None:
        rows = _tokens(app, app.find_model(app, of_model, offline=offline), matcher, state, prompt + text)
        mass = math.fsum(probability for _, _, probability in rows)
        shown = [(token, piece, p, p / mass if mass else 0.0) for token, piece, p in rows[:number]]
        if json:
            document["tokens"] = [
                {"id": token, "piece": piece.decode("utf-8", "replace"), "bytes": list(piece), "probability": p, "share": share}
                for token, piece, p, share in shown
            ]
            document["allowed_tokens"] = len(rows)
            document["allowed_probability"] = mass
        else:
            app.console.show("\n" + format_tokens(shown, len(rows), mass))
    if json:
        app.console.write(json_format.dumps(document, indent=2) + "\n")


def _tokens(app: AppContext, path: Path, matcher: Matcher, state: State, text: str) -> list[tuple[int, bytes, float]]:
    """The allowed tokens with their pieces and probabilities, the likeliest first."""
    from llamacli.engine.generation.next_token import next_token_logprobs

    with app.interrupts.guard(), app.open_engine(path, ModelParams(), ContextParams()) as engine:
        tokens = list(engine.text_prompt(text).tokens)
        if not tokens:
            raise UsageError("this model needs at least one token to begin with", hint="-p gives it a prompt")
        logprobs = next_token_logprobs(engine.model, tokens)
        rows = [(token, piece, math.exp(logprobs[token])) for token, piece in _admitted(engine.model, matcher, state)]
    return sorted(rows, key=lambda row: (-row[2], row[0]))


def _admitted(model: Model, matcher: Matcher, state: State) -> list[tuple[int, bytes]]:
    """The tokens that may come next: ends where the text may end, named tokens, and pieces that the grammar takes."""
    vocabulary = model.vocabulary
    named, excluded = matcher.token_ids(state)
    found = []
    for token in range(vocabulary.size):
        if vocabulary.is_end(token):
            if matcher.may_end(state):
                found.append((token, b""))
            continue
        piece = vocabulary.special_piece(token)
        by_name = token in named or (bool(excluded) and token not in excluded)
        if by_name or (piece and matcher.admits(state, piece)):
            found.append((token, piece))
    return found
