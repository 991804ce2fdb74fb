"""Generated answers that are compared with expected ones: a regression suite of prompts."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, cast, get_args

import regex

from llamacli.backend.protocol import Backend
from llamacli.bench.measure.params import ModelFacts
from llamacli.bench.quality.json_lines import read_lines
from llamacli.engine.chat.question import Question
from llamacli.engine.events import Answer, Failed
from llamacli.engine.generation.job import Job
from llamacli.engine.params import GenerationParams, SamplingParams
from llamacli.errors import CancelledError, InvalidJSONError, UsageError
from llamacli.gguf.model import read_files
from llamacli.json_text import parse_json

Comparison = Literal["match", "contains", "regex", "json"]

DEFAULT_TOKENS = 256
_MOST_TOKENS = 2**31 - 1
_HINT = 'a line has {"prompt", "expected"}, and may have "compare", "system" and "max_tokens"'
_KEYS = {"prompt", "expected", "compare", "system", "max_tokens"}
_REGEX_SECONDS = 1.0


@dataclass(frozen=True, slots=True, kw_only=True)
class ExpectedAnswer:
    """A prompt, and the answers of which one is expected.

    `compare`: "match" is equality without white space around, "contains" a part of the answer, "regex" an expression that
    matches somewhere, "json" equality of values, in a Markdown fence or not.
    """

    prompt: str
    expected: tuple[Any, ...]
    compare: Comparison = "match"
    system: str | None = None
    max_tokens: int = DEFAULT_TOKENS

    def accepts(self, answer: str) -> bool:
        """Return whether an answer is as expected."""
        if self.compare == "json":
            return _equals_json(answer, self.expected)
        text = answer.strip()
        if self.compare == "contains":
            return any(one in text for one in self.expected)
        if self.compare == "regex":
            return any(_finds(one, text) for one in self.expected)
        return any(one.strip() == text for one in self.expected)


@dataclass(frozen=True, slots=True)
class AnswerFile:
    """The prompts of a file, and the hash of its bytes."""

    name: str
    sha256: str
    prompts: tuple[ExpectedAnswer, ...]

    @property
    def count(self) -> int:
        """The number of prompts."""
        return len(self.prompts)


@dataclass(frozen=True, slots=True)
class Answered:
    """The answer to prompt `number`: its text, whether it is as expected, its tokens, and the seconds that they took."""

    number: int
    text: str
    correct: bool
    tokens: int
    seconds: float


def parse_answers(text: str, name: str, most: int | None = None) -> AnswerFile:
    """Parse a file with a prompt and its expected answer on each line, at most the first `most`.

    Raises:
        UsageError: if a line is not one; the message has its number.
    """
    prompts = tuple(_prompt(row, place) for place, row in read_lines(text, name, most))
    if not prompts:
        raise UsageError(f"{name} has no prompts", hint=_HINT)
    return AnswerFile(name, hashlib.sha256(text.encode()).hexdigest(), prompts)


def answer_prompts(backend: Backend, prompts: Sequence[ExpectedAnswer]) -> Iterator[Answered]:
    """Yield the answers as they come, with the most probable token each time: the same answers every time.

    Raises:
        CancelledError: if the backend was cancelled.
        LlamacliError: if a prompt cannot be answered.
    """
    with closing(backend.answer_many(_jobs(backend, prompts))) as events:
        for event in events:
            if isinstance(event, Failed):
                raise event.error
            if isinstance(event, Answer):
                if event.finish_reason == "cancelled":
                    raise CancelledError("cancelled")
                usage, timings = event.usage, event.timings
                yield Answered(
                    number=event.index,
                    text=event.content,
                    correct=prompts[event.index].accepts(event.content),
                    tokens=usage.completion_tokens + usage.prompt_tokens,
                    seconds=(timings.prompt_ms + timings.predicted_ms) / 1e3,
                )


def model_facts(path: Path) -> ModelFacts:
    """Return the facts of a model for the rows, from its header. Raises ModelError."""
    files = read_files(str(path))
    tensors = files.header.tensors
    return ModelFacts(
        kind=files.header.architecture or "",
        size=sum(tensor.size for tensor in tensors),
        n_params=sum(tensor.elements for tensor in tensors),
    )


def _jobs(backend: Backend, prompts: Sequence[ExpectedAnswer]) -> Iterator[Job]:
    sampling = SamplingParams(temperature=0.0, seed=0)
    for number, one in enumerate(prompts):
        question = Question(text=one.prompt, system=one.system, raw=not backend.has_chat_template)
        params = GenerationParams(max_tokens=one.max_tokens, sampling=sampling)
        yield Job(number=number, turn=backend.render(question), params=params)


def _prompt(row: Any, place: str) -> ExpectedAnswer:
    if not isinstance(row, dict) or not isinstance(row.get("prompt"), str) or "expected" not in row:
        raise UsageError(f"{place}: not a prompt with an expected answer", hint=_HINT)
    if not row["prompt"]:
        raise UsageError(f"{place}: the prompt is empty")
    if unknown := sorted(row.keys() - _KEYS):
        raise UsageError(f"{place}: unknown key {unknown[0]!r}", hint=_HINT)
    compare = row.get("compare", "match")
    if compare not in get_args(Comparison):
        raise UsageError(f"{place}: compare must be one of {', '.join(get_args(Comparison))}")
    limit = row.get("max_tokens", DEFAULT_TOKENS)
    if not isinstance(limit, int) or isinstance(limit, bool) or not 1 <= limit <= _MOST_TOKENS:
        raise UsageError(f"{place}: max_tokens must be a whole number from 1 to {_MOST_TOKENS}")
    system = row.get("system")
    if system is not None and not isinstance(system, str):
        raise UsageError(f"{place}: system must be a text")
    expected = _expected(row["expected"], cast("Comparison", compare), place)
    return ExpectedAnswer(prompt=row["prompt"], expected=expected, compare=compare, system=system, max_tokens=limit)


def _expected(value: Any, compare: Comparison, place: str) -> tuple[Any, ...]:
    """Return the expected answers. A list has several, except for JSON, where it is a value like any other."""
    if compare == "json":
        return (value,)
    values = value if isinstance(value, list) else [value]
    if not values or not all(isinstance(one, str) and one for one in values):
        raise UsageError(f"{place}: expected must be a text, or a list of texts")
    if compare == "regex":
        for one in values:
            try:
                regex.compile(one)
            except regex.error as error:
                raise UsageError(f"{place}: invalid regular expression {one!r}: {error}") from None
    return tuple(values)


def _finds(pattern: str, text: str) -> bool:
    try:
        return regex.search(pattern, text, timeout=_REGEX_SECONDS) is not None
    except TimeoutError:
        return False


def _equals_json(answer: str, expected: Sequence[Any]) -> bool:
    text = answer.strip()
    if text.startswith("```") and text.endswith("```"):
        text = text[3:-3].removeprefix("json")
    try:
        found = parse_json(text)
    except InvalidJSONError:
        return False
    return any(_canonical(found) == _canonical(one) for one in expected)


def _canonical(value: Any) -> str:
    """Return a text that equal JSON values share: 1 and 1.0 are equal, 1 and true are not."""
    return json.dumps(_with_plain_numbers(value), sort_keys=True)


def _with_plain_numbers(value: Any) -> Any:
    if isinstance(value, float) and value.is_integer():
        return int(value)
    if isinstance(value, list):
        return [_with_plain_numbers(one) for one in value]
    if isinstance(value, Mapping):
        return {key: _with_plain_numbers(one) for key, one in value.items()}
    return value
