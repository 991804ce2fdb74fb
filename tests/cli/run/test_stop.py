"""Stop texts beside a constraint: an answer that a stop text cut short is not what was asked for, and that is said."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from llamacli.engine.constraint.guidance import Constraint, Guidance
from llamacli.engine.events import Finished, Token
from llamacli.engine.generation.request import Request
from llamacli.engine.generation.scheduler import Scheduler
from llamacli.engine.params import ContextParams, GenerationParams, SamplingParams
from llamacli.engine.runtime.context import Context
from llamacli.engine.runtime.model import Model


@pytest.fixture(scope="module")
def model(tiny_model: Path) -> Iterator[Model]:
    with Model(tiny_model) as model:
        yield model


@pytest.mark.parametrize(
    ("grammar", "begun", "stop", "text", "satisfied"),
    [
        ('root ::= "Hello"', "", "lo", "Hel", False),  # the token that completes the grammar completes the stop text, too
        ('root ::= "Hello"', "Hel", "lo", "Hel", False),
        ('root ::= "Hello"', "", "He", "", False),
        ('root ::= "yes" | "yesno"', "y", "es", "y", False),
        ('root ::= "Hello END"', "", " END", "Hello", False),
        ('root ::= "Hello" " END"?', "Hello E", " END", "Hello", True),
        ('root ::= "Grüße"', "", "ße", "Grü", False),
        ('root ::= "Hello"', "", "nothing like it", "Hello", True),
    ],
)
def test_what_a_stop_text_leaves_is_held_to_the_grammar(
    model: Model, grammar: str, begun: str, stop: str, text: str, satisfied: bool
) -> None:
    beginning = model.vocabulary.tokenize(begun)
    params = GenerationParams(max_tokens=40, stop=(stop,), sampling=SamplingParams(temperature=0))
    guidance = Guidance(constraint=Constraint(grammar=grammar))
    prompt = (*model.vocabulary.tokenize("a"), *beginning)
    with Context(model, ContextParams(n_ctx=256, threads=1)) as context:
        scheduler = Scheduler(context)
        scheduler.submit(Request(prompt=prompt, started=len(beginning), params=params, guidance=guidance))
        events = list(scheduler.run())
    last = events[-1]
    assert isinstance(last, Finished)
    assert "".join(event.text for event in events if isinstance(event, Token | Finished)) == text
    assert (last.reason, last.satisfied) == ("stop", satisfied)
