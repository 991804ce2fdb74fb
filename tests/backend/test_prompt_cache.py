"""Evaluated prompts on disk: they come back in other processes, with the same text, or are evaluated again."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator, Sequence
from contextlib import aclosing
from pathlib import Path
from types import SimpleNamespace
from typing import cast

import pytest
import tiny

from llamacli.backend.child.engine import ChildEngine, open_engine
from llamacli.backend.child.event_loop import LoopEngine
from llamacli.backend.child.params import ChildParams
from llamacli.backend.child.process import resident
from llamacli.backend.prompt_cache import CachedPrompts, PromptEngine
from llamacli.engine.engine import Engine
from llamacli.engine.events import Answer
from llamacli.engine.generation.job import Job
from llamacli.engine.params import ContextParams, GenerationParams, ModelParams, SamplingParams
from llamacli.engine.runtime.prompt_identity import Form, PromptIdentity
from llamacli.errors import UsageError
from llamacli.store.prompt_cache import BLOCK, block_file
from llamacli.store.prompt_cache.block_file import Block
from llamacli.store.prompt_cache.cache import Found, PromptCache

GREEDY = GenerationParams(max_tokens=24, sampling=SamplingParams(temperature=0, ignore_eos=True))
SEEDED = GenerationParams(max_tokens=24, sampling=SamplingParams(seed=7, ignore_eos=True))
DOCUMENT = " ".join(f"world {i} the weather" for i in range(60))


@pytest.fixture
def model(quantized_model: Path) -> Path:
    return quantized_model


def start(
    model: Path, *, context: ContextParams | None = None, weights: ModelParams | None = None, **child: object
) -> ChildEngine:
    settings = ChildParams(**{"prompt_cache": True, **child})
    return open_engine(model, weights or ModelParams(), context or ContextParams(n_ctx=4096, threads=1), child=settings)


def ask(engine: ChildEngine | Engine, text: str, params: GenerationParams = GREEDY) -> Answer:
    (answer,) = [one for one in engine.answer(engine.text_turn(text), params) if isinstance(one, Answer)]
    return answer


def asked(model: Path, text: str, params: GenerationParams = GREEDY, **how: object) -> Answer:
    """The answer of an engine of its own."""
    with start(model, **how) as engine:
        return ask(engine, text, params)


def cached(answer: Answer) -> int:
    return answer.usage.cached_tokens


@pytest.fixture
def known(model: Path) -> Answer:
    """The answer to a document that an engine has read and kept."""
    return asked(model, DOCUMENT)


@pytest.mark.parametrize(("form", "may"), [("rows", False), ("rows and window", True), ("state", True)])
def test_a_prompt_that_is_found_only_as_a_whole_is_not_looked_up_at_once(form: Form, may: bool, tmp_path: Path) -> None:
    identity = PromptIdentity("print", 1, keeps_answers=True, any_batch=True, token_bytes=1, form=form)
    engine = cast("PromptEngine", SimpleNamespace(prompt_identity=identity))
    prompts = CachedPrompts(engine, PromptCache(tmp_path), "model")
    assert prompts.may_have(range(BLOCK)) == may
    assert not prompts.may_have(range(BLOCK - 1))


@pytest.mark.parametrize("params", [GREEDY, SEEDED])
def test_another_process_does_not_evaluate_the_prompt_again(model, known, params):
    expected = asked(model, DOCUMENT, params, prompt_cache=False)
    again = asked(model, DOCUMENT, params)
    assert known.usage.prompt_tokens > 2 * BLOCK
    assert (cached(known), cached(expected), cached(again)) == (0, 0, known.usage.prompt_tokens - 1)
    assert (known.usage.restored_tokens, again.usage.restored_tokens) == (0, cached(again))
    assert again.content == expected.content


def test_a_longer_and_a_different_prompt_share_the_beginning(model, known):
    for text in (DOCUMENT + " and then the world goes on", DOCUMENT[:1500] + " but here it is another"):
        expected = asked(model, text, prompt_cache=False)
        again = asked(model, text)
        assert cached(again) >= BLOCK
        assert again.content == expected.content


def test_an_answer_is_not_evaluated_again_either(model):
    long = GenerationParams(max_tokens=2 * BLOCK, sampling=GREEDY.sampling, logprobs=0)
    first = asked(model, DOCUMENT, long)
    started = [token.id for token in first.tokens]
    again, expected = [], []
    for found, is_on in ((again, True), (expected, False)):
        with start(model, prompt_cache=is_on) as engine:
            found += engine.answer(engine.text_turn(DOCUMENT), GREEDY, started=started)
    assert cached(again[-1]) >= first.usage.prompt_tokens + BLOCK
    assert again[-1].content == expected[-1].content


def test_a_short_prompt_is_not_kept(model):
    asked(model, "Hello world")
    assert PromptCache().size() == 0


def test_nothing_is_kept_without_the_cache(model):
    asked(model, DOCUMENT, prompt_cache=False)
    assert not PromptCache().folder.exists()


@pytest.mark.parametrize(
    "params", [GenerationParams(cache_prompt=False, max_tokens=2), GenerationParams(score_prompt=True, max_tokens=2)]
)
def test_a_request_without_the_cache_neither_uses_nor_feeds_it(model, known, params):
    size = PromptCache().size()
    assert cached(asked(model, DOCUMENT, params)) == 0
    assert PromptCache().size() == size


@pytest.mark.parametrize(
    ("context", "weights"),
    [
        (ContextParams(n_ctx=4096, threads=1, flash_attention="off"), ModelParams()),
        (ContextParams(n_ctx=4096, threads=1, cache_type_k="f32"), ModelParams()),
        (ContextParams(n_ctx=4096, threads=1, rope_freq_scale=0.5), ModelParams()),
        (ContextParams(n_ctx=4096, threads=1), ModelParams(kernels="upstream")),
        (ContextParams(n_ctx=4096, threads=1), ModelParams(overrides=(("llama.rope.freq_base", 5000.0),))),
    ],
)
def test_other_parameters_do_not_find_it(model, known, context, weights):
    again = asked(model, DOCUMENT, context=context, weights=weights)
    assert cached(again) == 0
    assert again.content == asked(model, DOCUMENT, context=context, weights=weights, prompt_cache=False).content


def test_another_context_size_and_sequences_find_it(model, known):
    for context in (ContextParams(n_ctx=2048, threads=2), ContextParams(n_ctx=4096, n_seq_max=3, threads=1, invariant=True)):
        again = asked(model, DOCUMENT, context=context)
        assert (cached(again), again.content) == (known.usage.prompt_tokens - 1, known.content)


def test_a_changed_model_file_does_not_find_it(model, known, tmp_path):
    changed = tmp_path / model.name
    changed.write_bytes(model.read_bytes())
    assert cached(asked(changed, DOCUMENT)) == 0  # another time of change


def test_weights_that_our_kernels_do_not_know_are_cut_at_whole_batches(tmp_path):
    model = tiny.tiny_model(tmp_path / "tiny.gguf", context=4096, width=80)
    context = ContextParams(n_ctx=4096, n_ubatch=128, threads=1)
    first = asked(model, DOCUMENT, context=context)
    for text in (DOCUMENT, DOCUMENT + " and more of it", DOCUMENT[:1200] + " another end"):
        again = asked(model, text, context=context)
        assert cached(again) in range(128, first.usage.prompt_tokens, 128)
        assert again.content == asked(model, text, context=context, prompt_cache=False).content
    odd = ContextParams(n_ctx=4096, n_ubatch=100, threads=1)
    asked(model, DOCUMENT, context=odd)
    assert cached(asked(model, DOCUMENT, context=odd)) == 0


@pytest.mark.parametrize("damage", ["flip", "cut", "empty", "folder"])
def test_a_damaged_file_is_never_used(model, known, damage):
    (folder,) = PromptCache().folder.iterdir()
    for path in list(folder.iterdir()):
        data = path.read_bytes()
        path.unlink()
        if damage == "folder":
            path.mkdir()
        else:
            middle = len(data) // 2
            path.write_bytes(
                {"flip": data[:middle] + bytes([data[middle] ^ 4]) + data[middle + 1 :], "cut": data[:middle], "empty": b""}[
                    damage
                ]
            )
    again = asked(model, DOCUMENT)
    assert (cached(again), again.content) == (0, known.content)


QUESTION = b"what is asked " * 64


def read_late(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The tokens of the prompts that are read after they are known."""
    read, found = PromptCache.read, []

    def counted(store: PromptCache, wanted: Found, tokens: Sequence[int]) -> list[Block]:
        found.append(wanted.tokens)
        return read(store, wanted, tokens)

    monkeypatch.setattr(PromptCache, "read", counted)
    return found


