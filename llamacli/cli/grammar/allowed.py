"""The command `llamacli grammar allowed`: what may come next, as characters and as a model's tokens."""

from __future__ import annotations

import json as json_format
import math
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from llamacli.cli.framework.command import command
from llamacli.cli.framework.context import AppContext
from llamacli.cli.framework.inputs.grammar_files import GrammarArgument, RootOption, parse_grammar, read_grammar
from llamacli.cli.framework.options import JsonOption, OfflineOption
from llamacli.cli.framework.parameters import argument, option
from llamacli.engine.params import ContextParams, ModelParams
from llamacli.errors import GateError, UsageError

if TYPE_CHECKING:
    from llamacli.engine.events import NextToken
    from llamacli.grammar.matcher import Matcher, State


@command(
    examples=(
        ("Show what may follow.", """llamacli grammar allowed json '{"a":'"""),
        (
            "Show the tokens of a model, and their probabilities.",
            """llamacli grammar allowed json '{"a":' -m model.gguf -n 20""",
        ),
    )
)
def allowed(
    app: AppContext,
    file: GrammarArgument,
    text: Annotated[str, argument(metavar="TEXT", help="Beginning of a text; may be empty.")] = "",
    *,
    number: Annotated[int, option("-n", "--number", metavar="N", help="Number of tokens to show.", environment=False)] = 40,
    prompt: Annotated[
        str, option("-p", "--prompt", metavar="PROMPT", help="Prompt before the text, for the model.", environment=False)
    ] = "",
    of_model: Annotated[
        str | None,
        option(
            "-m",
            "--model",
            metavar="MODEL",
            help="Model whose tokens to show; the default model is not used.",
            environment=False,
        ),
    ] = None,
    offline: OfflineOption = False,
    root: RootOption = "root",
    json: JsonOption = False,
) -> None:
    """Show what a grammar allows after a text.

    Lists characters, each with its rule; with -m, also the tokens of the model, with their probabilities and their shares among
    the allowed tokens. Exit status 8 if the grammar does not allow the text.
    """
    from llamacli.render.grammar.text import expected_document, format_expected, format_tokens, tokens_document

    if number < 0:
        raise UsageError("-n must be 0 or more")
    matcher, state = _follow(app, file, root, text)
    expected, may_end = matcher.expected(state), matcher.may_end(state)
    rows = None
    if of_model is not None:
        rows = _tokens(app, app.find_model(app, of_model, offline=offline), matcher, state, prompt + text)
    if json:
        document = {"text": text, "may_end": may_end, "expected": [expected_document(one) for one in expected]}
        document |= tokens_document(rows, number) if rows is not None else {}
        app.console.write(json_format.dumps(document, indent=2) + "\n")
        return
    width = app.console.line_width
    app.console.show(format_expected(expected, may_end=may_end, width=width))
    if rows is not None:
        app.console.show("\n" + format_tokens(rows, number, width=width))


def _follow(app: AppContext, file: str, root: str, text: str) -> tuple[Matcher, State]:
    """Return a matcher of the grammar, and its state after the text.

    Raises:
        GateError: if the grammar does not allow the text.
    """
    from llamacli.grammar.matcher import Matcher
    from llamacli.render.grammar.text import format_match

    source = read_grammar(app.console, file)
    matcher = Matcher(parse_grammar(app.console, source, root).with_tokens_as_text())
    state = matcher.advance(matcher.start, text)
    if state is None:
        app.console.write_error(format_match("the text", text, matcher.match(text), width=app.console.error_width))
        raise GateError(f"{source.name} does not allow this text")
    return matcher, state


def _tokens(app: AppContext, path: Path, matcher: Matcher, state: State, text: str) -> list[tuple[int, bytes, float]]:
    """Return the allowed tokens with their pieces and probabilities, the most probable first."""
    with app.interrupts.guard(), app.open_engine(path, ModelParams(), ContextParams()) as engine:
        candidates = engine.next_tokens(text)
    rows = [(token.id, piece, math.exp(token.logprob)) for token, piece in _admitted(candidates, matcher, state)]
    return sorted(rows, key=lambda row: (-row[2], row[0]))


def _admitted(candidates: list[NextToken], matcher: Matcher, state: State) -> list[tuple[NextToken, bytes]]:
    """Return the tokens that may come next: end tokens if the text may end, named tokens, and pieces the grammar allows."""
    named, excluded = matcher.token_ids(state)
    found = []
    for token in candidates:
        if token.ends_answer:
            if matcher.may_end(state):
                found.append((token, b""))
            continue
        by_name = token.id in named or (bool(excluded) and token.id not in excluded)
        if by_name or (token.piece and matcher.admits(state, token.piece)):
            found.append((token, token.piece))
    return found
