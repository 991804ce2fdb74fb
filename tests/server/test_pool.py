"""The pool of models, with backends that load at once: who is loaded, who is freed, who waits."""

from __future__ import annotations

import asyncio
import dataclasses
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

import pytest
from serving import spec_of

from llamacli.engine.params import ContextParams, Description, ModelParams, SamplingParams
from llamacli.errors import ClosedError, EngineDiedError, MemoryFullError, ModelFileError, ModelNotFoundError, UsageError
from llamacli.server.models.admission import Admission, QueueFullError
from llamacli.server.models.pool import ModelPool, PoolParams
from llamacli.server.models.spec import ModelSpec


class FakeChild:
    """A child that sends nothing."""

    def hand_over(self, receiver: object) -> None:
        """Leave things as they are."""

    def tell(self, method: object) -> None:
        """Do nothing."""


class FakeBackend:
    """A backend that only exists."""

    def __init__(self, name: str, sequences: int) -> None:
        self.name = name
        self.sequences = sequences
        self.closed = False
        self.is_alive = True
        self.child = FakeChild()

    def describe(self) -> Description:
        limits = {"n_ctx": 512, "n_ctx_train": 512, "n_parallel": self.sequences, "n_vocab": 100}
        return Description(model=self.name, kind="fake", **limits, has_chat_template=False)

    def sampling_defaults(self, base: SamplingParams) -> SamplingParams:
        return base

    def close(self) -> None:
        self.closed = True


class Loader:
    """Opens fake backends, and notes which are open."""

    def __init__(self, *, room: int = 99, most_sequences: int = 99, broken: str = "") -> None:
        self.opened: list[FakeBackend] = []
        self.room, self.most_sequences, self.broken = room, most_sequences, broken

    def open(self, path: Path, model: ModelParams, context: ContextParams, *, prefix_bytes: int, on_load: Any) -> Any:
        if path.stem == self.broken:
            raise ModelFileError("it is broken")
        if context.n_seq_max > self.most_sequences:
            raise MemoryFullError("too many")
        on_load(0.5)
        self.opened.append(FakeBackend(path.stem, context.n_seq_max))
        return self.opened[-1]

    def fits(self, *_: Any) -> bool:
        return len(self.alive) < self.room

    @property
    def alive(self) -> list[str]:
        return [backend.name for backend in self.opened if not backend.closed]


@pytest.fixture
def specs(tmp_path: Path, tiny_model: Path) -> list[ModelSpec]:
    paths = [tmp_path / f"{name}.gguf" for name in "abc"]
    for path in paths:
        path.symlink_to(tiny_model)
    return [spec_of(path, aliases=(f"alias-{path.stem}",), fewer_sequences=(2, 1)) for path in paths]


def run(
    specs: list[ModelSpec], loader: Loader, work: Callable[[ModelPool], Coroutine[Any, Any, None]], **params: Any
) -> ModelPool:
    async def main() -> ModelPool:
        pool = ModelPool(specs, loader.open, loader.fits, PoolParams(**params))
        async with asyncio.timeout(10):
            await work(pool)
        return pool

    return asyncio.run(main())


def test_models_are_loaded_on_first_use_under_any_name(specs: list[ModelSpec]) -> None:
    loader = Loader()

    async def work(pool: ModelPool) -> None:
        assert not loader.alive
        for name in ("b", "alias-b", None):
            async with pool.use(name):
                pass

    run(specs, loader, work)
    assert loader.alive == ["b", "a"]


def test_the_least_recently_used_is_freed_for_another(specs: list[ModelSpec]) -> None:
    loader = Loader(room=2)

    async def work(pool: ModelPool) -> None:
        for name in ("a", "b", "a", "c"):
            async with pool.use(name):
                pass

    run(specs, loader, work)
    assert loader.alive == ["a", "c"]


def test_a_number_of_models_may_be_the_limit(specs: list[ModelSpec]) -> None:
    loader = Loader()

    async def work(pool: ModelPool) -> None:
        for name in "abc":
            async with pool.use(name):
                pass

    run(specs, loader, work, most=1)
    assert loader.alive == ["c"]