@pytest.mark.parametrize("question", [QUESTION, b"short"])
def test_the_prompt_of_a_question_is_read_before_it_is_known(model, monkeypatch, question):
    late = read_late(monkeypatch)
    first = asked(model, DOCUMENT, question=question)
    again = asked(model, DOCUMENT, question=question)
    assert (again.content, cached(again)) == (first.content, first.usage.prompt_tokens - 1)
    assert len(late) == (question != QUESTION)


def test_what_another_question_has_kept_is_found_at_once_the_next_time(model, known, monkeypatch):
    late = read_late(monkeypatch)
    texts = {asked(model, DOCUMENT, question=QUESTION).content for _ in range(3)}
    assert texts == {known.content}
    assert len(late) == 1


def test_a_question_with_another_prompt_than_the_last_time_gets_its_own(model, known, monkeypatch):
    asked(model, DOCUMENT, question=QUESTION)
    late = read_late(monkeypatch)
    for text in (DOCUMENT[:1500] + " but here it is another", "world " + DOCUMENT):
        expected = asked(model, text, prompt_cache=False)
        assert asked(model, text, question=QUESTION).content == expected.content
    assert asked(model, DOCUMENT, question=QUESTION).content == known.content
    assert late


def test_a_damaged_file_is_not_used_for_a_question_either(model, known):
    asked(model, DOCUMENT, question=QUESTION)
    for path in PromptCache().folder.rglob("*.block"):
        data = bytearray(path.read_bytes())
        data[-1] ^= 4
        path.write_bytes(data)
    again = asked(model, DOCUMENT, question=QUESTION)
    assert (cached(again), again.content) == (0, known.content)


