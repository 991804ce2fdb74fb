"""Engines that stay: joined by the next program, listed, stopped, and never shared by what differs."""

from __future__ import annotations

import itertools
import os
import signal
import subprocess
import sys
import threading
import time
from array import array
from collections.abc import Iterator
from pathlib import Path

import pytest
from fakes import invoke

from llamacli.backend.child.engine import SERVICE, ChildEngine, open_engine
from llamacli.backend.child.feeder import Conversation
from llamacli.backend.child.params import ChildParams
from llamacli.backend.child.process import resident
from llamacli.backend.child.tokenizer import Vocabularies
from llamacli.cli.framework import context
from llamacli.engine.chat.message import Message
from llamacli.engine.events import Answer, Piece
from llamacli.engine.params import ContextParams, GenerationParams, ModelParams, SamplingParams
from llamacli.engine.tokenization.documents import Chunk, Document
from llamacli.errors import EngineError, ModelError, UsageError

GREEDY = GenerationParams(max_tokens=8, sampling=SamplingParams(temperature=0, ignore_eos=True))
PROMPT = "A prompt of more than a single token."
ENDLESS = GenerationParams(context_shift=True, sampling=SamplingParams(temperature=0, ignore_eos=True))


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    path = tmp_path / "run"
    monkeypatch.setenv("LLAMACLI_RUNTIME_DIR", str(path))
    yield path
    for one in resident.running():
        resident.stop(one)


def start(model: Path, keep_alive: float = 60, n_ctx: int = 256) -> ChildEngine:
    return open_engine(model, ModelParams(), ContextParams(n_ctx=n_ctx, threads=1), child=ChildParams(keep_alive=keep_alive))


def content(engine: ChildEngine, text: str = "Hello") -> str:
    (answer,) = [event for event in engine.answer(engine.text_turn(text), GREEDY) if isinstance(event, Answer)]
    return answer.content


def is_alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def wait_until_dead(pid: int, seconds: float = 10) -> None:
    deadline = time.monotonic() + seconds
    while is_alive(pid):
        assert time.monotonic() < deadline
        time.sleep(0.02)


def test_the_next_program_joins_and_finds_the_prompt_evaluated(tiny_model: Path, folder: Path) -> None:
    with start(tiny_model) as first:
        text = content(first, PROMPT)
        pid = first.pid
        (busy,) = resident.running()
        assert (busy.pid, busy.name, busy.work, busy.idle_seconds) == (pid, tiny_model.name, "text", None)
        assert busy.memory > 1 << 20
    assert is_alive(pid)
    (idle,) = resident.running()
    assert idle.idle_seconds is not None
    with start(tiny_model) as second:
        assert second.pid == pid
        (answer,) = [event for event in second.answer(second.text_turn(PROMPT), GREEDY) if isinstance(event, Answer)]
        assert answer.content == text
        assert answer.usage.cached_tokens > 0
    assert (folder.stat().st_mode & 0o777) == 0o700


def test_other_options_have_an_engine_of_their_own(tiny_model: Path) -> None:
    with start(tiny_model) as first, start(tiny_model, n_ctx=512) as second:
        assert first.pid != second.pid
    assert len(resident.running()) == 2


def test_a_model_file_that_has_changed_is_loaded_anew(tiny_model: Path, tmp_path: Path) -> None:
    copy = tmp_path / "copy.gguf"
    copy.write_bytes(tiny_model.read_bytes())
    with start(copy) as first:
        pid = first.pid
    os.utime(copy, (1, 1))
    with start(copy) as second:
        assert second.pid != pid


def test_those_who_come_wait_for_those_before(tiny_model: Path) -> None:
    order: list[str] = []
    with start(tiny_model) as first:

        def wait_for_it() -> None:
            with start(tiny_model) as second:
                order.append(content(second))

        thread = threading.Thread(target=wait_for_it)
        thread.start()
        time.sleep(0.5)
        assert not order
        mine = content(first)
    thread.join(20)
    assert order == [mine]


def test_who_is_killed_in_the_middle_leaves_the_engine_to_the_next(tiny_model: Path) -> None:
    script = (
        "import sys; from pathlib import Path; sys.path.insert(0, 'tests/backend');"
        "from test_resident import *; engine = start(Path(sys.argv[1]));"
        "print(engine.pid, flush=True); list(engine.answer(engine.text_turn('x'), ENDLESS))"
    )
    root = Path(__file__).parents[2]
    environ = os.environ | {"PYTHONPATH": os.pathsep.join([str(root), str(root / "tests/support")])}
    program = subprocess.Popen(
        [sys.executable, "-c", script, str(tiny_model)],
        stdout=subprocess.PIPE, text=True, env=environ, cwd=root,
    )  # fmt: skip
    assert program.stdout is not None
    pid = int(program.stdout.readline())
    time.sleep(0.3)
    program.kill()
    program.wait()
    program.stdout.close()
    with start(tiny_model) as engine:
        assert engine.pid == pid
        assert content(engine)


