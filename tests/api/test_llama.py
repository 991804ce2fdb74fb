"""The Python API on the tiny generated model: its doctests, its documents, threads, asyncio, evaluation by hand."""

from __future__ import annotations

import asyncio
import doctest
import gc
import json
import random
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

import llamacli
from llamacli import AsyncLlama, Llama, LlamaGrammar, SavedState
from llamacli.api import grammar, handles, tokenizer
from llamacli.api import llama as llama_module
from llamacli.api.calls import answering, attributes, completion, evaluation, sequence, tokens
from llamacli.engine.runtime.canceller import Canceller
from llamacli.errors import (
    CancelledError,
    ClosedError,
    ContextFullError,
    GrammarSyntaxError,
    LlamacliError,
    ModelError,
    StateError,
    UsageError,
)

HEAVY = (
    "asyncio",
    "concurrent",
    "ctypes",
    "numpy",
    "msgspec",
    "llamacli.binding",
    "llamacli.engine",
    "llamacli.gguf",
    "llamacli.store",
)
MESSAGES = [{"role": "user", "content": "Say something."}]


@pytest.fixture(scope="module")
def llm(tiny_model: Path) -> Iterator[Llama]:
    with Llama(tiny_model, n_ctx=256, n_threads=1, seed=1) as llm:
        yield llm


@pytest.mark.parametrize(
    "module", [llama_module, attributes, completion, evaluation, grammar, handles, sequence, tokenizer, tokens]
)
def test_the_examples_in_the_docstrings(module: object, llm: Llama, tiny_model: Path) -> None:
    names = {"llm": llm, "MODEL": tiny_model, "Llama": Llama, "LlamaGrammar": LlamaGrammar}
    examples = 0
    for test in doctest.DocTestFinder(exclude_empty=True).find(module, extraglobs=names):
        if test.name.endswith("Llama"):
            test.globs = {**test.globs, **names}  # this one makes and closes a model of its own
        runner = doctest.DocTestRunner(optionflags=doctest.NORMALIZE_WHITESPACE)
        assert runner.run(test).failed == 0, test.name
        examples += len(test.examples)
    assert examples


@pytest.mark.parametrize(
    "line",
    ["import llamacli", *(f"from llamacli import {name}" for name in ("Llama", "AsyncLlama", "LlamaGrammar", "llama_cpp"))],
)
def test_importing_imports_nothing_heavy(line: str) -> None:
    code = f"import sys; {line}; print([name for name in sys.modules if name.startswith({HEAVY!r})])"
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert result.stdout.strip() == "[]"


def test_names_of_the_package() -> None:
    assert set(llamacli.__all__) <= set(dir(llamacli))
    with pytest.raises(AttributeError):
        _ = llamacli.no_such_name


def test_an_unknown_argument_is_a_type_error(tiny_model: Path, llm: Llama) -> None:
    with pytest.raises(TypeError):
        Llama(tiny_model, n_cxt=512)  # type: ignore[call-arg]
    with pytest.raises(TypeError):
        llm("Hello", max_token=3)
    with pytest.raises(TypeError, match="'temprature'"):
        llm.create_chat_completion([{"role": "user", "content": "x"}], temprature=0)  # type: ignore[call-arg]
    with pytest.raises(TypeError, match="'temprature'"):
        llm.sample(temprature=0)  # type: ignore[call-arg]


def test_a_completion_is_shaped_as_openai_shapes_it(llm: Llama) -> None:
    answer = llm.create_completion("Hello", max_tokens=5, temperature=0, logprobs=2, echo=True)
    choice = answer["choices"][0]
    assert answer["object"] == "text_completion"
    assert choice["text"].startswith("Hello")
    assert choice["finish_reason"] == "length"
    assert len(choice["logprobs"]["tokens"]) == len(choice["logprobs"]["token_logprobs"]) == 6
    assert choice["logprobs"]["text_offset"][:2] == [0, len("Hello")]
    assert choice["logprobs"]["token_logprobs"][0] is None
    assert answer["usage"]["total_tokens"] == answer["usage"]["prompt_tokens"] + 5
    json.dumps(answer)


