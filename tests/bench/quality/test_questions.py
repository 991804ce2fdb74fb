"""Multiple choice and expected answers: the shapes of files, the scores of choices, and comparisons."""

from __future__ import annotations

import json
import math
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import tiny

from llamacli.bench.measure.setup import Setup
from llamacli.bench.quality.answers import accuracy, is_correct
from llamacli.bench.quality.choices import ChoiceScorer, choice_params, score_choices
from llamacli.bench.quality.encoded import Encoded, EncodedQuestion, cells_for, encode, group_questions
from llamacli.bench.quality.exact import ExpectedAnswer, parse_answers
from llamacli.bench.quality.params import Candidate, CandidateReady, ChoicesScored
from llamacli.bench.quality.tasks import Choice, TaskQuestion, parse_tasks
from llamacli.bench.statistics import wilson_interval
from llamacli.engine.params import ContextParams, ModelParams
from llamacli.engine.runtime.cancel import CancelFlag
from llamacli.engine.runtime.context import Context
from llamacli.engine.runtime.model import Model
from llamacli.errors import ContextFullError, UsageError


def lines(*rows: object) -> str:
    return "\n".join(json.dumps(row) for row in rows)


# --- files of questions -------------------------------------------------------------------------------------------------

SHAPES = {
    "plain": ({"context": "The sky is", "choices": ["blue", "loud"], "answer": 0}, "The sky is", [" blue", " loud"], 0),
    "by letter": ({"context": "A ", "choices": ["b", "c"], "answer": "B"}, "A ", ["b", "c"], 1),
    "by text": ({"context": "x:", "choices": ["1", "2"], "answer": "2"}, "x:", [" 1", " 2"], 1),
    "hellaswag": (
        {"activity_label": "Cooking", "ctx": "A man [title] cooks. he", "endings": ["eats.", "flies."], "label": "1"},
        "Cooking: A man. cooks. he",
        [" eats.", " flies."],
        1,
    ),
    "hellaswag in two parts": (
        {"ctx_a": "A man cooks.", "ctx_b": "he", "ctx": "A man cooks. he", "endings": ["eats.", "flies."], "label": 0},
        "A man cooks. He",
        [" eats.", " flies."],
        0,
    ),
    "arc": (
        {"question": "Which?", "choices": {"text": ["this", "that"], "label": ["1", "2"]}, "answerKey": "2"},
        "Question: Which?\nAnswer:",
        [" this", " that"],
        1,
    ),
    "arc's own files": (
        {
            "question": {"stem": "Which?", "choices": [{"text": "this", "label": "A"}, {"text": "that", "label": "B"}]},
            "answerKey": "A",
        },
        "Question: Which?\nAnswer:",
        [" this", " that"],
        0,
    ),
    "mmlu": (
        {"question": "Which?", "choices": ["a", "b", "c", "d"], "answer": 3, "subject": "x"},
        "Which?\nA. a\nB. b\nC. c\nD. d\nAnswer:",
        [" A", " B", " C", " D"],
        3,
    ),
}


@pytest.mark.parametrize(("row", "context", "continuations", "answer"), SHAPES.values(), ids=SHAPES)
def test_shapes_are_read(row, context, continuations, answer):
    (question,) = parse_tasks(lines(row), "file").questions
    assert {choice.context for choice in question.choices} == {context}
    assert [choice.continuation for choice in question.choices] == continuations
    assert question.answer == answer


def test_winogrande_has_one_continuation_and_two_contexts():
    row = {"sentence": "The cup fits the bag because _ is small.", "option1": "cup", "option2": "bag", "answer": "1"}
    (question,) = parse_tasks(lines(row), "file").questions
    assert question.choices == (
        Choice("The cup fits the bag because cup", " is small."),
        Choice("The cup fits the bag because bag", " is small."),
    )
    assert question.answer == 0


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "no questions"),
        ("{", "line 1: invalid JSON"),
        ("[]", "line 1: not an object"),
        (lines({"a": 1}), "line 1: not a question"),
        (lines({"context": "a", "choices": ["b", "c"]}), "line 1: 'answer' is missing"),
        (lines({"context": "a", "choices": ["b"], "answer": 0}), "from 2 to 64 choices"),
        (lines({"context": "a", "choices": ["b", "c"], "answer": 2}), "is not one of 2 choices"),
        (lines({"context": "a", "choices": ["b", "c"], "answer": True}), "is not one of 2 choices"),
        (lines({"context": 1.5, "choices": ["b", "c"], "answer": 0}), "is not a text"),
        (lines({"sentence": "no gap", "option1": "a", "option2": "b", "answer": "1"}), "has no _"),
        (lines({"question": "a", "choices": {"text": ["b", "c"], "label": ["A", "B"]}, "answerKey": "C"}), "no choice has"),
        (lines({"question": "a", "choices": [f"{n}" for n in range(30)], "answer": 1}), "more than 26 choices"),
        (lines({"question": "a", "answer": 1}), "from 2 to 64 choices"),
        ("\n" + lines({"context": "\ud800", "choices": ["b", "c"], "answer": 0}), "line 2: .* half of a surrogate pair"),
    ],
)
def test_other_lines_are_refused(text, message):
    with pytest.raises(UsageError, match=message):
        parse_tasks(text, "file")


