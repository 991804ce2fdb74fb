"""The supervised child: calls, streams, bounds, and every way in which it or its parent can end."""

from __future__ import annotations

import dataclasses
import io
import itertools
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest
import tiny

from llamacli.backend.child import contract
from llamacli.backend.child.embedder import open_embedder
from llamacli.backend.child.engine import ChildEngine, open_engine
from llamacli.backend.child.params import ChildParams
from llamacli.backend.child.process.death import Vitals, died, reason_in
from llamacli.backend.child.wire.codec import MAX_FRAME_BYTES, ProtocolError, Variants, decode, encode
from llamacli.backend.child.wire.faults import Fault, exception_of, fault_of
from llamacli.backend.child.wire.frames import Call, Channel, FromChild, ToChild
from llamacli.engine.chat.question import Question
from llamacli.engine.chat.turn import Turn
from llamacli.engine.embedding.outcome import Embedded
from llamacli.engine.engine import Engine
from llamacli.engine.events import Answer, Failed, Piece, Prefill
from llamacli.engine.generation.job import Job
from llamacli.engine.params import ContextParams, GenerationParams, ModelParams, SamplingParams
from llamacli.errors import (
    ClosedError,
    ContextFullError,
    EngineDiedError,
    GrammarSyntaxError,
    LlamacliError,
    MemoryFullError,
    ModelFileError,
    UsageError,
)  # fmt: skip
from llamacli.gguf.check.loadable import check_loadable

GREEDY = GenerationParams(max_tokens=12, sampling=SamplingParams(temperature=0, ignore_eos=True))
ENDLESS = GenerationParams(context_shift=True, sampling=SamplingParams(temperature=0, ignore_eos=True))


def start(model: Path, **params: float) -> ChildEngine:
    return open_engine(model, ModelParams(), ContextParams(n_ctx=256, threads=1), child=ChildParams(**params))


@pytest.fixture(scope="module")
def engine(tiny_model: Path) -> Iterator[ChildEngine]:
    with start(tiny_model) as opened:
        yield opened


def test_a_damaged_vocabulary_is_told_even_if_c_comes_first(tmp_path: Path) -> None:
    """The child checks tokens while C reads them: whichever ends first, the message is that of the check."""
    names = list(tiny.default_vocabulary().tokens)
    names[5] = names[6]
    twice = dataclasses.replace(tiny.default_vocabulary(), tokens=tuple(names))
    damaged = tiny.tiny_model(tmp_path / "twice.gguf", vocabulary=twice)
    with pytest.raises(ModelFileError) as expected:
        check_loadable(damaged)
    for _ in range(3):
        with pytest.raises(ModelFileError) as caught:
            start(damaged)
        assert str(caught.value) == str(expected.value)


def is_alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def wait_until_dead(pid: int, seconds: float = 10) -> None:
    deadline = time.monotonic() + seconds
    while is_alive(pid):
        assert time.monotonic() < deadline, "an orphan"
        time.sleep(0.01)


# --- the same as in this process ---------------------------------------------------------------------------------------


def test_a_child_answers_as_the_engine_does(tiny_model: Path, engine: ChildEngine) -> None:
    question = Question(text="Hello there")
    with Engine(tiny_model, ModelParams(), ContextParams(n_ctx=256, threads=1)) as here:
        turn = here.render(question)
        (expected,) = [event for event in here.answer(turn, GREEDY) if isinstance(event, Answer)]
        assert engine.render(question) == turn
        assert engine.describe().n_vocab == here.describe().n_vocab
        assert engine.next_tokens("Hello") == here.next_tokens("Hello")
    (answer,) = [event for event in engine.answer(turn, GREEDY) if isinstance(event, Answer)]
    assert (answer.content, answer.usage.completion_tokens) == (expected.content, 12)