def test_streamed_and_whole_are_the_same(llm: Llama) -> None:
    options = {"max_tokens": 12, "temperature": 0, "stop": ["zzz"]}
    whole = llm("Hello", **options)["choices"][0]
    chunks = list(llm("Hello", stream=True, **options))
    assert "".join(chunk["choices"][0]["text"] for chunk in chunks) == whole["text"]
    assert chunks[-1]["choices"][0]["finish_reason"] == whole["finish_reason"]


def test_a_list_of_prompts_is_one_batch(llm: Llama) -> None:
    prompts = [f"Prompt {i}" for i in range(7)]
    alone = [llm(prompt, max_tokens=6, temperature=0)["choices"][0]["text"] for prompt in prompts]
    together = llm(prompts, max_tokens=6, temperature=0)["choices"]
    assert [choice["text"] for choice in together] == alone
    assert [choice["index"] for choice in together] == list(range(7))
    assert llm([1, 2, 3], max_tokens=1)["usage"]["prompt_tokens"] == 3
    with pytest.raises(UsageError):
        llm(["text", 3], max_tokens=1)


def test_chat_whole_and_streamed(llm: Llama) -> None:
    whole = llm.create_chat_completion(MESSAGES, max_tokens=8, temperature=0, logprobs=True, top_logprobs=2)
    assert isinstance(whole, dict)
    choice = whole["choices"][0]
    assert len(choice["logprobs"]["content"]) == 8
    assert len(choice["logprobs"]["content"][0]["top_logprobs"]) == 2
    chunks = list(llm.create_chat_completion(MESSAGES, max_tokens=8, temperature=0, stream=True))
    deltas = [chunk["choices"][0]["delta"] for chunk in chunks]
    assert deltas[0] == {"role": "assistant"}
    assert "".join(delta.get("content", "") for delta in deltas) == choice["message"]["content"]
    assert chunks[-1]["choices"][0]["finish_reason"] == "length"
    assert len({chunk["id"] for chunk in chunks}) == 1


def test_json_holds(llm: Llama) -> None:
    schema = {"type": "object", "properties": {"ok": {"type": "boolean"}}, "required": ["ok"]}
    for form in ({"type": "json_object", "schema": schema}, {"type": "json_schema", "json_schema": {"schema": schema}}):
        answer = llm.create_chat_completion(MESSAGES, response_format=form, max_tokens=100, seed=4)
        assert isinstance(answer, dict)
        assert set(json.loads(answer["choices"][0]["message"]["content"])) == {"ok"}
    with pytest.raises(UsageError, match="unknown type"):
        llm.create_chat_completion(MESSAGES, response_format={"type": "xml"})


def test_grammars(llm: Llama, tmp_path: Path) -> None:
    path = tmp_path / "answer.gbnf"
    path.write_text('root ::= "left" | "right"')
    for given in (LlamaGrammar.from_file(path), path.read_text()):
        assert llm("Which?", grammar=given, max_tokens=20)["choices"][0]["text"] in ("left", "right")
    with pytest.raises(GrammarSyntaxError):
        LlamaGrammar.from_string("root ::= (")


@pytest.mark.parametrize("chat_format", ["chatml", "llama2", "functionary", "{{ messages[0].content }}"])
def test_chat_formats(tiny_model: Path, chat_format: str) -> None:
    with Llama(tiny_model, n_ctx=1024, n_threads=1, chat_format=chat_format) as llm:
        answer = llm.create_chat_completion(MESSAGES, max_tokens=2)
        assert isinstance(answer, dict)
        assert answer["usage"]["completion_tokens"] <= 2


def test_biases_and_processors(llm: Llama) -> None:
    forced = llm("Hello", max_tokens=3, temperature=0, logit_bias={"77": 1e6})
    assert forced["choices"][0]["text"] == llm.detokenize([77, 77, 77]).decode()
    seen: list[int] = []

    def only_78(tokens: list[int], scores: np.ndarray) -> np.ndarray:
        seen.append(len(tokens))
        assert scores.shape == (llm.n_vocab(),)
        changed = np.full_like(scores, -np.inf)
        changed[78] = 0
        return changed

    processed = llm("Hello", max_tokens=3, temperature=0, logits_processor=only_78)
    assert processed["choices"][0]["text"] == llm.detokenize([78, 78, 78]).decode()
    assert seen == [seen[0], seen[0] + 1, seen[0] + 2]
    several = llm("Hello", max_tokens=2, temperature=0, logits_processor=[only_78, lambda tokens, scores: None])
    assert several["choices"][0]["text"] == llm.detokenize([78, 78]).decode()
    offsets = [
        chunk["choices"][0]["logprobs"]["text_offset"]
        for chunk in llm("Hello", max_tokens=2, temperature=0, logprobs=1, echo=True, stream=True, logit_bias={78: 1e6})
        if chunk["choices"][0]["logprobs"]
    ]
    assert offsets == [[5], [6], [0]]  # those of the prompt are known at the end


