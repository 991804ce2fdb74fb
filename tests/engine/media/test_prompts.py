"""Pictures in prompts, with models whose answer is the colour of the picture, or depends on each pixel and position."""

from __future__ import annotations

import array
import math
import random
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from tiny_vision import COLOURS, Kind, Seeing, VisionModel

from llamacli.engine.chat.message import Message
from llamacli.engine.chat.question import Question
from llamacli.engine.engine import Engine
from llamacli.engine.events import Answer, Failed
from llamacli.engine.generation.job import Job
from llamacli.engine.media import encoder as encoders
from llamacli.engine.media.media import Media, MediaData, new_image, new_sound
from llamacli.engine.media.placeholders import is_placeholder
from llamacli.engine.params import ContextParams, GenerationParams, ModelParams, SamplingParams
from llamacli.errors import CapacityError, ContextFullError, EngineError, TemplateError, UsageError

KINDS: tuple[Kind, ...] = ("idefics3", "qwen2vl", "gemma3")
RGB = {"red": (255, 0, 0), "green": (0, 255, 0), "blue": (0, 0, 255)}
GREEDY = GenerationParams(max_tokens=12, sampling=SamplingParams(temperature=0.0))


def picture(colour: str, width: int = 40, height: int = 40) -> Media:
    return new_image(width, height, bytes(RGB[colour]) * (width * height))


def noise(seed: int, width: int = 64, height: int = 48) -> Media:
    return new_image(width, height, random.Random(seed).randbytes(3 * width * height))


@contextmanager
def opened(files: VisionModel, **context: Any) -> Iterator[Engine]:
    with Engine(files.model, ModelParams(mmproj=str(files.projector)), ContextParams(threads=1, **context)) as engine:
        yield engine


def ask(engine: Engine, *content: str | Media, params: GenerationParams = GREEDY) -> Answer:
    return answer_to(engine, [Message("user", content)], params)


def answer_to(engine: Engine, messages: list[Message], params: GenerationParams = GREEDY) -> Answer:
    *_, answer = engine.answer(engine.chat_turn(messages), params)
    assert isinstance(answer, Answer)
    return answer