def test_a_busy_model_is_waited_for(specs: list[ModelSpec]) -> None:
    loader = Loader(room=1)
    steps: list[str] = []

    async def work(pool: ModelPool) -> None:
        async def other() -> None:
            async with pool.use("b"):
                steps.append("b is used")

        async with pool.use("a"):
            task = asyncio.ensure_future(other())
            await asyncio.sleep(0.1)
            assert loader.alive == ["a"]
            steps.append("a is done")
        await task

    run(specs, loader, work)
    assert steps == ["a is done", "b is used"]
    assert loader.alive == ["b"]


def test_an_idle_model_is_freed_after_a_time(specs: list[ModelSpec]) -> None:
    loader = Loader()

    async def work(pool: ModelPool) -> None:
        async with pool.use("a"):
            await pool.free_idle()
        assert loader.alive == ["a"]
        await asyncio.sleep(0.02)
        await pool.free_idle()
        assert pool.state_of("a") == ("unloaded", None)

    run(specs, loader, work, keep_alive=0.01)
    assert loader.alive == []


def test_fewer_sequences_are_tried_if_memory_is_short(specs: list[ModelSpec]) -> None:
    loader = Loader(most_sequences=2)

    async def work(pool: ModelPool) -> None:
        async with pool.use("a") as model:
            assert model.description.n_parallel == 2

    run(specs, loader, work)


def test_a_model_that_fails_is_tried_again(specs: list[ModelSpec]) -> None:
    loader = Loader(broken="a")

    async def work(pool: ModelPool) -> None:
        with pytest.raises(ModelFileError):
            async with pool.use("a"):
                pass
        assert pool.state_of("a") == ("failed", None)
        loader.broken = ""
        async with pool.use("a"):
            assert pool.state_of("a") == ("loaded", None)

    run(specs, loader, work)


def test_unknown_names_are_told_with_what_there_is(specs: list[ModelSpec]) -> None:
    async def work(pool: ModelPool) -> None:
        with pytest.raises(ModelNotFoundError, match="did you mean alias-"):
            pool.find("alias-d")
        with pytest.raises(ModelNotFoundError, match="served are a, b, c"):
            pool.find("gpt-9")
        with pytest.raises(UsageError):
            pool.find(["a"])

    run(specs, Loader(), work)


def test_a_closed_pool_loads_nothing(specs: list[ModelSpec]) -> None:
    loader = Loader()

    async def work(pool: ModelPool) -> None:
        async with pool.use("a"):
            pass
        await pool.close()
        with pytest.raises(ClosedError):
            async with pool.use("a"):
                pass

    run(specs, loader, work)
    assert loader.alive == []


def test_places_are_passed_on_in_order() -> None:
    order: list[int] = []

    async def work() -> None:
        admission = Admission(1, 2)

        async def one(number: int) -> None:
            async with admission.place():
                order.append(number)
                await asyncio.sleep(0.01)

        tasks = [asyncio.ensure_future(one(number)) for number in range(3)]
        await asyncio.sleep(0)
        with pytest.raises(QueueFullError, match="2 requests are waiting"):
            await one(3)
        tasks[1].cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        assert (admission.running, admission.waiting) == (0, 0)

    asyncio.run(work())
    assert order == [0, 2]


def test_a_place_for_somebody_who_left_at_that_moment_is_not_lost() -> None:
    async def work() -> None:
        admission = Admission(1, 5)

        async def hold() -> None:
            async with admission.place():
                await asyncio.sleep(0)

        async with admission.place():
            waiting = asyncio.ensure_future(hold())
            await asyncio.sleep(0)
        waiting.cancel()  # it has the place, but has not woken yet
        await asyncio.gather(waiting, return_exceptions=True)
        assert admission.running == 0

    asyncio.run(work())