def test_an_exception_in_a_processor_reaches_the_caller(llm: Llama) -> None:
    def fails(tokens: list[int], scores: object) -> None:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        llm("Hello", max_tokens=3, logits_processor=fails)
    assert llm("Hello", max_tokens=1, temperature=0)["usage"]["completion_tokens"] == 1


def test_evaluation_by_hand_equals_the_scheduler(tiny_model: Path) -> None:
    with Llama(tiny_model, n_ctx=128, n_threads=1) as llm:
        expected = llm("Once upon", max_tokens=10, temperature=0)["choices"][0]["text"]
        generator = llm.generate(llm.tokenize(b"Once upon"), temp=0)
        tokens = [next(generator) for _ in range(10)]
        assert llm.detokenize(tokens).decode("utf-8", "replace") == expected
        assert llm.n_tokens == len(llm.tokenize(b"Once upon")) + 9


def test_logits_of_all_tokens(tiny_model: Path) -> None:
    with Llama(tiny_model, n_ctx=128, n_threads=1, logits_all=True) as all_of_them, Llama(tiny_model, n_threads=1) as last:
        tokens = last.tokenize(b"some words to evaluate")
        all_of_them.eval(tokens)
        last.eval(tokens)
        assert all_of_them.logits().shape == (len(tokens), last.n_vocab())
        np.testing.assert_allclose(all_of_them.logits()[-1], last.logits(), rtol=1e-3, atol=1e-3)


def test_states(tiny_model: Path, llm: Llama) -> None:
    llm.reset()
    llm.eval(llm.tokenize(b"a prompt to remember"))
    state = llm.save_state()
    after = llm.sample(temp=0)
    llm.reset()
    llm.load_state(SavedState.from_bytes(state.to_bytes()))
    assert llm.sample(temp=0) == after
    damaged = bytearray(state.to_bytes())
    damaged[-1] ^= 1
    with pytest.raises(StateError):
        SavedState.from_bytes(bytes(damaged))


def test_prompts_that_take_turns_are_kept(tiny_model: Path) -> None:
    with Llama(tiny_model, n_ctx=256, n_parallel=1, n_threads=1) as llm:
        prompts = ["first " * 30, "second " * 30]
        without = [llm(prompt, max_tokens=1)["usage"]["prompt_tokens_details"]["cached_tokens"] for prompt in prompts * 2]
        assert without[2] < 10
        llm.set_cache(64 << 20)
        texts = [llm(prompt, max_tokens=4, temperature=0) for prompt in prompts * 2]
        assert texts[2]["usage"]["prompt_tokens_details"]["cached_tokens"] > 30
        assert texts[2]["choices"][0]["text"] == texts[0]["choices"][0]["text"]
        llm.set_cache(None)


def test_errors_tell_the_cause_in_words(tmp_path: Path, llm: Llama) -> None:
    (tmp_path / "text.gguf").write_text("no model at all")
    for path in (tmp_path / "missing.gguf", tmp_path / "text.gguf", tmp_path):
        with pytest.raises(ModelError) as caught:
            Llama(path)
        assert path.name in str(caught.value)
    with pytest.raises(ContextFullError, match="256"):
        llm("word " * 1000)
    with pytest.raises(ContextFullError):
        llm.eval([1] * 300)