def test_a_full_disk_costs_nothing_but_the_cache(model, monkeypatch):
    def full(file: object, data: bytes) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(block_file, "_write_all", full)
    assert asked(model, DOCUMENT).finish_reason == "length"
    assert PromptCache().size() == 0


def test_a_folder_that_cannot_be_made_costs_nothing_but_the_cache(model, monkeypatch, tmp_path):
    (tmp_path / "file").write_text("in the way")
    monkeypatch.setenv("LLAMACLI_CACHE_DIR", str(tmp_path / "file"))
    assert cached(asked(model, DOCUMENT)) == cached(asked(model, DOCUMENT)) == 0


def test_an_engine_that_holds_the_prompt_asks_the_disk_for_nothing(model, known, monkeypatch):
    with start(model) as engine:
        assert cached(ask(engine, DOCUMENT)) == known.usage.prompt_tokens - 1
        monkeypatch.setattr(PromptCache, "read", lambda *_: pytest.fail("it was read again"))
        assert cached(ask(engine, DOCUMENT + " more")) >= known.usage.prompt_tokens - 1


def jobs(engine: ChildEngine, questions: list[str]) -> Iterator[Job]:
    for number, question in enumerate(questions):
        yield Job(number=number, turn=engine.text_turn(f"{DOCUMENT} {question}"), params=GREEDY)


def answers(engine: ChildEngine, questions: list[str]) -> dict[int, Answer]:
    events = engine.answer_many(jobs(engine, questions), parallel=2)
    return {event.index: event for event in events if isinstance(event, Answer)}