def test_many_answers_come_with_the_numbers_of_their_jobs(engine: ChildEngine) -> None:
    turns = [engine.text_turn(f"row {number}") for number in range(20)]
    jobs = (Job(number=number, turn=turn, params=GREEDY) for number, turn in enumerate(turns))
    answers = [event for event in engine.answer_many(jobs, parallel=2) if isinstance(event, Answer)]
    assert sorted(answer.index for answer in answers) == list(range(20))


def test_an_error_of_the_callers_jobs_is_the_callers(engine: ChildEngine) -> None:
    def jobs() -> Iterator[Job]:
        yield Job(number=0, turn=engine.text_turn("x"), params=GREEDY)
        raise UsageError("the second row is wrong")

    with pytest.raises(UsageError, match="the second row"):
        list(engine.answer_many(jobs(), parallel=1))
    assert list(engine.answer(engine.text_turn("x"), GREEDY))


# --- bounds -------------------------------------------------------------------------------------------------------------


def test_the_child_waits_for_the_prompt_to_be_taken_then_computes_ahead_within_its_window(engine: ChildEngine) -> None:
    events = engine.answer(engine.text_turn("Hello"), ENDLESS)
    for event in events:
        if isinstance(event, Prefill) and event.done == event.total:
            break
    evaluated = engine.cached_tokens
    time.sleep(0.3)
    assert engine.cached_tokens == evaluated, "no token of the answer before the prompt was taken"
    assert isinstance(next(events), Piece)
    time.sleep(1)
    before = engine.cached_tokens, engine.n_ctx
    time.sleep(0.3)
    assert (engine.cached_tokens, engine.n_ctx) == before, "a bounded number of tokens ahead"
    events.close()


def test_who_leaves_an_answer_finds_the_engine_idle(engine: ChildEngine) -> None:
    events = engine.answer(engine.text_turn("Hello"), ENDLESS)
    assert sum(isinstance(event, Piece) for event in itertools.islice(events, 20))
    events.close()
    (answer,) = [event for event in engine.answer(engine.text_turn("Hello"), GREEDY) if isinstance(event, Answer)]
    assert answer.finish_reason == "length"


def test_cancel_ends_an_answer_wherever_it_is(engine: ChildEngine) -> None:
    for wait in (0.0, 0.05, 0.2):
        timer = threading.Timer(wait, engine.cancel)
        events = engine.answer(engine.text_turn("Hello"), ENDLESS)
        next(events)
        timer.start()
        *_, answer = events
        assert isinstance(answer, Answer)
        assert answer.finish_reason == "cancelled"
        timer.join()


def test_a_cancel_that_comes_late_spares_the_next_answer(engine: ChildEngine) -> None:
    turn = engine.text_turn("Hello")
    for _ in range(20):
        list(engine.answer(turn, GREEDY))
        engine.cancel()  # of an answer that has ended
        *_, answer = engine.answer(turn, GREEDY)
        assert isinstance(answer, Answer)
        assert answer.finish_reason == "length"


# --- the end ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("number", "error", "says"),
    [
        (
            signal.SIGABRT,
            EngineDiedError,
            r"the engine died \(SIGABRT\) \(this model file is probably damaged: llamacli info",
        ),
        (signal.SIGSEGV, EngineDiedError, r"the engine died \(SIGSEGV\)"),
        (signal.SIGKILL, MemoryFullError, r"killed \(SIGKILL\), probably because memory ran out: it .*MiB are free now"),
    ],
)
def test_a_death_in_an_answer_is_one_error_and_stays_one(
    tiny_model: Path, number: int, error: type[LlamacliError], says: str
) -> None:
    engine = start(tiny_model)
    events = engine.answer(engine.text_turn("Hello"), ENDLESS)
    shown = list(itertools.islice(events, 10))
    os.kill(engine.pid, number)
    with pytest.raises(error, match=says):
        list(events)
    with pytest.raises(error):
        engine.describe()
    engine.cancel()
    engine.close()
    engine.close()
    assert len(shown) == 10
    assert not list(Path.cwd().glob("core*"))


