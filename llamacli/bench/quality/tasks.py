"""Multiple choice: questions from files, in our own shape or in those of HellaSwag, ARC, MMLU and Winogrande.

A choice is a context and its continuation; the answer is the choice whose continuation is most probable. Contexts are
written as EleutherAI's lm-evaluation-harness writes them, without examples before the question.
"""

from __future__ import annotations

import hashlib
import re
import string
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from llamacli.bench.quality.json_lines import read_lines
from llamacli.errors import UsageError

MOST_CHOICES = 64
_GAP = "_"
_HINT = 'a line has {"context", "choices", "answer"}, or the shape of HellaSwag, ARC, MMLU or Winogrande'


@dataclass(frozen=True, slots=True)
class Choice:
    """A text that may follow a context."""

    context: str
    continuation: str

    @property
    def length(self) -> int:
        """The number of characters, by which a log probability is divided; at least 1."""
        return max(1, len(self.continuation))


@dataclass(frozen=True, slots=True)
class TaskQuestion:
    """A question: its choices, and the number of the right one."""

    choices: tuple[Choice, ...]
    answer: int


@dataclass(frozen=True, slots=True)
class TaskFile:
    """The questions of a file, and the hash of its bytes."""

    name: str
    sha256: str
    questions: tuple[TaskQuestion, ...]

    @property
    def count(self) -> int:
        """The number of questions."""
        return len(self.questions)


def parse_tasks(text: str, name: str, most: int | None = None) -> TaskFile:
    """Parse a file with a question on each line, at most the first `most`.

    Raises:
        UsageError: if a line is not a question; the message has its number.
    """
    questions = tuple(_question(row, place) for place, row in read_lines(text, name, most))
    if not questions:
        raise UsageError(f"{name} has no questions", hint=_HINT)
    return TaskFile(name, hashlib.sha256(text.encode()).hexdigest(), questions)


def _question(row: Any, place: str) -> TaskQuestion:
    if not isinstance(row, dict):
        raise UsageError(f"{place}: not an object", hint=_HINT)
    for key, read in _SHAPES.items():
        if key in row:
            try:
                return read(row)
            except (KeyError, TypeError, ValueError, AttributeError) as error:
                reason = f"{error.args[0]!r} is missing" if isinstance(error, KeyError) else str(error)
                raise UsageError(f"{place}: {reason}", hint=_HINT) from None
    raise UsageError(f"{place}: not a question", hint=_HINT)


def _plain(row: Mapping[str, Any]) -> TaskQuestion:
    context, choices = _text(row["context"]), _texts(row["choices"])
    # A context without white space at its end is followed by a word of its own.
    space = " " if context and not context[-1:].isspace() else ""
    found = tuple(Choice(context, choice if choice[:1].isspace() else space + choice) for choice in choices)
    return TaskQuestion(found, _answer(row["answer"], choices))


def _hellaswag(row: Mapping[str, Any]) -> TaskQuestion:
    if "ctx_a" in row:
        ends = _text(row["ctx_b"])
        story = f"{_text(row['ctx_a'])} {ends[:1].upper()}{ends[1:]}"
    else:
        story = _text(row["ctx"])
    label = _text(row.get("activity_label", ""))
    context = _without_marks(f"{label}: {story}" if label else story)
    endings = _texts(row["endings"])
    choices = tuple(Choice(context, f" {_without_marks(ending)}") for ending in endings)
    return TaskQuestion(choices, _answer(row["label"], endings))


def _without_marks(text: str) -> str:
    """Return the text without WikiHow's marks, such as `[title]`."""
    return re.sub(r"\[.*?\]", "", text.strip().replace(" [title]", ". ")).replace("  ", " ").strip()


def _winogrande(row: Mapping[str, Any]) -> TaskQuestion:
    sentence = _text(row["sentence"])
    before, gap, after = sentence.partition(_GAP)
    if not gap:
        raise ValueError(f"the sentence has no {_GAP}")
    options = [_text(row["option1"]), _text(row["option2"])]
    choices = tuple(Choice(before + option, f" {after.strip()}") for option in options)
    number = str(row["answer"])
    return TaskQuestion(choices, int(number) - 1 if number in ("1", "2") else _answer(row["answer"], options))


def _questioned(row: Mapping[str, Any]) -> TaskQuestion:
    """Read ARC, whose choices have labels, or MMLU, whose choices are a list."""
    question, choices = row["question"], row.get("choices")
    if isinstance(question, Mapping):  # as ARC's own files have it
        question, choices = question["stem"], question["choices"]
    if isinstance(choices, list) and all(isinstance(one, Mapping) for one in choices) and choices:
        choices = {name: [one[name] for one in choices] for name in ("text", "label")}
    if isinstance(choices, Mapping):
        texts, labels = _texts(choices["text"]), _texts(choices["label"])
        context = f"Question: {_text(question).strip()}\nAnswer:"
        key = _text(row["answerKey"])
        if len(labels) != len(texts) or key not in labels:
            raise ValueError(f"no choice has the label {key!r}")
        return TaskQuestion(tuple(Choice(context, f" {text}") for text in texts), labels.index(key))
    return _lettered(_text(question), _texts(choices), row["answer"])


def _lettered(question: str, choices: Sequence[str], answer: Any) -> TaskQuestion:
    """Return a question of MMLU, in which the model names a letter."""
    letters = string.ascii_uppercase[: len(choices)]
    if len(letters) < len(choices):
        raise ValueError(f"more than {len(letters)} choices")
    listed = "\n".join(f"{letter}. {choice}" for letter, choice in zip(letters, choices, strict=True))
    context = f"{question.strip()}\n{listed}\nAnswer:"
    return TaskQuestion(tuple(Choice(context, f" {letter}") for letter in letters), _answer(answer, choices))


def _answer(answer: Any, choices: Sequence[str]) -> int:
    """Return the number of the right choice, given as a number from 0, a letter, or its text."""
    if isinstance(answer, str) and answer in choices:
        return list(choices).index(answer)
    if isinstance(answer, str) and len(answer) == 1 and answer.isalpha():
        number = string.ascii_uppercase.find(answer.upper())
    else:
        number = int(answer) if isinstance(answer, int | str) and not isinstance(answer, bool) else -1
    if not 0 <= number < len(choices):
        raise ValueError(f"the answer {answer!r} is not one of {len(choices)} choices")
    return number


def _text(value: Any) -> str:
    if isinstance(value, int) and not isinstance(value, bool):
        return str(value)
    if not isinstance(value, str):
        raise TypeError(f"{value!r} is not a text")
    return value


def _texts(value: Any) -> list[str]:
    if not isinstance(value, list) or not 2 <= len(value) <= MOST_CHOICES:
        raise ValueError(f"a question has from 2 to {MOST_CHOICES} choices")
    return [_text(one) for one in value]


_SHAPES: dict[str, Callable[[Mapping[str, Any]], TaskQuestion]] = {
    "context": _plain, "endings": _hellaswag, "sentence": _winogrande, "question": _questioned,
}  # fmt: skip
"""The key by which a shape is known, and how it is read."""