def test_a_model_whose_process_dies_is_loaded_again_and_refused_when_it_keeps_dying(specs: list[ModelSpec]) -> None:
    loader = Loader()

    async def work(pool: ModelPool) -> None:
        for _ in range(3):
            async with pool.use("a") as model:
                model.backend.is_alive = False  # type: ignore[misc]
            assert pool.state_of("a")[0] != "loaded"
        with pytest.raises(EngineDiedError, match=r"the process of a died 3 times in 60 s \(it is tried again in \d+ s"):
            async with pool.use("a"):
                pass
        async with pool.use("b"):  # another one is not to blame
            pass

    run(specs, loader, work)
    assert [(backend.name, backend.closed) for backend in loader.opened] == [("a", True)] * 3 + [("b", False)]


def test_a_process_that_died_while_nobody_used_it_is_replaced(specs: list[ModelSpec]) -> None:
    loader = Loader()

    async def work(pool: ModelPool) -> None:
        async with pool.use("a"):
            pass
        loader.opened[0].is_alive = False
        async with pool.use("a") as model:
            assert model.backend.is_alive

    run(specs, loader, work)
    assert [backend.closed for backend in loader.opened] == [True, False]


def test_other_models_may_be_served_while_the_server_runs(specs: list[ModelSpec]) -> None:
    loader, (a, b, c) = Loader(), specs
    changed = dataclasses.replace(a, context=dataclasses.replace(a.context, n_ctx=64))

    async def work(pool: ModelPool) -> None:
        async with pool.use("a") as first, pool.use("b") as second:
            pool.replace([b, c], PoolParams())
            assert pool.names == ["b", "c"]
            with pytest.raises(ModelNotFoundError):
                pool.find("a")
            async with pool.use("alias-b") as same:
                assert same is second
            await pool.free_idle()
            assert not first.backend.closed  # type: ignore[attr-defined]
        assert loader.alive == ["b"]
        pool.replace([a, b], PoolParams())
        async with pool.use("a"):
            pass
        pool.replace([changed, b], PoolParams())  # idle: freed by the next check
        await pool.free_idle()
        assert loader.alive == ["b"]
        async with pool.use("a") as other:
            assert other.spec is changed
            pool.replace([b], PoolParams())
            await pool.close()  # what is not served any more, too
        assert loader.alive == []

    run(specs, loader, work)


def test_a_model_that_is_loading_may_be_taken_away(specs: list[ModelSpec]) -> None:
    loader = Loader()

    async def work(pool: ModelPool) -> None:
        using = pool.use("a")
        entering = asyncio.ensure_future(using.__aenter__())
        await asyncio.sleep(0)
        pool.replace(specs[1:], PoolParams())
        await entering
        assert loader.alive == ["a"]
        await using.__aexit__(None, None, None)
        assert loader.alive == []

    run(specs, loader, work)


def test_idle_models_may_be_taken_away_while_one_of_them_is_freed(specs: list[ModelSpec]) -> None:
    loader, at_once = Loader(), {"keep_alive": -1.0}

    async def work(pool: ModelPool) -> None:
        for name in ("a", "b"):
            async with pool.use(name):
                pass
        freeing = asyncio.ensure_future(pool.free_idle())
        await asyncio.sleep(0)
        pool.replace(specs[2:], PoolParams(**at_once))
        await freeing
        await pool.free_idle()
        assert loader.alive == []

    run(specs, loader, work, **at_once)


def test_what_drafts_is_a_part_of_how_a_model_is_loaded(specs: list[ModelSpec]) -> None:
    plain = specs[0]
    drafted = dataclasses.replace(
        plain, draft=("d.gguf", None, False), add_draft=lambda params: dataclasses.replace(params, draft_model="d.gguf")
    )
    assert (plain.params_for(Path("a")).draft_model, drafted.params_for(Path("a")).draft_model) == (None, "d.gguf")
    assert not plain.is_like(drafted)
    assert drafted.is_like(dataclasses.replace(drafted, add_draft=plain.add_draft))
