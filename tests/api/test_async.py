"""`AsyncLlama`: everything that `Llama` has, with the same arguments, on a model here or in a process of its own."""

from __future__ import annotations

import asyncio
import inspect
import pickle
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

from llamacli import AsyncLlama, Llama
from llamacli.errors import UsageError

PUBLIC = [name for name in dir(Llama) if not name.startswith("_")]
AWAITED = [
    "chat_with", "create_chat_completion", "create_chat_completion_openai_v1", "create_completion", "create_embedding",
    "embed", "eval", "load_state", "save_state",
]  # fmt: skip
MESSAGES = [{"role": "user", "content": "Say something."}]


def run(model: Path, work: Callable[[AsyncLlama], Awaitable[Any]], **arguments: Any) -> Any:
    async def main() -> Any:
        async with AsyncLlama(model, n_ctx=256, n_threads=1, **arguments) as llm:
            return await work(llm)

    return asyncio.run(main())


def test_every_name_is_there(tiny_model: Path) -> None:
    async def work(llm: AsyncLlama) -> None:
        assert set(PUBLIC) <= set(dir(llm))
        for name in PUBLIC:
            assert getattr(llm, name) is not None or getattr(llm.llama, name) is None, name

    run(tiny_model, work)


@pytest.mark.parametrize(
    "name", [*AWAITED, "__call__", "generate", "from_pretrained", *("logits_to_logprobs", "longest_token_prefix")]
)
def test_the_arguments_are_the_same(name: str) -> None:
    ours, theirs = getattr(AsyncLlama, name), getattr(Llama, name)
    assert list(inspect.signature(ours).parameters.values()) == list(inspect.signature(theirs).parameters.values())
    assert inspect.iscoroutinefunction(ours) == (name in (*AWAITED, "__call__"))
    assert ours.__doc__


def test_calls_by_position_and_by_hand(tiny_model: Path) -> None:
    async def work(llm: AsyncLlama) -> None:
        whole = await llm("Hello", None, 4, 0.0)
        by_position = await llm.create_completion("Hello", None, 4, 0.0, *[None] * 4, False, *[None] * 5, True)
        assert "".join([chunk["choices"][0]["text"] async for chunk in by_position]) == whole["choices"][0]["text"]
        assert (await llm.chat_with("chatml", MESSAGES, max_tokens=2))["choices"]
        await llm.eval(llm.tokenize("Hello"))
        state = await llm.save_state()
        llm.n_tokens = 1
        assert llm.llama.n_tokens == 1
        await llm.load_state(state)
        tokens = [token async for token in llm.generate(state.tokens, temp=0, stopping_criteria=lambda ids, _: len(ids) > 6)]
        assert llm.llama.n_tokens == len(state.tokens) + len(tokens)
        assert 0 <= llm.sample(temp=0) < llm.n_vocab()
        llm.chat_format = "llama-2"
        assert llm.llama.chat_format == "llama-2"
        assert AsyncLlama.longest_token_prefix([1, 2], [1, 3]) == llm.longest_token_prefix([1, 2], [1, 3]) == 1

    run(tiny_model, work)


def test_vectors(tiny_embedding_model: Path) -> None:
    async def work(llm: AsyncLlama) -> None:
        vectors, count = await llm.embed(["one", "two"], return_count=True)
        assert len(vectors) == 2
        assert count > 0
        assert len((await llm.create_embedding("one"))["data"]) == 1

    run(tiny_embedding_model, work, embedding=True)


def test_a_model_in_a_process_of_its_own(tiny_model: Path) -> None:
    async def work(llm: AsyncLlama) -> None:
        assert (await llm.create_completion("Hello", max_tokens=2))["choices"]
        chunks = [chunk async for chunk in await llm.create_chat_completion(MESSAGES, max_tokens=2, stream=True)]
        assert chunks[-1]["choices"][0]["finish_reason"]
        with pytest.raises(UsageError, match="in this process"):
            await llm.save_state()

    run(tiny_model, work, isolated=True)


def test_pickling_loads_again(tiny_model: Path) -> None:
    async def work(llm: AsyncLlama) -> None:
        async with pickle.loads(pickle.dumps(llm)) as again:
            assert again.n_ctx() == 256
            assert (await again("Hello", max_tokens=1))["choices"]

    run(tiny_model, work)
