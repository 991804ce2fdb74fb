"""Answers of which the beginning is known: one that was cut goes on, also from another token, or without older text."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterable, Iterator
from pathlib import Path

import pytest

from llamacli.engine.chat.answers.judgement import check_answer
from llamacli.engine.chat.answers.reader import AnswerReader
from llamacli.engine.chat.answers.start import StartFilter
from llamacli.engine.chat.message import Message, ToolCall
from llamacli.engine.chat.question import Question
from llamacli.engine.chat.rendering import Rendering
from llamacli.engine.constraint.answer_constraint import schema_constraint
from llamacli.engine.constraint.guidance import Constraint, Guidance
from llamacli.engine.engine import Engine
from llamacli.engine.events import Answer, AnswerEvent, Delta, Event, Failed, Finished, Piece, Prefill, Token
from llamacli.engine.generation.request import Request
from llamacli.engine.generation.scheduler import Scheduler
from llamacli.engine.params import ContextParams, GenerationParams, SamplingParams
from llamacli.engine.runtime.context import Context
from llamacli.engine.runtime.model import Model
from llamacli.errors import ConstraintError, StateError, UsageError

TEMPLATES = Path(__file__).parents[3] / "vendor" / "llama.cpp" / "models" / "templates"
GREEDY = SamplingParams(temperature=0, ignore_eos=True)


@pytest.fixture(scope="module")
def model(tiny_model: Path) -> Iterator[Model]:
    with Model(tiny_model) as model:
        yield model


@pytest.fixture
def scheduler(model: Model) -> Iterator[Scheduler]:
    with Context(model, ContextParams(n_ctx=2048, threads=1)) as context:
        yield Scheduler(context)


def run(scheduler: Scheduler, prompt: list[int], begun: list[int], *, guidance: Guidance | None = None, **more) -> list[Event]:
    closes_gap = more.pop("closes_gap", False)
    params = GenerationParams(sampling=GREEDY, **more)
    request = Request(prompt=(*prompt, *begun), started=len(begun), params=params, guidance=guidance, closes_gap=closes_gap)
    scheduler.submit(request)
    return list(scheduler.run())


def ids(events: list[Event]) -> list[int]:
    return [event.id for event in events if isinstance(event, Token)]


def tokens_of(events: Iterable[AnswerEvent]) -> list[int]:
    return [event.token.id for event in events if isinstance(event, Piece) and event.token is not None]


def text(events: list[Event]) -> str:
    return "".join(event.text for event in events if isinstance(event, Token | Finished))


def end(events: list[Event]) -> Finished:
    assert isinstance(events[-1], Finished)
    return events[-1]


def test_an_answer_goes_on_where_it_ended(model: Model, scheduler: Scheduler) -> None:
    prompt = model.vocabulary.tokenize("once upon a time")
    whole = run(scheduler, prompt, [], max_tokens=12)
    first = ids(run(scheduler, prompt, [], max_tokens=5))
    rest = run(scheduler, prompt, first, max_tokens=7)
    assert ids(rest) == ids(whole)
    assert text(rest) == text(whole)
    assert (end(rest).reason, end(rest).usage.completion_tokens) == ("length", 7)
    assert end(rest).timings.prompt_n <= 1


def test_a_character_that_was_cut_is_whole_again(model: Model, scheduler: Scheduler) -> None:
    prompt = model.vocabulary.tokenize("animals: ")
    llama = model.vocabulary.tokenize("🦙")
    assert len(llama) > 1
    for cut in range(1, len(llama)):
        events = run(scheduler, prompt, llama[:cut], max_tokens=0)
        assert "�" not in "".join(event.text for event in events if isinstance(event, Token))
    assert text(run(scheduler, prompt, llama, max_tokens=0)) == "🦙"


def test_a_stop_text_is_met_across_the_place(model: Model, scheduler: Scheduler) -> None:
    prompt, begun = model.vocabulary.tokenize("a"), model.vocabulary.tokenize("say END now")
    events = run(scheduler, prompt, begun, max_tokens=9, stop=("END",))
    assert text(events) == "say "
    assert (end(events).reason, end(events).stop_text) == ("stop", "END")


def test_the_beginning_is_held_to_the_grammar(model: Model, scheduler: Scheduler) -> None:
    prompt, guidance = model.vocabulary.tokenize("a"), Guidance(constraint=Constraint(grammar='root ::= "abc" [d-f] "xyz"'))
    events = run(scheduler, prompt, model.vocabulary.tokenize("abce"), guidance=guidance)
    assert text(events) == "abcexyz"
    assert end(events).satisfied is True
    whole = run(scheduler, prompt, model.vocabulary.tokenize("abcexyz"), guidance=guidance)
    assert (text(whole), end(whole).reason) == ("abcexyz", "stop")
    refused = run(scheduler, prompt, model.vocabulary.tokenize("abq"), guidance=guidance)
    assert isinstance(refused[-1], Failed)
    assert isinstance(refused[-1].error, ConstraintError)
    assert text(run(scheduler, prompt, model.vocabulary.tokenize("abcd"), guidance=guidance)) == "abcdxyz"


def test_what_stands_behind_a_gap_is_moved_up(model: Model, scheduler: Scheduler) -> None:
    head, old, new = (model.vocabulary.tokenize(part) for part in ("the system ", "old talk " * 30, "new questions " * 30))
    run(scheduler, [*head, *old, *new], [], max_tokens=1)
    moved = run(scheduler, [*head, *new], [], max_tokens=4, closes_gap=True)
    assert end(moved).timings.prompt_n <= 2
    assert len(ids(moved)) == 4
    assert scheduler.slots.tokens_of(0)[: len(head) + len(new)] == [*head, *new]
    prefills = [event for event in moved if isinstance(event, Prefill)]
    assert prefills[-1].done == prefills[-1].total == len(head) + len(new)


def test_without_leave_nothing_is_moved(model: Model, scheduler: Scheduler) -> None:
    head, old, new = (model.vocabulary.tokenize(part) for part in ("the system ", "old talk " * 30, "new questions " * 30))
    fresh = ids(run(scheduler, [*head, *new], [], max_tokens=4))
    run(scheduler, [*head, *old, *new], [], max_tokens=1)
    again = run(scheduler, [*head, *new], [], max_tokens=4)
    assert ids(again) == fresh
    assert end(again).timings.prompt_n >= len(new)


def test_a_short_piece_behind_a_gap_is_not_worth_it(model: Model, scheduler: Scheduler) -> None:
    head, old, new = (model.vocabulary.tokenize(part) for part in ("the system ", "old talk " * 30, "new"))
    run(scheduler, [*head, *old, *new], [], max_tokens=1)
    fresh = run(scheduler, [*head, *new], [], max_tokens=2, closes_gap=True)
    assert end(fresh).usage.cached_tokens == len(head)


BEGUN = (
    Message("assistant", "The sky <|im_end|> is "),
    Message("assistant", "It is blue", reasoning_content="hm, let me"),
    Message("assistant", "", reasoning_content="hm, le"),
)


@pytest.mark.parametrize(
    ("name", "answers"),
    [
        ("meta-llama-Llama-3.1-8B-Instruct", 1),
        ("microsoft-Phi-3.5-mini-instruct", 1),
        ("Qwen-Qwen3-0.6B", 3),
        ("Qwen-QwQ-32B", 3),
        ("deepseek-ai-DeepSeek-R1-Distill-Llama-8B", 3),
        ("openai-gpt-oss-120b", 3),
    ],
)
def test_an_answer_of_which_only_the_text_is_known_goes_on(tiny_model: Path, name: str, answers: int) -> None:
    source, question = (TEMPLATES / f"{name}.jinja").read_text(), Message("user", "Hi")
    with Engine(tiny_model) as engine:
        vocabulary = engine.model.vocabulary
        turn = engine.chat_turn([question], Rendering(), template=source)
        for message in BEGUN[:answers]:
            tokens = engine.answer_tokens(turn, [question, message], Rendering(), template=source)
            with AnswerReader(turn) as reader:
                reader.feed(vocabulary.detokenize(list(tokens), special=True).decode())
                read, _ = reader.finish(complete=False)
            assert read.content.strip() == message.text.strip()
            assert read.reasoning_content.strip() == (message.reasoning_content or "")
            assert not any(vocabulary.is_end(token) for token in tokens)


def test_a_template_that_cannot_go_on_says_so(tiny_model: Path) -> None:
    source, messages = (TEMPLATES / "LFM2-8B-A1B.jinja").read_text(), [Message("user", "Hi"), BEGUN[1]]
    with Engine(tiny_model) as engine:
        turn = engine.chat_turn(messages[:1], Rendering(), template=source)
        with pytest.raises(UsageError, match="cannot continue an answer from its text alone"):
            engine.answer_tokens(turn, messages, Rendering(), template=source)


def test_a_state_that_does_not_fit_leaves_the_engine_whole(tiny_model: Path, tmp_path: Path) -> None:
    path = tmp_path / "s.state"
    with Engine(tiny_model, context=ContextParams(n_ctx=256, threads=1)) as engine:
        assert engine.state_bytes == 0
        params = GenerationParams(max_tokens=6, sampling=GREEDY)
        first = tokens_of(engine.answer(engine.text_turn("first text"), params))
        assert engine.save_state(path) > 0
        assert 0 < engine.state_bytes <= path.stat().st_size
        data = bytearray(path.read_bytes())
        data[-1] ^= 1
        path.write_bytes(data)
        with pytest.raises(StateError):
            engine.load_state(path)
        assert tokens_of(engine.answer(engine.text_turn("first text"), params)) == first


def test_a_context_shift_keeps_the_token_of_the_beginning(model: Model, scheduler: Scheduler) -> None:
    bos = model.vocabulary.bos
    assert bos >= 0
    text = model.vocabulary.tokenize("a prompt of some length " * 90)
    for first in (bos, text[0]):
        events = run(scheduler, [first, *text], [], max_tokens=600, context_shift=True)
        assert end(events).reason == "length"
        assert scheduler.slots.tokens_of(0)[0] == bos or first != bos
    assert len(scheduler.slots.tokens_of(0)) <= 2048


@pytest.mark.parametrize("samples", [1, 2])
def test_a_question_that_continues_its_last_message_is_answered_with_the_rest_only(tiny_model: Path, samples: int) -> None:
    start = Message("assistant", "The sky is")
    question = Question(conversation=(Message("user", "Hi"), start), continues_last=True)
    params = GenerationParams(max_tokens=6, sampling=GREEDY, logprobs=0)
    with Engine(tiny_model, context=ContextParams(n_ctx=256, n_seq_max=samples, threads=1)) as engine:
        turn = engine.render(question)
        events = list(engine.answer(turn, params, samples=samples))
        answers = [event for event in events if isinstance(event, Answer)]
        assert len(answers) == samples
        whole = list(engine.answer(dataclasses.replace(turn, start=None), params))[-1]
        assert isinstance(whole, Answer)
        for answer in answers:
            deltas = [d.content for e in events if isinstance(e, Piece) and e.index == answer.index for d in e.deltas]
            assert whole.content == start.text + answer.content
            assert "".join(deltas) == answer.content
            assert (len(answer.tokens), answer.usage.completion_tokens) == (6, 6)


@pytest.mark.parametrize(
    "messages",
    [(), (Message("user", "Hi"),), (Message("user", "Hi"), Message("assistant", None, (ToolCall("look", "{}"),)))],
    ids=["none", "user", "call"],
)
def test_what_is_no_start_of_an_answer_is_not_continued(tiny_model: Path, messages: tuple[Message, ...]) -> None:
    with Engine(tiny_model) as engine, pytest.raises(UsageError) as caught:
        engine.render(Question(conversation=messages, continues_last=True))
    assert caught.value.parameter == "continue_final_message"


@pytest.mark.parametrize(
    ("known", "pieces", "new"),
    [
        ("The sky ", ("The", " sky", " is"), "is"),
        ("The sky ", ("The sky", "is"), "is"),
        (" The", ("The", " sky"), " sky"),
        ("ab", ("a", "c"), "c"),
        ("", ("a",), "a"),
    ],
)
def test_the_known_start_is_left_out_of_the_growing_text(known: str, pieces: tuple[str, ...], new: str) -> None:
    start = StartFilter(Message("assistant", known))
    assert "".join(start.delta(Delta(piece)).content for piece in pieces) == new


def test_the_rest_of_an_answer_is_checked_with_its_start(tiny_model: Path) -> None:
    constraint = schema_constraint('{"type": "object", "properties": {"a": {"const": 5}}, "required": ["a"]}')
    start = Message("assistant", '{"a":')
    question = Question(conversation=(Message("user", "Hi"), start), constraint=constraint, continues_last=True)
    with Engine(tiny_model) as engine:
        turn = engine.render(question)
        answer = list(engine.answer(turn, GenerationParams(max_tokens=40, sampling=GREEDY)))[-1]
        assert isinstance(answer, Answer)
        assert json.loads(start.text + answer.content) == {"a": 5}
        check_answer(turn, answer)