@pytest.mark.parametrize("end", ["\u2028", "\x85"])
def test_other_ends_of_lines_are_characters_of_a_text(end):
    row = {"context": f"a{end}b", "choices": ["c", "d"], "answer": 0}
    raw = '{"context": "a' + end + 'b", "choices": ["c", "d"], "answer": 0}\r\n\r\n'
    assert parse_tasks(raw, "file").questions == parse_tasks(lines(row), "file").questions
    (prompt,) = parse_answers('{"prompt": "a' + end + 'b", "expected": "c"}\r\n', "file").prompts
    assert prompt.prompt == f"a{end}b"


def test_a_limit_leaves_the_rest_unread():
    row = {"context": "a", "choices": ["b", "c"], "answer": 0}
    assert parse_tasks(lines(row, row) + "\n{", "file", most=2).count == 2


# --- scores -------------------------------------------------------------------------------------------------------------


def by_hand(path: Path, question: TaskQuestion) -> list[float]:
    """The log probability of each continuation, every token evaluated alone in a context of its own."""
    found = []
    with Model(path) as model:
        for choice in encode(model, question).choices:
            total = 0.0
            with Context(model, ContextParams(n_ctx=128, threads=1)) as context:
                for position, token in enumerate(choice.tokens[:-1]):
                    context.decode([token], [position], [0], [1])
                    if position + 1 >= choice.start:
                        row = np.asarray(context.logits(0), np.float64)
                        total += row[choice.tokens[position + 1]] - row.max() - math.log(np.exp(row - row.max()).sum())
            found.append(total)
    return found


QUESTIONS = parse_tasks(
    lines(
        {"context": "The harbour was quiet", "choices": ["when", "when the boats", "and cold", "s"], "answer": 0},
        {"sentence": "The bag holds the cup because _ is small and round.", "option1": "cup", "option2": "bag", "answer": "2"},
        {"question": "Which?", "choices": ["a", "b"], "answer": 1},
        {"context": "", "choices": ["Hello world", "Hello"], "answer": 1},
    ),
    "file",
).questions


def candidate(path: Path, **context) -> Candidate:
    return Candidate(path=str(path), setup=Setup(model=ModelParams(), context=ContextParams(threads=1, **context)))


@pytest.mark.parametrize("n_batch", [2048, 7])
def test_choices_side_by_side_have_the_scores_of_single_tokens(tiny_model, n_batch):
    events = list(score_choices(candidate(tiny_model, n_batch=n_batch), QUESTIONS, CancelFlag()))
    assert isinstance(events[0], CandidateReady)
    scored = [event for event in events if isinstance(event, ChoicesScored)]
    assert [event.question for event in scored] == list(range(len(QUESTIONS)))
    for event, question in zip(scored, QUESTIONS, strict=True):
        assert event.logprobs == pytest.approx(by_hand(tiny_model, question), rel=1e-3)


def test_what_choices_share_is_evaluated_once(tiny_model):
    with Model(tiny_model) as model:
        encoded = encode(model, QUESTIONS[0])
    assert encoded.shared >= encoded.choices[0].start - 1
    assert encoded.cells < sum(len(choice.tokens) for choice in encoded.choices)


EXAMPLES = "The tide had gone out. Question: where? Answer: over the mud. "


def with_examples(*contexts: str) -> list[TaskQuestion]:
    return [TaskQuestion(tuple(Choice(context, end) for end in (" a boat", " no", " a bird")), 0) for context in contexts]


@pytest.mark.parametrize("cells", [1024, 80])
def test_examples_that_questions_share_are_evaluated_once(tiny_model, cells, monkeypatch):
    # the last questions have other examples, and none
    asked = with_examples(*(f"{EXAMPLES}Question: {n}? Answer:" for n in range(6)), f"{EXAMPLES[:30]}, too:", "Here:")
    with Model(tiny_model) as model, ThreadPoolExecutor(1) as pool:
        encoded = [encode(model, question) for question in asked]
        evaluated = []
        with Context(model, choice_params(ContextParams(threads=1), cells)) as context:
            decode = context.decode
            monkeypatch.setattr(context, "decode", lambda tokens, *rest: evaluated.append(len(tokens)) or decode(tokens, *rest))
            scored = list(ChoiceScorer(context, cells, pool).scores(encoded))
    shared = len(encoded[0].context) - 10
    assert sum(evaluated) < sum(one.cells for one in encoded) - 5 * shared
    for event, question in zip(scored, asked, strict=True):
        assert event.logprobs == pytest.approx(by_hand(tiny_model, question), rel=1e-3)


def question(context: str, *ends: str) -> EncodedQuestion:
    """A question whose tokens are the characters of texts."""
    return EncodedQuestion(tuple(Encoded(tuple(map(ord, context + end)), len(context) + 1) for end in ends), len(context) + 1)


