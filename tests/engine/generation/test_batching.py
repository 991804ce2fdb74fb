"""Plans of batches, and that invariant ones give each sequence what it gets alone."""

from __future__ import annotations

import itertools
import random
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from llamacli.binding.library import library
from llamacli.engine.events import Prefill, Token
from llamacli.engine.generation.batches.pace import PromptPace
from llamacli.engine.generation.batches.planner import InvariantPlanner, MixedPlanner
from llamacli.engine.generation.request import Request
from llamacli.engine.generation.scheduler import Scheduler
from llamacli.engine.params import ContextParams, GenerationParams, SamplingParams
from llamacli.engine.runtime.context import Context
from llamacli.engine.runtime.context_params import can_be_invariant
from llamacli.engine.runtime.model import Model


@dataclass
class Stub:
    """What a planner sees of a sequence."""

    length: int
    is_prefilling: bool = True
    portion: int = 100
    id: int = 0
    pending: list[int] = field(init=False)

    def __post_init__(self) -> None:
        self.pending = [0] * self.length

    def take(self, count: int) -> None:
        del self.pending[:count]


def plans(planner: Any, sequences: list[Stub]) -> list[list[int]]:
    """The counts of each plan, in the order of the sequences, until no prompt is left."""
    found = []
    while any(sequence.is_prefilling and sequence.pending for sequence in sequences):
        plan = planner.plan(sequences)
        assert plan
        counts = {id(sequence): count for sequence, count in plan}
        found.append([counts.get(id(sequence), 0) for sequence in sequences])
        for sequence, count in plan:
            if sequence.is_prefilling:
                sequence.take(count)
    return found


@pytest.mark.parametrize("length", [1, 2, 3, 99, 100, 101, 102, 200, 201, 1001])
def test_a_prompt_that_is_alone_is_split_as_it_is_among_rows(length: int) -> None:
    alone = plans(MixedPlanner(2048), [Stub(length)])
    assert alone == plans(InvariantPlanner(2048, 100), [Stub(length)])
    assert length == 1 or [1] not in alone


@pytest.mark.parametrize("prompts", [[8000], [8000, 8000, 300], [8001, 2, 700]])
@pytest.mark.parametrize("planner", [InvariantPlanner(512, 512), MixedPlanner(512)])
def test_prompts_that_arrive_stop_no_stream_for_more_than_two_micro_batches(planner: Any, prompts: list[int]) -> None:
    """`ModelSpec.context_for` makes a batch of a server as large as a micro-batch."""
    streams = [Stub(1, is_prefilling=False) for _ in range(3)]
    waited = [0] * len(streams)
    for counts in plans(planner, [Stub(length) for length in prompts] + streams):
        read, generated = counts[: len(prompts)], counts[len(prompts) :]
        assert sum(read) <= 512
        waited = [0 if count else steps + 1 for steps, count in zip(waited, generated, strict=True)]
        assert max(waited) <= 2


def paced(tokens_per_second: float = 1000) -> PromptPace:
    """A pace of 50 ms on a machine of this speed."""
    pace = PromptPace(0.05, 512)
    pace.measured(100, 100 / tokens_per_second)
    return pace


@pytest.mark.parametrize("planner", [InvariantPlanner(512, 512, paced()), MixedPlanner(512, paced())])
def test_parts_of_a_prompt_are_as_long_as_those_who_generate_may_wait(planner: Any) -> None:
    found = plans(planner, [Stub(199), Stub(1, is_prefilling=False)])
    assert [read for read, _ in found if read] == [50, 50, 50, 49]
    assert (0, 0) not in itertools.pairwise(generated for _, generated in found)
    assert plans(planner, [Stub(1000, portion=512)]) == [[512], [488]]  # nobody waits


def test_without_a_pace_a_prompt_fills_the_batch() -> None:
    planner = MixedPlanner(2048, PromptPace(None, 512))
    assert plans(planner, [Stub(3000), Stub(1, is_prefilling=False)]) == [[2047, 1], [953, 1]]


@pytest.mark.parametrize("lengths", [[130, 131, 133], [7, 300, 5], [2, 2, 2, 50], [51, 1, 1]])
def test_the_oldest_prompt_is_read_first_at_a_pace(lengths: list[int]) -> None:
    prompts = [Stub(length, id=number) for number, length in enumerate(lengths)]
    found = plans(InvariantPlanner(512, 512, paced()), [*prompts, Stub(1, is_prefilling=False)])
    ends = [max(step for step, counts in enumerate(found) if counts[number]) for number in range(len(lengths))]
    assert ends == sorted(ends) or min(lengths) < 50  # short ones are read beside others
    for *read, _ in found:
        assert sum(read) <= 50
        assert 1 not in [count for count, length in zip(read, lengths, strict=True) if length > 1]
    assert [sum(column) for column in zip(*found, strict=True)][:-1] == lengths


def test_a_pace_follows_the_machine() -> None:
    pace = PromptPace(0.05, 512)
    assert (pace.limit, PromptPace(None, 512).limit) == (512, 512)
    pace.measured(1, 1.0)  # says nothing
    assert pace.limit == 512
    pace.measured(100, 0.1)
    assert pace.limit == 50
    for _ in range(30):
        pace.measured(16, 16.0)
    assert pace.limit == 16
    for _ in range(60):
        pace.measured(512, 0.001)
    assert pace.limit == 512


