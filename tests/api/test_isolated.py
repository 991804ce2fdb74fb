"""`Llama(..., isolated=True)`: the same answers from another process, which may die alone."""

from __future__ import annotations

import itertools
import os
import signal
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import tiny_eagle

from llamacli import Llama
from llamacli.api.grammar import LlamaGrammar
from llamacli.api.isolated import contract
from llamacli.api.isolated.llama import IsolatedLlama
from llamacli.backend.child.work.limits import private_memory
from llamacli.errors import EngineDiedError, ModelNotFoundError, UsageError

GREEDY: dict[str, Any] = {"max_tokens": 6, "temperature": 0.0}


@pytest.fixture(scope="module")
def pair(tiny_model: Path) -> Iterator[tuple[Llama, IsolatedLlama]]:
    with Llama(tiny_model, n_ctx=256, n_threads=1) as here, Llama(tiny_model, n_ctx=256, n_threads=1, isolated=True) as there:
        assert isinstance(there, IsolatedLlama)
        yield here, there


def text_of(document: Any) -> str:
    return str(document["choices"][0]["text"])


def test_the_answers_are_the_same(pair: tuple[Llama, IsolatedLlama]) -> None:
    here, there = pair
    assert text_of(there("Hello", **GREEDY)) == text_of(here("Hello", **GREEDY))
    chat = [{"role": "user", "content": "Hello"}]
    answers = [one.create_chat_completion(chat, **GREEDY)["choices"][0]["message"] for one in pair]
    assert answers[0] == answers[1]
    assert there.tokenize("Hello") == here.tokenize("Hello")
    assert there.detokenize([5, 6]) == here.detokenize([5, 6])
    assert (there.n_vocab(), there.n_ctx(), there.metadata) == (here.n_vocab(), here.n_ctx(), here.metadata)


@pytest.mark.parametrize("name", [*contract.PROPERTIES, "verbose", "cache", "chat_handler", "chat_format"])
def test_the_attributes_are_the_same(pair: tuple[Llama, IsolatedLlama], name: str) -> None:
    here, there = pair
    assert getattr(there, name) == getattr(here, name)
    if name in contract.PROPERTIES:
        with pytest.raises((UsageError, AttributeError)):
            setattr(there, name, -1)


def test_streams_and_grammars(pair: tuple[Llama, IsolatedLlama]) -> None:
    here, there = pair
    streamed = "".join(text_of(chunk) for chunk in there.create_completion("Hello", stream=True, **GREEDY))
    assert streamed == text_of(here("Hello", **GREEDY))
    grammar = LlamaGrammar.from_string('root ::= "yes"')
    assert text_of(there("Hello", grammar=grammar, max_tokens=20)) == "yes"


def test_evaluation_by_hand(pair: tuple[Llama, IsolatedLlama]) -> None:
    for one in pair:
        one.reset()
        one.eval([5, 6, 7])
    here, there = pair
    assert there.n_tokens == 3
    assert (there.logits() == here.logits()).all()
    generated = there.generate([5, 6], temp=0.0)
    assert isinstance(next(generated), int)
    generated.close()


@pytest.mark.parametrize(
    "work",
    [
        lambda llm: llm.ctx,
        lambda llm: llm.save_state(),
        lambda llm: llm("x", logits_processor=[lambda ids, scores: scores]),
        lambda llm: llm("x", stopping_criteria=[lambda ids, scores: True]),
        lambda llm: llm.engine,
        lambda llm: llm.set_cache(1 << 20),
    ],
    ids=["ctx", "state", "processor", "criteria", "engine", "cache"],
)
def test_what_needs_this_process_is_refused(pair: tuple[Llama, IsolatedLlama], work: Any) -> None:
    with pytest.raises(UsageError, match="process"):
        work(pair[1])


def test_errors_arrive_as_they_are(pair: tuple[Llama, IsolatedLlama], tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="max_tokens"):
        pair[1]("Hello", max_tokens="many")
    with pytest.raises(ModelNotFoundError):
        Llama(tmp_path / "missing.gguf", isolated=True)
    with pytest.raises(UsageError, match="draft_model cannot go to another process"):
        Llama(pair[0].model_path, isolated=True, draft_model=object())


def test_a_death_is_an_exception(tiny_model: Path) -> None:
    llm = Llama(tiny_model, n_ctx=256, isolated=True)
    assert isinstance(llm, IsolatedLlama)
    os.kill(llm.pid, signal.SIGSEGV)
    with pytest.raises(EngineDiedError, match="SIGSEGV"):
        llm("Hello", max_tokens=4)
    llm.close()
    llm.close()


def test_the_death_of_a_child_with_a_head_is_an_exception(tiny_model: Path, tmp_path: Path) -> None:
    head = tiny_eagle.eagle_head(tmp_path / "head.gguf")
    with Llama(tiny_model, n_ctx=256, isolated=True, draft_model=head) as llm:
        assert isinstance(llm, IsolatedLlama)
        answer = llm("Hello", max_tokens=200, temperature=0.0, stream=True)
        next(answer)
        os.kill(llm.pid, signal.SIGSEGV)
        with pytest.raises(EngineDiedError, match="SIGSEGV"):
            list(answer)


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="needs /proc")
def test_cycles_leave_nothing_behind(tiny_model: Path, pytestconfig: pytest.Config) -> None:
    def cycle() -> None:
        with Llama(tiny_model, n_ctx=256, isolated=True) as llm:
            assert llm.tokenize("x")

    for _ in range(3):  # what is imported and cached once
        cycle()
    before, processes, memory, threads = descriptors(), children(), private_memory(), threading.active_count()
    for _ in range(pytestconfig.getoption("--cycles")):
        cycle()
    deadline = time.monotonic() + 10
    while threading.active_count() > threads and time.monotonic() < deadline:  # the last one is about to end
        time.sleep(0.01)
    assert descriptors() == before
    assert children() == processes
    assert threading.active_count() <= threads
    grown = private_memory() - memory
    assert grown < 4 << 20, f"{grown} bytes"


def descriptors() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


def children() -> list[str]:
    return Path(f"/proc/self/task/{threading.main_thread().native_id}/children").read_text().split()


def test_a_draft_model_is_loaded_beside_the_model(tiny_model: Path, tmp_path: Path) -> None:
    head = tiny_eagle.eagle_head(tmp_path / "head.gguf")
    for isolated, draft in itertools.product((False, True), (tiny_model, head)):
        with Llama(tiny_model, n_ctx=256, n_threads=1, draft_model=draft, isolated=isolated) as drafting:
            with Llama(tiny_model, n_ctx=256, n_threads=1) as plain:
                assert text_of(drafting("Hello", **GREEDY)) == text_of(plain("Hello", **GREEDY))
            assert isolated or drafting.draft_model is None
        with pytest.raises(ModelNotFoundError):
            Llama(tiny_model, n_ctx=256, draft_model=str(tmp_path / "missing.gguf"), isolated=isolated)