def test_rows_keep_what_they_have_in_common(model):
    questions = [f"question {i} of all" for i in range(6)]
    context = ContextParams(threads=1)
    with start(model, context=context, prompt_cache=False) as engine:
        expected = answers(engine, questions)
    with start(model, context=context) as engine:
        first = answers(engine, questions)
    document = min(first[0].usage.prompt_tokens, first[1].usage.prompt_tokens) - 12
    with start(model, context=context) as engine:
        again = answers(engine, questions)
    assert cached(first[0]) == 0
    assert all(cached(one) >= document // BLOCK * BLOCK for one in again.values())
    contents = [{number: one.content for number, one in sorted(found.items())} for found in (expected, first, again)]
    assert contents[0] == contents[1] == contents[2]


def stop_residents() -> None:
    for one in resident.running():
        resident.stop(one)
        with contextlib.suppress(ChildProcessError):
            os.waitpid(one.pid, 0)


def test_a_resident_engine_keeps_and_finds_prompts(model, tmp_path, monkeypatch):
    monkeypatch.setenv("LLAMACLI_RUNTIME_DIR", str(tmp_path / "run"))
    try:
        first = asked(model, DOCUMENT, keep_alive=60)
        assert cached(asked(model, DOCUMENT, keep_alive=60)) == first.usage.prompt_tokens - 1  # it holds it
        stop_residents()
        again = asked(model, DOCUMENT, keep_alive=60)
        assert (cached(again), again.content) == (first.usage.prompt_tokens - 1, first.content)
    finally:
        stop_residents()


def test_an_engine_in_this_process_keeps_and_finds_prompts(model, known):
    with Engine(model, ModelParams(), ContextParams(n_ctx=4096, threads=1)) as engine:
        prompts = CachedPrompts(engine, PromptCache(), model.name)
        turn = engine.text_turn(DOCUMENT)
        (answer,) = [one for one in prompts.answer(turn, (), lambda: engine.answer(turn, GREEDY)) if isinstance(one, Answer)]
        prompts.close()
    assert (cached(answer), answer.content) == (known.usage.prompt_tokens - 1, known.content)


@pytest.mark.parametrize("leaves", [False, True])
def test_a_server_keeps_and_finds_prompts(model, leaves):
    async def answer_of(engine: ChildEngine) -> Answer:
        async with aclosing(LoopEngine(engine).answer(engine.text_turn(DOCUMENT), GREEDY, samples=1)) as batches:
            async for batch in batches:
                if isinstance(batch[-1], Answer):
                    found = batch[-1]
                    if leaves:
                        break
        return found

    for expected in (0, asked(model, DOCUMENT, prompt_cache=False).usage.prompt_tokens - 1):
        with start(model, context=ContextParams(n_ctx=4096, n_seq_max=2, threads=1, invariant=True)) as engine:
            assert cached(asyncio.run(answer_of(engine))) == expected


def test_several_processes_use_it_at_once(model, known):
    texts = [f"{DOCUMENT[: 400 + 200 * i]} end {i}" for i in range(3)] * 2
    found: dict[int, str] = {}

    def work(number: int) -> None:
        found[number] = asked(model, texts[number]).content

    threads = [threading.Thread(target=work, args=(number,)) for number in range(len(texts))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == {number: asked(model, text, prompt_cache=False).content for number, text in enumerate(texts)}


KILLED = """
import os, signal, sys
from pathlib import Path
from llamacli.backend.child.engine import open_engine
from llamacli.backend.child.event_loop import LoopEngine
from llamacli.backend.child.params import ChildParams
from llamacli.engine.params import ContextParams, GenerationParams, ModelParams, SamplingParams
from llamacli.store.prompt_cache import block_file

written = []

def dying(file, data):
    file.write(data[: len(data) // 2])
    written.append(1)
    if len(written) > 2:
        os.kill(os.getpid(), signal.SIGKILL)
    file.write(data[len(data) // 2 :])

block_file._write_all = dying
greedy = GenerationParams(max_tokens=24, sampling=SamplingParams(temperature=0, ignore_eos=True))
context, child = ContextParams(n_ctx=4096, threads=1), ChildParams(prompt_cache=True)
engine = open_engine(Path(sys.argv[1]), ModelParams(), context, child=child)
list(engine.answer(engine.text_turn(sys.argv[2]), greedy))
engine.close()
"""


def test_a_kill_in_the_middle_of_writing_leaves_nothing_wrong(model):
    died = subprocess.run([sys.executable, "-c", KILLED, str(model), DOCUMENT], env=dict(os.environ), check=False)
    assert died.returncode == -signal.SIGKILL
    expected = asked(model, DOCUMENT, prompt_cache=False)
    for _ in range(2):
        assert asked(model, DOCUMENT).content == expected.content
    assert cached(asked(model, DOCUMENT)) == expected.usage.prompt_tokens - 1


def test_a_size_below_a_byte_is_refused():
    with pytest.raises(UsageError, match="at least 1 byte"):
        ChildParams(cache_size=0)


def test_the_size_bounds_the_cache(model):
    asked(model, DOCUMENT, cache_size=100_000)
    assert PromptCache().size() <= 100_000