@pytest.mark.parametrize("seed", range(40))
def test_invariant_plans_never_leave_a_single_token_of_a_prompt(seed: int) -> None:
    source = random.Random(seed)
    lengths = [source.choice((2, 3, 4, 17, 63, 64, 65, 127, 512, 513, 514, 1025, 3000)) for _ in range(source.randint(1, 20))]
    prompts, generating = [Stub(length) for length in lengths], [Stub(1, is_prefilling=False) for _ in range(3)]
    found = plans(InvariantPlanner(2048, 512), prompts + generating)
    for counts in found:
        read, generated = counts[: len(prompts)], counts[len(prompts) :]
        assert not (any(read) and any(generated))
        assert len({count for count in read if count}) <= 1  # equal numbers
        assert 1 not in read, found
        assert sum(read) <= 512
    assert [sum(column) for column in zip(*(counts[: len(prompts)] for counts in found), strict=True)] == lengths
    waits = [any(counts[len(prompts) :]) for counts in found]
    assert sum(lengths) < 2048 + 512 or any(waits)  # who generates is not kept waiting for all prompts


def test_a_prompt_of_one_token_is_read() -> None:
    assert plans(InvariantPlanner(2048, 512), [Stub(1), Stub(1)]) == [[1, 1]]
    assert plans(InvariantPlanner(2048, 512), [Stub(1), Stub(3)]) == [[1, 0], [0, 3]]
    assert plans(InvariantPlanner(2048, 512), [Stub(2), Stub(3)]) == [[0, 3], [2, 0]]


def test_mixed_plans_fill_the_batch_behind_those_that_generate() -> None:
    assert plans(MixedPlanner(100), [Stub(70), Stub(60), Stub(1, is_prefilling=False)]) == [[70, 29, 1], [0, 31, 1]]


def test_a_prompt_that_is_alone_comes_in_portions() -> None:
    assert plans(MixedPlanner(100), [Stub(70, portion=30)]) == [[30], [30], [10]]
    assert plans(MixedPlanner(20), [Stub(30, portion=30)]) == [[20], [10]]


@pytest.mark.skipif(library().llama_supports_gpu_offload(), reason="a build for a device takes whole batches")
def test_the_progress_of_a_prompt_is_told_as_it_is_computed(tiny_model: Path) -> None:
    params = GenerationParams(max_tokens=6, sampling=SamplingParams(temperature=0, ignore_eos=True))
    with Model(tiny_model) as model:
        prompt = tuple(model.vocabulary.tokenize("once upon a time " * 20))
        told = []
        for n_ubatch in (32, len(prompt)):
            with Context(model, ContextParams(n_ctx=1024, n_ubatch=n_ubatch, threads=1)) as context:
                scheduler = Scheduler(context)
                scheduler.submit(Request(prompt=prompt, params=params))
                told.append(list(scheduler.run()))
    done = [[event.done for event in events if isinstance(event, Prefill)] for events in told]
    assert done == [[*range(32, len(prompt), 32), len(prompt)], [len(prompt)]]


def test_who_can_be_invariant() -> None:
    ours = bool(library().llamacli_kernels_instructions())
    for kernels in ("own", "upstream"):
        assert can_be_invariant(ContextParams(), kernels)
        assert not can_be_invariant(ContextParams(cache_type_v="q8_0"), kernels)
        assert not can_be_invariant(ContextParams(kv_unified=True), kernels)
        assert can_be_invariant(ContextParams(flash_attention="on"), kernels) == (ours and kernels == "own")
        assert not can_be_invariant(ContextParams(flash_attention="on", cache_type_k="bf16"), kernels)


def answers(model: Model, requests: list[Request], n_seq_max: int) -> list[list[int]]:
    params = ContextParams(n_ctx=512, n_seq_max=n_seq_max, n_batch=512, n_ubatch=128, threads=1, invariant=True)
    with Context(model, params) as context:
        assert context.is_invariant
        scheduler = Scheduler(context)
        sequences = [scheduler.submit(request) for request in requests]
        tokens: dict[int, list[int]] = {sequence.id: [] for sequence in sequences}
        for event in scheduler.run():
            if isinstance(event, Token):
                tokens[event.sequence].append(event.id)
        return list(tokens.values())


def some_requests(model: Model, count: int, max_tokens: int) -> list[Request]:
    source = random.Random(11)
    size = model.vocabulary.size
    common = [source.randrange(300, size) for _ in range(90)]
    requests = []
    for number in range(count):
        own = [source.randrange(300, size) for _ in range(source.choice((1, 2, 9, 40, 65, 128, 129, 200)))]
        sampling = SamplingParams(temperature=0 if number % 2 else 0.8, seed=number, ignore_eos=True)
        prompt = tuple(common + own if number % 3 == 0 else own)
        requests.append(Request(prompt=prompt, params=GenerationParams(max_tokens=max_tokens, sampling=sampling)))
    return requests


@pytest.mark.demo
def test_the_demo_model_gives_each_row_what_it_gets_alone(demo_model: Path) -> None:
    with Model(demo_model) as model:
        requests = some_requests(model, 12, 12)
        alone = [answers(model, [request], 1)[0] for request in requests]
        assert answers(model, requests, 8) == alone
        assert answers(model, requests[::-1], 3)[::-1] == alone