def test_a_child_that_hangs_is_taken_for_dead(tiny_model: Path) -> None:
    engine = start(tiny_model, patience=2)
    events = engine.answer(engine.text_turn("Hello"), ENDLESS)
    next(events)
    os.kill(engine.pid, signal.SIGSTOP)
    with pytest.raises(EngineDiedError, match="the engine hung: no progress for 2 s"):
        list(events)
    wait_until_dead(engine.pid)


def test_a_reader_that_waits_longer_than_the_patience_is_no_hang(tiny_model: Path) -> None:
    with start(tiny_model, patience=2) as engine:
        events = engine.answer(engine.text_turn("Hello"), ENDLESS)
        next(events)
        time.sleep(3.5)
        assert next(events)


def test_closing_ends_waiting_calls_and_the_process(tiny_model: Path) -> None:
    engine = start(tiny_model)
    caught: list[BaseException] = []

    def consume() -> None:
        try:
            for _ in engine.answer(engine.text_turn("Hello"), ENDLESS):
                pass
        except ClosedError as error:
            caught.append(error)

    thread = threading.Thread(target=consume)
    thread.start()
    time.sleep(0.3)
    engine.close()
    thread.join(10)
    assert [str(error) for error in caught] == ["the engine was closed"]
    wait_until_dead(engine.pid)


def test_the_thread_that_started_a_child_may_end(tiny_model: Path) -> None:
    opened: list[ChildEngine] = []
    thread = threading.Thread(target=lambda: opened.append(start(tiny_model)))
    thread.start()
    thread.join()
    time.sleep(0.2)
    with opened[0] as engine:
        assert engine.tokenize("Hello")


ORPHAN = """
import sys, time
from pathlib import Path
from llamacli.backend.child.engine import open_engine
from llamacli.backend.child.process.start import prepare
from llamacli.engine.params import ContextParams, GenerationParams, ModelParams, SamplingParams
if sys.argv[2] == "fork":
    prepare("llamacli.backend.child.services.engine")
engine = open_engine(Path(sys.argv[1]), ModelParams(), ContextParams(n_ctx=256, threads=1))
print(engine.pid, flush=True)
while True:
    for event in engine.answer(engine.text_turn("x"), GenerationParams(sampling=SamplingParams(ignore_eos=True))):
        pass
"""


@pytest.mark.parametrize("how", ["fork", "spawn"])
def test_no_orphan_stays_when_the_parent_is_killed(tiny_model: Path, how: str, pytestconfig: pytest.Config) -> None:
    for number in range(min(pytestconfig.getoption("--cycles"), 250)):
        wait = number % 7 * 0.05
        parent = subprocess.Popen([sys.executable, "-c", ORPHAN, str(tiny_model), how], stdout=subprocess.PIPE, text=True)
        assert parent.stdout is not None
        pid = int(parent.stdout.readline())
        time.sleep(wait)
        parent.kill()
        parent.wait()
        parent.stdout.close()
        wait_until_dead(pid, 2)


def test_cycles_of_loading_and_closing_leave_nothing_behind(tiny_model: Path) -> None:
    def descriptors() -> int:
        return len(list(Path("/proc/self/fd").iterdir()))

    start(tiny_model).close()
    before, threads = descriptors(), threading.active_count()
    pids = []
    for _ in range(5):
        with start(tiny_model) as engine:
            pids.append(engine.pid)
    for pid in pids:
        wait_until_dead(pid)
    time.sleep(0.1)
    assert descriptors() == before
    assert threading.active_count() <= threads


# --- the wire -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "error",
    [
        UsageError("m", hint="h", parameter="n_ctx"),
        ContextFullError("m", needed=5, available=3),
        GrammarSyntaxError("m", line=2, column=3, offset=4),
        OSError(28, "No space left on device", "/x"),
        MemoryError("m"),
    ],
)
def test_exceptions_arrive_as_they_were_raised(error: Exception) -> None:
    arrived = exception_of(decode(encode(fault_of(error)), Fault))
    assert (type(arrived), str(arrived), vars(arrived)) == (type(error), str(error), vars(error))