def test_an_engine_that_has_ended_is_not_kept_by_the_system(tiny_model: Path) -> None:
    with start(tiny_model) as engine:
        pid = engine.pid
    (one,) = resident.running()
    resident.stop(one)
    deadline = time.monotonic() + 10
    while Path(f"/proc/{pid}").exists():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def test_an_engine_that_nobody_uses_ends_and_leaves_no_file_behind(tiny_model: Path, folder: Path) -> None:
    with start(tiny_model, keep_alive=1) as engine:
        pid = engine.pid
        assert content(engine)
    wait_until_dead(pid)
    assert resident.running() == []
    assert [path.name for path in folder.iterdir()] == ["lock"]


def test_a_dead_engine_is_replaced(tiny_model: Path) -> None:
    with start(tiny_model) as engine:
        pid = engine.pid
    os.kill(pid, signal.SIGKILL)
    wait_until_dead(pid)
    with start(tiny_model) as engine:
        assert engine.pid != pid
        assert content(engine)


def test_a_death_while_it_is_used_is_an_error(tiny_model: Path) -> None:
    with start(tiny_model):
        pass
    with start(tiny_model) as engine:
        events = engine.answer(engine.text_turn("Hello"), ENDLESS)
        assert any(isinstance(event, Piece) for event in itertools.islice(events, 10))
        os.kill(engine.pid, signal.SIGSEGV)
        with pytest.raises(EngineError, match="the engine"):
            list(events)


def test_a_folder_of_somebody_else_is_refused(tiny_model: Path, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder.mkdir(parents=True)
    owner = os.getuid()
    with monkeypatch.context() as patched:
        patched.setattr(os, "getuid", lambda: owner + 1)
        with pytest.raises(EngineError, match="belongs to another user"):
            start(tiny_model)


@pytest.mark.parametrize("damage", [b"", b"{", b"[]", b'{"pid": "x"}'])
def test_a_damaged_description_is_removed(folder: Path, damage: bytes) -> None:
    folder.mkdir(parents=True)
    (folder / "0123.json").write_bytes(damage)
    assert resident.running() == []
    assert not list(folder.glob("*.json"))


@pytest.mark.parametrize(
    ("about", "shown"),
    [
        ('{"pid": PID, "model": "/old/model.gguf"}', "(unknown)  (another version)"),
        (
            '{"pid": PID, "stamp": "a", "model": "bS5nZ3Vm", "service": "x.engine", "keep_alive": 60}',
            "m.gguf  text (another version)",
        ),
        (
            '{"pid": PID, "stamp": "a", "model": "bS5nZ3Vm", "service": "x.embedder", "keep_alive": 60, "version": "9.8"}',
            "m.gguf  vectors (9.8)",
        ),
    ],
)
def test_an_engine_of_another_version_is_listed_and_ended(tiny_model: Path, folder: Path, about: str, shown: str) -> None:
    with start(tiny_model) as engine:
        content(engine)
    (one,) = resident.running()
    (description,) = folder.glob("*.json")
    description.write_text(about.replace("PID", str(one.pid)))
    table = invoke("models", "running", width=200).stdout.splitlines()[1]
    assert " ".join(shown.split()) in " ".join(table.split())
    assert invoke("models", "stop", "--all").status == 0
    wait_until_dead(one.pid)
    assert not list(folder.glob("*.json"))


@pytest.mark.parametrize("seconds", [0.0, -1.0, 1e9, float("nan")])
def test_a_senseless_time_is_refused(seconds: float) -> None:
    with pytest.raises(UsageError, match="keep_alive"):
        ChildParams(keep_alive=seconds)


def test_a_model_that_does_not_load_leaves_no_engine_behind(tiny_model: Path, tmp_path: Path) -> None:
    broken = tmp_path / "broken.gguf"
    broken.write_bytes(tiny_model.read_bytes()[:-5000])
    for load in (start, vocabulary):
        with pytest.raises(ModelError):
            load(broken)
    assert resident.running() == []


def vocabulary(*models: Path) -> Vocabularies:
    return Vocabularies(models, ChildParams(keep_alive=60))


def ids(loaded: Vocabularies, text: str = "Hello") -> list[int]:
    (chunk,) = loaded.tokenizer().outcomes([Document("text", lambda: iter([text.encode()]))])
    assert isinstance(chunk, Chunk)
    return chunk.tokens.tolist()


def test_an_idle_engine_tokenizes_with_its_own_vocabulary(tiny_model: Path) -> None:
    with start(tiny_model) as engine:
        pid, expected = engine.pid, engine.tokenize("Hello", add_special=True)
    for _ in range(2):
        with vocabulary(tiny_model) as joined:
            assert (joined.pid, ids(joined)) == (pid, expected)
            (stretch, *_rest) = joined.detokenize([array("i", expected)])
            assert stretch[0] == b"Hello"
            conversation = Conversation(Document("chat", lambda: iter([b""])), (Message("user", "Hi"),))
            prompts = joined.conversations([conversation], template=None, vocabulary=None)
            assert [type(one) for one in prompts] == [Chunk]
    with start(tiny_model) as engine:
        assert engine.pid == pid
        content(engine)


def test_a_vocabulary_stays_and_does_not_wait_for_a_busy_engine(tiny_model: Path, tiny_base_model: Path) -> None:
    with start(tiny_model) as busy:
        with vocabulary(tiny_model) as first:
            pid, expected = first.pid, ids(first)
            assert pid != busy.pid
        with vocabulary(tiny_model) as second:
            assert (second.pid, ids(second)) == (pid, expected)
        assert sorted(one.work for one in resident.running()) == ["text", "tokens"]
        with vocabulary(tiny_model, tiny_base_model) as several:
            assert several.pid not in (pid, busy.pid)
    assert not is_alive(several.pid)


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="a child is forked on Linux only")
@pytest.mark.parametrize("may_join", [True, False])
def test_a_child_that_will_probably_not_be_needed_is_not_forked(tiny_model: Path, may_join: bool) -> None:
    code = (
        "from llamacli.backend.child.process.start import _dismiss, _prepared, prepare\n"
        f"prepare({SERVICE!r}, may_join={may_join})\n"
        "print(len(_prepared))\n"
        f"_dismiss({SERVICE!r})\n"
    )
    with start(tiny_model):
        done = subprocess.run([sys.executable, "-P", "-c", code], capture_output=True, text=True)
    assert (done.stdout, done.stderr) == (f"{int(not may_join)}\n", "")