@pytest.mark.parametrize(
    ("questions", "cells", "sequences", "groups"),
    [
        pytest.param([question("aaaa", "xy", "xz")] * 3, 100, 9, [(3, "aaaa")], id="the same examples"),
        pytest.param([question("aaaa", "xy", "xz")] * 3, 10, 9, [(2, "aaaa"), (1, "aaaa")], id="few cells"),
        pytest.param([question("aaaa", "xy", "xz")] * 2, 1, 9, [(1, "aaaa")] * 2, id="at least one"),
        pytest.param([question("aab", "xy", "xz"), question("aac", "xy", "xz")], 100, 9, [(2, "aa")], id="what is common"),
        pytest.param(
            [*[question("a" * 50, "xy", "xz")] * 3, question("b", "xy", "xz")], 500, 9, [(3, "a" * 50), (1, "b")],
            id="other examples are a new group",
        ),
        pytest.param([question("a", "xy", "xz")] * 4, 100, 5, [(2, "a")] * 2, id="few sequences"),
    ],
)  # fmt: skip
def test_questions_with_the_same_examples_are_groups(questions, cells, sequences, groups):
    found = list(group_questions(questions, cells, sequences))
    assert [(len(group.questions), "".join(map(chr, group.preamble))) for group in found] == groups
    assert [group.begin for group in found] == [sum(count for count, _ in groups[:number]) for number in range(len(groups))]


def test_a_cache_has_room_for_examples_and_a_whole_question():
    assert cells_for([question("a" * 30, "xy", "xz")] * 2, 100) == 130
    assert cells_for([question("a" * 300, "xy", "xz")], 100) == 303


def test_a_question_longer_than_the_training_is_refused(tmp_path):
    short = tiny.tiny_model(tmp_path / "short.gguf", context=32)
    question = TaskQuestion((Choice("a " * 100, "b"), Choice("a " * 100, "c")), 0)
    with pytest.raises(ContextFullError, match="trained with 32"):
        list(score_choices(candidate(short), [question], CancelFlag()))


def test_normalised_scores_do_not_favour_short_choices():
    question = TaskQuestion((Choice("a", " b"), Choice("a", " much longer")), 1)
    assert not is_correct(question, (-4.0, -10.0), normalised=False)
    assert is_correct(question, (-4.0, -10.0), normalised=True)


@pytest.mark.parametrize(
    ("right", "count", "low", "high"),
    [(0, 10, 0, 0.2775), (10, 10, 0.7225, 1), (5, 10, 0.2366, 0.7634), (90, 100, 0.8256, 0.9448)],
)
def test_intervals_are_wilsons(right, count, low, high):
    assert wilson_interval(right, count) == pytest.approx((low, high), abs=1e-4)
    assert accuracy([True] * right + [False] * (count - right)).low == pytest.approx(low, abs=1e-4)


# --- expected answers ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("compare", "expected", "accepted", "refused"),
    [
        ("match", "Paris", ["Paris", " Paris\n"], ["Paris.", "paris", ""]),
        ("match", ["a", "b"], ["a", "b"], ["ab"]),
        ("contains", "Paris", ["It is Paris."], ["London"]),
        ("regex", r"^\d{2}$", ["42", " 42 "], ["420"]),
        ("json", {"a": [1, True]}, ['{"a": [1.0, true]}', '```json\n{"a": [1, true]}\n```'], ['{"a": [1, 1]}', "{", "[]"]),
        ("json", [1, 2], ["[1, 2]"], ["[2, 1]", "1"]),
    ],
)
def test_answers_are_compared(compare, expected, accepted, refused):
    (prompt,) = parse_answers(lines({"prompt": "?", "expected": expected, "compare": compare}), "file").prompts
    assert [text for text in (*accepted, *refused) if prompt.accepts(text)] == accepted


def test_a_hostile_expression_ends():
    prompt = ExpectedAnswer(prompt="?", expected=(r"(a|aa|a?)+$",), compare="regex")
    assert not prompt.accepts("a" * 40 + "b" * 3)


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ({"prompt": "?"}, "not a prompt with an expected answer"),
        ({"prompt": "?", "expected": 3}, "must be a text"),
        ({"prompt": "?", "expected": []}, "must be a text"),
        ({"prompt": "?", "expected": "a", "compare": "equals"}, "compare must be one of match, contains"),
        ({"prompt": "?", "expected": "(", "compare": "regex"}, "invalid regular expression"),
        ({"prompt": "?", "expected": "a", "max_tokens": 0}, "max_tokens must be"),
        ({"prompt": "?", "expected": "a", "max_tokens": 2**64}, "max_tokens must be"),
        ({"prompt": "", "expected": "a"}, "line 1: the prompt is empty"),
        ({"prompt": "?", "expected": "a", "system": 1}, "system must be"),
        ({"prompt": "?", "expected": "a", "expect": 1}, "unknown key 'expect'"),
    ],
)
def test_other_prompts_are_refused(row, message):
    with pytest.raises(UsageError, match=message):
        parse_answers(lines(row), "file")