def test_unexpected_exceptions_are_named_and_no_class_is_looked_up_elsewhere() -> None:
    arrived = exception_of(fault_of(KeyError("n")))
    assert (type(arrived), str(arrived)) == (RuntimeError, "KeyError: 'n'")
    assert type(exception_of(Fault("SystemExit", "0"))) is RuntimeError
    assert type(exception_of(Fault("describe", "x"))) is RuntimeError


@pytest.mark.parametrize(
    "data",
    [
        b"", b"\xff", encode(5), encode(["unknown", 1]), encode(["items", "one", []]), encode(["result", 1]),
        encode(["alive", 1.0, "much", True]), encode(["items", 1, [[[[1]]]], 5, 6]),
    ],
    ids=repr,
)  # fmt: skip
def test_a_frame_of_another_form_is_refused(data: bytes) -> None:
    ours, theirs = socket.socketpair()
    theirs.sendall(len(data).to_bytes(4, "little") + data)
    channel = Channel(ours)
    if data == encode(["items", 1, [[[[1]]]], 5, 6]):
        assert channel.receive(FromChild) is not None, "new fields of a later version are ignored"
    else:
        with pytest.raises(ProtocolError):
            channel.receive(FromChild)
    channel.close()
    theirs.close()


def test_a_length_without_bound_is_refused_before_memory_is_taken() -> None:
    ours, theirs = socket.socketpair()
    theirs.sendall((MAX_FRAME_BYTES + 1).to_bytes(4, "little"))
    channel = Channel(ours)
    with pytest.raises(ProtocolError, match="too long"):
        channel.receive(FromChild)
    channel.close()
    theirs.close()


def test_a_frame_that_is_cut_is_the_end() -> None:
    ours, theirs = socket.socketpair()
    theirs.sendall((100).to_bytes(4, "little") + b"x")
    theirs.close()
    channel = Channel(ours)
    assert channel.receive(FromChild) is None
    channel.close()


def test_values_of_another_type_are_refused(engine: ChildEngine) -> None:
    call = Call(1, contract.RENDER.name, msgspec.Raw(encode({"text": 5})), 1, 0)
    assert decode(encode(call), ToChild) is not None
    with pytest.raises(ProtocolError, match="Expected `str`"):
        decode(call.arguments, Question)
    with pytest.raises(ProtocolError, match="unknown variant"):
        Variants(Turn).decode(encode((7, {})))


@pytest.mark.parametrize(
    ("words", "reason"),
    [
        ("/x/ggml.c:3456: GGML_ASSERT(n_dims % 2 == 0) failed\n", "GGML_ASSERT(n_dims % 2 == 0)"),
        ("terminate called after throwing an instance of 'std::bad_alloc'\n  what():  std::bad_alloc\n", "std::bad_alloc"),
        ("terminate called after throwing an instance of 'int'\n", "int"),
        ("nothing of note\n", ""),
    ],
)
def test_the_reason_is_in_the_last_words(words: str, reason: str) -> None:
    assert reason_in(words) == reason


STACKS = """Fatal Python error: Floating point exception

Thread 0x00007f (most recent call first):
  File "/x/llamacli/binding/bridge.py", line 53 in answer
  File "/x/llamacli/{}", line 64 in {}
  File "/x/llamacli/engine/chat/prompts.py", line 75 in render
"""


@pytest.mark.parametrize(
    ("place", "says"),
    [
        (("engine/chat/template.py", "render"), "SIGFPE) while it rendered the chat template (use another template"),
        (("engine/runtime/vocabulary.py", "_tokenize"), "SIGFPE) while it tokenized the text (this model file is probably"),
        (("engine/media/encoder.py", "load"), "SIGFPE) while it used the projector (the projector is probably damaged"),
        (("engine/generation/step.py", "decode"), "SIGFPE) (this model file is probably damaged: llamacli info --check"),
    ],
)
def test_a_death_by_a_signal_names_what_is_at_fault(place: tuple[str, str], says: str) -> None:
    words = io.BytesIO(STACKS.format(*place).encode())
    assert f"the engine died ({says}" in str(died(-signal.SIGFPE, words, Vitals(), Path("model.gguf")))