def test_the_commands(tiny_model: Path) -> None:
    def llamacli(*arguments: str) -> tuple[int, str, str]:
        result = invoke(*arguments, open_engine=context.open_engine)
        return result.status, result.stdout, result.stderr

    run = ("run", "-m", str(tiny_model), "-t", "1", "-n", "2", "--temp", "0", "--raw", "Hello")
    assert llamacli("models", "running")[1].startswith("No engine stays loaded")
    alone = llamacli(*run)
    assert llamacli(*run, "--keep-alive", "1m") == alone
    assert llamacli(*run, "--keep-alive", "1m") == alone
    status, table, _ = llamacli("models", "running")
    assert (status, table.count(tiny_model.name)) == (0, 1)
    assert '"keep_alive": 60.0' in llamacli("models", "running", "--json")[1]
    assert llamacli("models", "stop", "nothing")[0] == 3
    assert llamacli("models", "stop")[0] == 2
    assert llamacli("models", "stop", tiny_model.stem)[::2] == (0, f"llamacli: ended the engine of {tiny_model.name}\n")
    assert llamacli("models", "running")[1].startswith("No engine stays loaded")


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="children are forked on Linux only")
def test_a_child_that_is_not_needed_leaves_nothing() -> None:
    code = (
        "import os, time\n"
        "from llamacli.backend.child.process import start\n"
        "from llamacli.backend.child.process.launch import fork_child\n"
        "start._prepared['service'] = fork_child(['llamacli.backend.child.services.tokenizer'])\n"
        "start._dismiss('service')\n"
        "for _ in range(500):\n"
        "    if not os.path.exists(f'/proc/self/task/{os.getpid()}/children'): break\n"
        "    if not open(f'/proc/self/task/{os.getpid()}/children').read(): break\n"
        "    time.sleep(0.01)\n"
        "else: print('it is still there')\n"
    )
    done = subprocess.run([sys.executable, "-P", "-c", code], capture_output=True, text=True, check=True)
    assert (done.stdout, done.stderr) == ("", "")