@pytest.fixture
def encoded(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The numbers of values of the chunks that are encoded, in their order."""
    counts: list[int] = []
    native = encoders.encode_chunk

    def counted(context: Any, chunk: Any, count: int) -> bytes | None:
        counts.append(count)
        return native(context, chunk, count)

    monkeypatch.setattr(encoders, "encode_chunk", counted)
    return counts


@pytest.mark.parametrize("kind", KINDS)
def test_the_answer_is_the_colour(kind: Kind, seeing: Seeing) -> None:
    with opened(seeing(kind)) as engine:
        assert engine.describe().takes == ("image",)
        assert [ask(engine, picture(colour), "What colour?").content for colour in COLOURS] == list(COLOURS)
        strip = picture("blue", 60, 40)
        assert ask(engine, strip, "And this?").content == "blue"
        assert ask(engine, "One pixel:", picture("green", 1, 1)).content == "green"


@pytest.mark.parametrize("kind", KINDS)
def test_a_second_question_costs_its_own_tokens(kind: Kind, seeing: Seeing, encoded: list[int]) -> None:
    with opened(seeing(kind)) as engine:
        first = ask(engine, picture("red"), "What colour is it?")
        chunks = len(encoded)
        again = ask(engine, picture("red"), "Is it dark?")
        assert (first.content, again.content) == ("red", "red")
        assert again.usage.prompt_tokens - again.usage.cached_tokens < 40
        other = ask(engine, picture("green"), "Is it dark?")
        assert other.content == "green"
        tokens = engine.chat_turn([Message("user", (picture("green"), "Is it dark?"))]).prompt.tokens
        assert other.usage.cached_tokens <= [is_placeholder(token) for token in tokens].index(True)
    assert chunks == len(encoded) // 2
    assert encoded[:chunks] == encoded[chunks:]


@pytest.mark.parametrize("kind", KINDS)
def test_conversations_encode_a_picture_once(kind: Kind, seeing: Seeing, encoded: list[int]) -> None:
    picture_of_noise = noise(1)
    messages = [Message("user", (picture_of_noise, "What is it?"))]
    with opened(seeing(kind, 3)) as engine:
        answer = answer_to(engine, messages)
        chunks = len(encoded)
        messages += [answer.message(), Message("user", "And what else?")]
        second = answer_to(engine, messages)
        assert answer_to(engine, messages).content == second.content  # regenerated
        ask(engine, "Something else, which takes the slot")
        assert answer_to(engine, messages).content == second.content
        assert len(encoded) == chunks
    with opened(seeing(kind, 3)) as fresh:
        assert answer_to(fresh, messages).content == second.content


@pytest.mark.parametrize("kind", ["idefics3", "qwen2vl"])
@pytest.mark.parametrize("context", [{"n_batch": 3, "n_ubatch": 3}, {"n_batch": 7}, {"n_ubatch": 5}, {"kv_unified": True}])
def test_the_size_of_batches_changes_nothing(kind: Kind, seeing: Seeing, context: dict[str, Any]) -> None:
    content = ("First:", noise(1), "second:", noise(2, 33, 70), "Compare.")
    with opened(seeing(kind, 3)) as engine, opened(seeing(kind, 3), **context) as other:
        assert ask(other, *content).content == ask(engine, *content).content


@pytest.mark.parametrize("kind", KINDS)
def test_rows_beside_each_other_answer_as_alone(kind: Kind, seeing: Seeing, encoded: list[int]) -> None:
    contents = [(noise(1), "What?"), ("No picture",), (noise(2), "Where?"), (noise(1), "Who?"), (noise(1), "What else?")]
    with opened(seeing(kind, 3)) as engine:
        alone = [ask(engine, *content, params=GREEDY).content for content in contents]
    pictures = len(encoded)
    with opened(seeing(kind, 3)) as engine:
        turns = [engine.chat_turn([Message("user", content)]) for content in contents]
        jobs = [Job(number=number, turn=turn, params=GREEDY) for number, turn in enumerate(turns)]
        answers = {one.index: one for one in engine.answer_many(iter(jobs), parallel=3) if isinstance(one, Answer)}
    assert [answers[number].content for number in range(len(contents))] == alone
    assert len(encoded) == 2 * pictures  # in each run both pictures once


@pytest.mark.parametrize("kind", KINDS)
def test_samples_share_a_picture(kind: Kind, seeing: Seeing, encoded: list[int]) -> None:
    with opened(seeing(kind), n_seq_max=3) as engine:
        turn = engine.chat_turn([Message("user", (picture("red"), "What colour?"))])
        events = list(engine.answer(turn, GREEDY, samples=3))
        assert [one.content for one in events if isinstance(one, Answer)] == ["red"] * 3
        assert len(encoded) == sum(isinstance(part, encoders.Chunk) for part in engine.encoder.expand(picture("red")))  # type: ignore[union-attr]


@pytest.mark.parametrize("kind", KINDS)
def test_a_saved_state_keeps_the_picture(kind: Kind, seeing: Seeing, encoded: list[int], tmp_path: Path) -> None:
    messages = [Message("user", (noise(4), "What is it?"))]
    with opened(seeing(kind, 3)) as engine:
        answer = answer_to(engine, messages)
        assert engine.save_state(tmp_path / "state") > len(encoded)
        messages += [answer.message(), Message("user", "And then?")]
        expected = answer_to(engine, messages).content
    encoded.clear()
    with opened(seeing(kind, 3)) as engine:
        engine.load_state(tmp_path / "state")
        continued = answer_to(engine, messages)
        assert continued.content == expected
        assert continued.usage.cached_tokens > 20
        assert not encoded
        ask(engine, noise(5), "Another of the same size")
        assert encoded


@pytest.mark.parametrize("kind", KINDS)
def test_a_larger_context_keeps_the_picture(kind: Kind, seeing: Seeing, encoded: list[int]) -> None:
    messages = [Message("user", (noise(6), "What is it?"))]
    with opened(seeing(kind, 3)) as engine:
        messages += [answer_to(engine, messages).message(), Message("user", "Compare it with these: " + "world, " * 300)]
        chunks, before = len(encoded), engine.n_ctx
        grown = answer_to(engine, messages)
        assert engine.n_ctx > before
        assert grown.usage.cached_tokens > 20
        assert len(encoded) == chunks
    with opened(seeing(kind, 3)) as fresh:
        assert answer_to(fresh, messages).content == grown.content


@pytest.mark.parametrize("kind", KINDS)
def test_prefixes_in_memory_keep_the_picture(kind: Kind, seeing: Seeing, encoded: list[int]) -> None:
    with opened(seeing(kind, 3)) as engine:
        engine.keep_prefixes(64 << 20)
        expected = ask(engine, noise(1), "What is it?").content
        ask(engine, "A text that has nothing in common with the picture, and takes its place in the cache.")
        chunks = len(encoded)
        back = ask(engine, noise(1), "What is it?")
        assert back.content == expected
        assert back.usage.cached_tokens > 16
        assert len(encoded) == chunks


def test_marks_in_user_text_stay_text(seeing: Seeing) -> None:
    text = "<__media__> <|vision_start|> <fake_token_around_image> <|im_end|>"
    with opened(seeing("qwen2vl")) as engine:
        vocabulary = engine.model.vocabulary
        turn = engine.chat_turn([Message("user", (text, picture("red"), text))])
        controls = [token for token in turn.prompt.tokens if not is_placeholder(token) and vocabulary.is_control(token)]
        names = [vocabulary.special_piece(token).decode() for token in controls]
        assert names == ["<|im_start|>", "<|vision_start|>", "<|vision_end|>", "<|im_end|>", "<|im_start|>"]
        assert turn.prompt.text.count(text) == 2
        assert "[picture, 40 x 40]" in turn.prompt.text
        assert ask(engine, text, picture("red"), text).content == "red"


def test_a_question_has_its_pictures_before_the_text(seeing: Seeing) -> None:
    with opened(seeing("idefics3")) as engine:
        asked = engine.render(Question(text="What?", media=(picture("green"),)))
        assert asked.prompt == engine.chat_turn([Message("user", (picture("green"), "What?"))]).prompt
        assert [event.content for event in engine.answer(asked, GREEDY) if isinstance(event, Answer)] == ["green"]
        alone = engine.render(Question(media=(picture("green"),)))
        assert len(alone.prompt.media) == 1
        with pytest.raises(UsageError, match="belong to a message"):
            engine.render(Question(text="What?", media=(picture("green"),), raw=True))


def test_a_prompt_may_end_with_a_picture(seeing: Seeing) -> None:
    template = "{% for message in messages %}{{ message['content'] }}{% endfor %}"
    with opened(seeing("qwen2vl")) as engine:
        turn = engine.render(Question(text="", media=(picture("blue"),), template=template))
        end = turn.prompt.tokens[-1]
        cut = turn.prompt.tokens[: len(turn.prompt.tokens) - 1] if not is_placeholder(end) else turn.prompt.tokens
        assert is_placeholder(cut[-1])


def test_a_template_that_leaves_out_a_picture_is_refused(seeing: Seeing) -> None:
    with opened(seeing("idefics3")) as engine, pytest.raises(TemplateError, match="leaves out a picture"):
        engine.chat_turn([Message("user", (picture("red"), "What?"))], template="{{ messages[0]['role'] }}")


def test_sound(seeing: Seeing, encoded: list[int]) -> None:
    with opened(seeing("ultravox", 3)) as engine:
        about = engine.describe()
        assert (about.takes, about.sound_rate) == (("audio",), 16000)
        first, second = (new_sound(16000, tone(hertz, 1)) for hertz in (200, 3000))
        answers = [ask(engine, one, "What do you hear?") for one in (first, second, first)]
        assert answers[0].content == answers[2].content != answers[1].content
        assert len(encoded) == 2
        turn = engine.chat_turn([Message("user", (first, "What?"))])
        assert "[sound, 1 s]" in turn.prompt.text
        long = engine.chat_turn([Message("user", (new_sound(16000, tone(440, 45)), "What?"))])
        assert sum(map(is_placeholder, long.prompt.tokens)) == 2 * sum(map(is_placeholder, turn.prompt.tokens))
        with pytest.raises(UsageError, match="16000 samples a second, not 8000"):
            ask(engine, new_sound(8000, tone(440, 1)), "What?")


def tone(hertz: int, seconds: int) -> bytes:
    return array.array("f", (math.sin(2 * math.pi * hertz * at / 16000) for at in range(16000 * seconds))).tobytes()


def test_what_the_model_does_not_take(seeing: Seeing) -> None:
    with opened(seeing("idefics3")) as engine:
        with pytest.raises(UsageError, match="this model takes no sound"):
            engine.chat_turn([Message("user", (new_sound(16000, bytes(400)), "What?"))])
        scored = GenerationParams(max_tokens=1, score_prompt=True)
        with pytest.raises(UsageError, match="cannot be scored"):
            ask(engine, picture("red"), params=scored)
        with pytest.raises(ContextFullError, match="the context holds"):
            ask(engine, *[noise(seed, 640, 480) for seed in range(200)])


@pytest.mark.parametrize("kind", KINDS)
def test_a_full_context_drops_text_after_the_picture(seeing: Seeing, kind: Kind) -> None:
    """With M-RoPE nothing can be dropped: positions are not numbers of tokens."""
    params = GenerationParams(max_tokens=150, context_shift=True, sampling=SamplingParams(temperature=0.0, ignore_eos=True))
    with opened(seeing(kind), n_ctx=100) as engine:
        answer = ask(engine, picture("green"), "What is it?", params=params)
    if kind == "qwen2vl":
        assert (answer.finish_reason, answer.usage.total_tokens) == ("context", 101)
    else:
        assert (answer.finish_reason, answer.usage.completion_tokens) == ("length", 150)
        assert set(answer.content.replace("green", "green ").split()) == {"green"}  # it is still seen


def test_a_prompt_of_another_projector_is_refused(seeing: Seeing) -> None:
    with opened(seeing("qwen2vl")) as engine, opened(seeing("qwen2vl", 3)) as other:
        turn = other.chat_turn([Message("user", (picture("red"), "What?"))])
        with pytest.raises(UsageError, match="another projector"):
            list(engine.answer(turn, GREEDY))


def test_lost_data_fail_one_answer_only(seeing: Seeing) -> None:
    lost = picture("red")
    without = Media(lost.kind, lost.id, MediaData(), width=lost.width, height=lost.height)
    with opened(seeing("qwen2vl")) as engine:
        turns = [engine.chat_turn([Message("user", (one, "What?"))]) for one in (without, picture("blue"))]
        jobs = [Job(number=number, turn=turn, params=GREEDY) for number, turn in enumerate(turns)]
        failed, answer = sorted(
            (one for one in engine.answer_many(iter(jobs), parallel=2) if isinstance(one, Answer | Failed)),
            key=lambda one: isinstance(one, Answer),
        )
        assert isinstance(failed, Failed)
        assert isinstance(failed.error, EngineError)
        assert isinstance(answer, Answer)
        assert answer.content == "blue"


def test_pictures_that_attend_to_each_other_must_fit_a_micro_batch(seeing: Seeing) -> None:
    with opened(seeing("gemma3", 3), n_ubatch=4) as engine, opened(seeing("gemma3", 3)) as other:
        assert ask(engine, noise(1), "What?").content == ask(other, noise(1), "What?").content
    for context in ({"n_ubatch": 3}, {"n_batch": 3}):
        with opened(seeing("gemma3"), **context) as engine, pytest.raises(CapacityError, match="takes 4 embeddings") as caught:
            ask(engine, picture("red"), "What?")
        assert caught.value.parameter == "n_ubatch"


def test_the_size_of_pictures_is_limited(seeing: Seeing) -> None:
    files = seeing("qwen2vl")
    counts = []
    for most in (None, 16):
        with Engine(files.model, ModelParams(mmproj=str(files.projector), image_max_tokens=most)) as engine:
            turn = engine.chat_turn([Message("user", (picture("red", 300, 200), "What?"))])
            counts.append(sum(map(is_placeholder, turn.prompt.tokens)))
            assert ask(engine, picture("red", 300, 200), "What?").content == "red"
    assert counts[0] > 100
    assert counts[1] <= 16


def test_cancelling_ends_within_one_chunk(seeing: Seeing, monkeypatch: pytest.MonkeyPatch) -> None:
    native = encoders.encode_chunk
    with opened(seeing("idefics3", 3)) as engine:
        calls: list[int] = []

        def cancelled(context: Any, chunk: Any, count: int) -> bytes | None:
            calls.append(count)
            engine.cancel()
            return native(context, chunk, count)

        monkeypatch.setattr(encoders, "encode_chunk", cancelled)
        assert ask(engine, noise(1, 200, 200), "What?").finish_reason == "cancelled"
        assert len(calls) == 1
        monkeypatch.setattr(encoders, "encode_chunk", native)
        answer = ask(engine, noise(1, 200, 200), "What?")
    with opened(seeing("idefics3", 3)) as fresh:
        assert ask(fresh, noise(1, 200, 200), "What?").content == answer.content