def test_many_threads(llm: Llama) -> None:
    prompts = [f"Thread prompt {i}" for i in range(8)]
    alone = {prompt: llm(prompt, max_tokens=5, temperature=0)["choices"][0]["text"] for prompt in prompts}
    wrong: list[str] = []

    def work(seed: int) -> None:
        order = random.Random(seed)
        for _ in range(20):
            prompt = order.choice(prompts)
            if llm(prompt, max_tokens=5, temperature=0)["choices"][0]["text"] != alone[prompt]:
                wrong.append(prompt)

    threads = [threading.Thread(target=work, args=(seed,)) for seed in range(16)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(120)
    assert wrong == []
    assert not any(thread.is_alive() for thread in threads)


def endless(llm: Llama) -> dict[int, float]:
    """Biases with which an answer never ends by itself."""
    return dict.fromkeys(llm.engine.model.vocabulary.end_tokens(), float("-inf"))


def test_closing_while_others_generate(tiny_model: Path) -> None:
    llm = Llama(tiny_model, n_ctx=30_000, n_threads=1)
    begun = threading.Barrier(4)
    errors: list[type[BaseException] | None] = []

    def work() -> None:
        chunks = llm("Hello", max_tokens=29_000, stream=True, logit_bias=endless(llm))
        next(chunks)
        begun.wait(30)
        try:
            list(chunks)
            errors.append(None)
        except LlamacliError as error:
            errors.append(type(error))

    threads = [threading.Thread(target=work) for _ in range(3)]
    for thread in threads:
        thread.start()
    begun.wait(30)
    llm.close()
    llm.close()
    for thread in threads:
        thread.join(30)
    assert errors == [ClosedError] * 3
    with pytest.raises(ClosedError):
        llm("Hello")
    with pytest.raises(ClosedError):
        llm.eval([1])


def test_embeddings(tiny_embedding_model: Path, llm: Llama) -> None:
    with Llama(tiny_embedding_model, embedding=True, n_threads=1) as embedder:
        answer = embedder.create_embedding(["one text", "another, longer text", "one text"])
        vectors = [np.array(row["embedding"]) for row in answer["data"]]
        assert [row["index"] for row in answer["data"]] == [0, 1, 2]
        assert answer["usage"]["total_tokens"] == answer["usage"]["prompt_tokens"] > 0
        assert vectors[0].shape == (embedder.n_embd(),)
        np.testing.assert_allclose([np.linalg.norm(vector) for vector in vectors], 1, rtol=1e-5)
        np.testing.assert_allclose(vectors[0], vectors[2], atol=1e-4)
        assert embedder.embed("one text", normalize=True) == pytest.approx(list(vectors[0]), abs=1e-4)
        raw, count = embedder.embed(["one text"], return_count=True)
        assert count > 0
        assert np.linalg.norm(raw[0]) != pytest.approx(1, abs=1e-3)
        np.testing.assert_allclose(raw[0] / np.linalg.norm(raw[0]), vectors[0], atol=1e-4)
        tokens = embedder.tokenize("one text")
        np.testing.assert_allclose(embedder.embed(tokens), raw[0], atol=1e-4)
        np.testing.assert_allclose(embedder.embed([tokens, tokens])[1], raw[0], atol=1e-4)
        assert len(embedder.embed("word " * 1000)) == embedder.n_embd()
        with pytest.raises(ContextFullError):
            embedder.embed("word " * 1000, truncate=False)
        assert embedder.pooling_type() == 1
    with pytest.raises(UsageError, match="embedding=True"):
        llm.create_embedding("text")


def test_memory_goes_back(tiny_model: Path) -> None:
    def resident() -> int:
        fields = Path("/proc/self/statm").read_text().split()
        return int(fields[1]) * 4096

    if not Path("/proc/self/statm").exists():
        pytest.skip("needs /proc")
    sizes = []
    for _ in range(50):
        with Llama(tiny_model, n_ctx=256, n_threads=1) as llm:
            llm("Hello", max_tokens=2)
        gc.collect()
        sizes.append(resident())
    assert sizes[-1] - sizes[10] < 8 << 20


def test_asyncio(tiny_model: Path) -> None:
    async def talk() -> tuple[list[str], str, str]:
        async with AsyncLlama(tiny_model, n_ctx=512, n_threads=1) as llm:
            answers = await asyncio.gather(
                *(llm.create_completion(f"Prompt {i}", max_tokens=4, temperature=0) for i in range(3))
            )
            streamed = ""
            async for chunk in await llm.create_chat_completion(MESSAGES, max_tokens=4, temperature=0, stream=True):
                streamed += chunk["choices"][0]["delta"].get("content", "")
            whole = await llm.create_chat_completion(MESSAGES, max_tokens=4, temperature=0)
            return [answer["choices"][0]["text"] for answer in answers], streamed, whole["choices"][0]["message"]["content"]

    texts, streamed, whole = asyncio.run(talk())
    assert len(texts) == 3
    assert streamed == whole


def test_cancelling_a_task_stops_the_decode(tiny_model: Path) -> None:
    async def talk(llm: AsyncLlama) -> None:
        bias = endless(llm.llama)
        task = asyncio.create_task(llm.create_completion("Hello", max_tokens=10**6, logit_bias=bias))
        await asyncio.sleep(0.1)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        answer = await llm.create_completion("Hello", max_tokens=2, logit_bias=bias)
        assert answer["usage"]["completion_tokens"] == 2

    async def closed_at_the_end() -> None:
        async with AsyncLlama(tiny_model, n_ctx=30_000, n_parallel=1, n_threads=1) as llm:
            await talk(llm)

    asyncio.run(closed_at_the_end())


def test_cancelling_a_stream_stops_the_decode(tiny_model: Path) -> None:
    async def talk() -> None:
        async with AsyncLlama(tiny_model, n_ctx=30_000, n_parallel=1, n_threads=1) as llm:
            bias = endless(llm.llama)
            begun = asyncio.Event()

            async def read() -> None:
                async for _ in await llm.create_completion("Hello", max_tokens=10**6, logit_bias=bias, stream=True):
                    begun.set()

            for _ in range(5):
                task = asyncio.create_task(read())
                await begun.wait()
                await asyncio.sleep(0.01)
                task.cancel()
                with pytest.raises(asyncio.CancelledError):
                    await task
                answer = await llm.create_completion("Hello", max_tokens=2, logit_bias=bias)
                assert answer["usage"]["completion_tokens"] == 2

    asyncio.run(talk())


def test_a_call_that_was_stopped_holds_nothing(llm: Llama) -> None:
    """Also while its exception is kept, with the frames that it went through."""
    cancel = Canceller()
    cancel.set()
    with pytest.raises(CancelledError) as kept:
        answering.cancellable(cancel, lambda: llm.create_completion("Hello", max_tokens=10**6))
    assert llm.engine.contexts._shared is not None
    assert llm.engine.contexts._shared.is_idle
    del kept


def test_a_closed_async_llama_says_so(tiny_model: Path) -> None:
    async def talk() -> None:
        llm = AsyncLlama(tiny_model, n_ctx=256, n_threads=1)
        llm.close()
        with pytest.raises(ClosedError):
            await llm.create_completion("Hello")
        with pytest.raises(ClosedError):
            await anext(await llm.create_completion("Hello", stream=True))

    asyncio.run(talk())


def test_leaving_a_stream_ends_it_while_others_work(tiny_model: Path) -> None:
    """Without a thread of its own, of which there may be none."""

    async def talk() -> None:
        async with AsyncLlama(tiny_model, n_ctx=30_000, n_parallel=2, n_threads=1) as llm:
            bias = endless(llm.llama)
            stream = await llm.create_completion("Hello", max_tokens=10**6, logit_bias=bias, stream=True)
            await anext(stream)
            others = [asyncio.create_task(llm.create_completion("Hi", max_tokens=30, logit_bias=bias)) for _ in range(40)]
            await asyncio.sleep(0)
            await stream.aclose()
            answers = await asyncio.gather(*others)
            assert [answer["usage"]["completion_tokens"] for answer in answers] == [30] * 40
            assert llm.llama.engine.contexts._shared.is_idle  # type: ignore[union-attr]

    asyncio.run(talk())


def test_the_first_of_many_streamed_prompts_comes_at_once(llm: Llama) -> None:
    stream = llm.create_completion([f"Number {i}" for i in range(12)], max_tokens=20, logit_bias=endless(llm), stream=True)
    order = [chunk["choices"][0]["index"] for chunk in stream]
    assert set(order) == set(range(12))
    assert set(order[:20]) == set(range(4))