def test_a_template_that_crashes_is_named_and_not_the_model(tiny_model: Path) -> None:
    with start(tiny_model) as engine:
        with pytest.raises(EngineDiedError, match=r"\(SIGFPE\) while it rendered the chat template") as caught:
            engine.render(Question(text="Hi", template="{{ 3 is divisibleby(0) }}"))
        assert "model file" not in str(caught.value)
        engine.revive()
        assert engine.render(Question(text="Hi")).prompt.tokens


# --- a death in the middle of many --------------------------------------------------------------------------------------


def kill_once(engine: ChildEngine, after: int) -> Iterator[Job]:
    """Twelve jobs; the child is killed when job `after` is taken."""
    turns = [engine.text_turn(f"row {number}") for number in range(12)]
    for number, turn in enumerate(turns):
        if number == after:
            os.kill(engine.pid, signal.SIGSEGV)
        yield Job(number=number, turn=turn, params=GREEDY)


def test_jobs_in_flight_are_tried_again_after_a_death(tiny_model: Path, caplog: pytest.LogCaptureFixture) -> None:
    with start(tiny_model) as engine:
        events = list(engine.answer_many(kill_once(engine, 5), parallel=2))
    answers = [event for event in events if isinstance(event, Answer)]
    assert sorted(answer.index for answer in answers) == list(range(12))
    assert "the engine died (SIGSEGV): the answers in progress are tried again, one by one" in caplog.text


def test_a_job_that_kills_twice_has_failed_and_the_others_are_answered(
    tiny_model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with start(tiny_model) as engine:
        taken = engine._answer_side_by_side

        def deadly(jobs: Iterator[Job | None], *rest: Any) -> Iterator[object]:
            def watched() -> Iterator[Job | None]:
                for job in jobs:
                    if job is not None and job.number == 3:
                        os.kill(engine.pid, signal.SIGSEGV)
                    yield job

            return taken(watched(), *rest)

        monkeypatch.setattr(engine, "_answer_side_by_side", deadly)
        turn = engine.text_turn("Hello")
        jobs = iter([Job(number=number, turn=turn, params=GREEDY) for number in range(8)])
        events = list(engine.answer_many(jobs, parallel=2))
    assert sorted(event.index for event in events if isinstance(event, Answer)) == [0, 1, 2, 4, 5, 6, 7]
    (failed,) = [event for event in events if isinstance(event, Failed)]
    assert (failed.sequence, type(failed.error)) == (3, EngineDiedError)


def test_texts_in_flight_are_tried_again_after_a_death(tiny_embedding_model: Path) -> None:
    def texts(deaths: int) -> Iterator[str]:
        for number in range(200):
            if number == 150 and deaths:
                os.kill(embedder.pid, signal.SIGABRT)
            yield f"text number {number}"

    with open_embedder(tiny_embedding_model, ModelParams(), ContextParams(threads=1)) as embedder:
        expected = list(embedder.embed(texts(0)))
        counts: list[int] = []
        found = list(embedder.embed(texts(1), on_done=counts.append))
    assert [outcome.index for outcome in found] == list(range(200))
    assert all(isinstance(one, Embedded) and isinstance(two, Embedded) for one, two in zip(expected, found, strict=True))
    assert counts[-1] == 200


def test_what_answers_is_imported_beside_the_loading():
    code = (
        "import sys; from llamacli.backend.child.services.engine import service; service();"
        "print(any(name.startswith('llamacli.engine.generation.sch') for name in sys.modules))"
    )
    done = subprocess.run([sys.executable, "-P", "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "False\n"
