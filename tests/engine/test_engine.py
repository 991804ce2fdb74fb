"""The engine on the tiny generated model: scheduling, samplers, cancelling, limits."""

from __future__ import annotations

import dataclasses
import shutil
import subprocess
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from llamacli.binding.library import find_folder
from llamacli.engine.chat.prompt import Part, plain_prompt, rendered_prompt
from llamacli.engine.constraint.guidance import Constraint, Guidance
from llamacli.engine.events import Finished, Prefill, Token
from llamacli.engine.generation.request import Request
from llamacli.engine.generation.sampler import Sampler
from llamacli.engine.generation.scheduler import Scheduler
from llamacli.engine.generation.sequence import Sequence
from llamacli.engine.params import SAMPLER_NAMES, ContextParams, GenerationParams, ModelParams, SamplingParams
from llamacli.engine.runtime.context import Context
from llamacli.engine.runtime.model import Model
from llamacli.errors import (
    ClosedError,
    ContextFullError,
    GrammarError,
    MemoryFullError,
    ModelError,
    ModelFileError,
    UsageError,
)

GREEDY = SamplingParams(temperature=0, ignore_eos=True)


@pytest.fixture(scope="module")
def model(tiny_model: Path) -> Iterator[Model]:
    with Model(tiny_model) as model:
        yield model


@pytest.fixture
def context(model: Model) -> Iterator[Context]:
    with Context(model, ContextParams(n_ctx=256, n_seq_max=4, threads=1)) as context:
        yield context


@pytest.fixture
def scheduler(context: Context) -> Scheduler:
    return Scheduler(context)


def held_to(grammar: str) -> Guidance:
    return Guidance(constraint=Constraint(grammar=grammar))


def request(model: Model, text: str, **params: object) -> Request:
    sampling = params.pop("sampling", GREEDY)
    tokens = plain_prompt(model.vocabulary, text).tokens
    return Request(prompt=tokens, params=GenerationParams(sampling=sampling, **params))


def answer(scheduler: Scheduler, request: Request) -> list[int]:
    scheduler.submit(request)
    return [event.id for event in scheduler.run() if isinstance(event, Token)]


def outcome(scheduler: Scheduler, request: Request) -> Finished:
    scheduler.submit(request)
    return [event for event in scheduler.run() if isinstance(event, Finished)][-1]


def compile_reference(folder: Path) -> Path:
    compiler = shutil.which("cc") or shutil.which("gcc") or shutil.which("clang")
    source = Path(__file__).parents[1] / "reference/greedy.c"
    tree = Path(__file__).parents[2] / "vendor/llama.cpp"
    libraries = find_folder()
    program = folder / "greedy"
    subprocess.run(
        [
            str(compiler), "-O1", "-o", str(program), str(source), f"-I{tree}/include", f"-I{tree}/ggml/include",
            f"-L{libraries}", "-lllama", "-lggml", "-lggml-base", f"-Wl,-rpath,{libraries}", f"-Wl,-rpath-link,{libraries}",
        ],
        check=True,
    )  # fmt: skip
    return program


@pytest.fixture(scope="session")
def reference(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return compile_reference(tmp_path_factory.mktemp("reference"))


def reference_tokens(program: Path, model: Path, count: int, context: int, prompt: str) -> list[int]:
    result = subprocess.run(
        [str(program), str(model), str(count), str(context), prompt], check=True, capture_output=True, text=True
    )
    return [int(line) for line in result.stdout.split()]


def test_greedy_equals_the_reference_loop(reference: Path, tiny_model: Path) -> None:
    expected = reference_tokens(reference, tiny_model, 64, 256, "Once upon a time")
    sampling = SamplingParams(temperature=0)
    with Model(tiny_model, ModelParams(kernels="upstream")) as model, Context(model, ContextParams(n_ctx=256)) as context:
        assert answer(Scheduler(context), request(model, "Once upon a time", sampling=sampling, max_tokens=64)) == expected
    assert expected


@pytest.mark.demo
@pytest.mark.parametrize("prompt", ["The capital of France is", "def fibonacci(n):", "Ein Haus am Meer, 海边的房子 🏠"])
def test_greedy_equals_the_reference_loop_on_the_demo_model(reference: Path, demo_model: Path, prompt: str) -> None:
    expected = reference_tokens(reference, demo_model, 48, 512, prompt)
    with Model(demo_model, ModelParams(kernels="upstream")) as model, Context(model, ContextParams(n_ctx=512)) as context:
        sampling = SamplingParams(temperature=0)
        assert answer(Scheduler(context), request(model, prompt, sampling=sampling, max_tokens=48)) == expected


def test_many_sequences_give_what_each_gives_alone(model: Model, scheduler: Scheduler) -> None:
    texts = ["one", "two and a half", "three " * 20, "", "five", "six " * 40]
    alone = [answer(scheduler, request(model, text, max_tokens=12)) for text in texts]
    scheduler.reset()
    sequences = [scheduler.submit(request(model, text, max_tokens=12)) for text in texts]
    together: dict[int, list[int]] = {sequence.id: [] for sequence in sequences}
    for event in scheduler.run():
        if isinstance(event, Token):
            together[event.sequence].append(event.id)
    assert list(together.values()) == alone


def test_prompts_longer_than_a_batch_are_split(model: Model) -> None:
    long = request(model, "word " * 60, max_tokens=4)
    with (
        Context(model, ContextParams(n_ctx=512, n_batch=16, n_ubatch=8)) as small,
        Context(model, ContextParams(n_ctx=512)) as large,
    ):
        scheduler = Scheduler(small)
        scheduler.submit(long)
        events = list(scheduler.run())
        steps = [event.done for event in events if isinstance(event, Prefill)]
        assert steps[0] in (8, 16)  # where a device may compute, whole batches are handed over
        assert steps[-1] == len(long.prompt)
        assert [event.id for event in events if isinstance(event, Token)] == answer(Scheduler(large), long)


def test_a_batch_refuses_more_tokens_than_it_holds(model: Model) -> None:
    with Context(model, ContextParams(n_ctx=64, n_batch=8)) as context, pytest.raises(ValueError, match="9 tokens do not fit"):
        context.decode([1] * 9, list(range(9)), [0] * 9, [0] * 9)


def test_a_shared_prefix_is_not_evaluated_again(model: Model, scheduler: Scheduler) -> None:
    first = outcome(scheduler, request(model, "a long shared beginning, and one end", max_tokens=3))
    again = outcome(scheduler, request(model, "a long shared beginning, and one end", max_tokens=3))
    other = outcome(scheduler, request(model, "a long shared beginning, and two", max_tokens=3))
    assert first.usage.cached_tokens == 0
    assert again.usage.cached_tokens == first.usage.prompt_tokens - 1
    assert 0 < other.usage.cached_tokens < other.usage.prompt_tokens
    assert again.timings.prompt_n == 1


def test_prompts_that_begin_alike_are_evaluated_once_even_when_they_come_together(model: Model, scheduler: Scheduler) -> None:
    shared = "a long instruction that all of them share, word for word, " * 4
    sequences = [scheduler.submit(request(model, f"{shared}{i}", max_tokens=3)) for i in range(6)]
    done = {event.sequence: event for event in scheduler.run() if isinstance(event, Finished)}
    evaluated = [done[sequence.id].timings.prompt_n for sequence in sequences]
    assert evaluated[0] > 100
    assert max(evaluated[1:]) < 10


def test_the_limit_holds(model: Model, scheduler: Scheduler) -> None:
    scheduler.limit = 2
    for i in range(5):
        scheduler.submit(request(model, f"row {i}", max_tokens=4))
    most = 0
    while not scheduler.is_idle:
        scheduler.step()
        most = max(most, scheduler.active)
    assert most == 2


def test_a_running_sequence_lends_its_prefix(model: Model, scheduler: Scheduler) -> None:
    sequences = [scheduler.submit(request(model, "the same long prompt for both", max_tokens=n)) for n in (30, 5)]
    scheduler.step()
    late = scheduler.submit(request(model, "the same long prompt for both", max_tokens=5))
    done = {event.sequence: event for event in scheduler.run() if isinstance(event, Finished)}
    assert done[late.id].usage.cached_tokens == len(late.request.prompt) - 1
    assert set(done) == {sequence.id for sequence in [*sequences, late]}


@pytest.mark.parametrize("sampler", [name for name in SAMPLER_NAMES if name != "infill"])
def test_each_sampler_alone_gives_the_same_text_for_the_same_seed(model: Model, scheduler: Scheduler, sampler: str) -> None:
    values = {
        "penalties": {"repeat_penalty": 1.5, "frequency_penalty": 0.5, "presence_penalty": 0.5},
        "dry": {"dry_multiplier": 0.8},
        "top_n_sigma": {"top_n_sigma": 1.0},
        "typ_p": {"typical_p": 0.5},
        "xtc": {"xtc_probability": 0.9, "xtc_threshold": 0.01},
        "adaptive_p": {"adaptive_target": 0.3},
    }.get(sampler, {})
    texts = []
    for seed in (7, 7, 8):
        sampling = SamplingParams(samplers=(sampler,), seed=seed, temperature=2.0, ignore_eos=True, **values)
        texts.append(answer(scheduler, request(model, "Hello", sampling=sampling, max_tokens=24)))
    assert texts[0] == texts[1]
    assert texts[0] != texts[2] or sampler == "top_n_sigma"


@pytest.mark.parametrize("mirostat", [1, 2])
def test_mirostat(model: Model, scheduler: Scheduler, mirostat: int) -> None:
    sampling = [SamplingParams(mirostat=mirostat, seed=seed, ignore_eos=True) for seed in (1, 1, 2)]
    texts = [answer(scheduler, request(model, "Hello", sampling=params, max_tokens=24)) for params in sampling]
    assert texts[0] == texts[1] != texts[2]


def test_the_fast_top_k_chooses_what_the_whole_chain_chooses(model: Model, scheduler: Scheduler) -> None:
    for seed in range(10):
        fast = SamplingParams(seed=seed, top_k=20, ignore_eos=False)
        # A penalty that punishes nothing comes first and keeps the chain from its short cut.
        slow = dataclasses.replace(fast, repeat_penalty=1.0 + 1e-9, repeat_last_n=1)
        assert answer(scheduler, request(model, "Hi", sampling=fast, max_tokens=20)) == answer(
            scheduler, request(model, "Hi", sampling=slow, max_tokens=20)
        )


def test_penalties_see_the_prompt(model: Model, scheduler: Scheduler) -> None:
    plain = answer(scheduler, request(model, "abc abc abc", max_tokens=1))
    repeated = request(model, model.vocabulary.detokenize(plain).decode("utf-8", "replace") * 3, max_tokens=1)
    free = answer(scheduler, repeated)
    punished = SamplingParams(temperature=0, repeat_penalty=1000.0, ignore_eos=True)
    chosen = answer(scheduler, dataclasses.replace(repeated, params=GenerationParams(sampling=punished, max_tokens=1)))
    assert chosen[0] not in repeated.prompt or chosen != free


def test_logit_bias_forbids_and_forces(model: Model, scheduler: Scheduler) -> None:
    free = answer(scheduler, request(model, "Hello", max_tokens=1))[0]
    without = dataclasses.replace(GREEDY, logit_bias=((free, float("-inf")),))
    assert answer(scheduler, request(model, "Hello", sampling=without, max_tokens=1)) != [free]
    forced = dataclasses.replace(GREEDY, logit_bias=((77, 1e6),))
    assert answer(scheduler, request(model, "Hello", sampling=forced, max_tokens=3)) == [77, 77, 77]


def test_a_bias_outside_the_vocabulary_is_refused(model: Model, scheduler: Scheduler) -> None:
    wrong = dataclasses.replace(GREEDY, logit_bias=((model.vocabulary.size, 1.0),))
    with pytest.raises(UsageError, match="not in the vocabulary"):
        scheduler.submit(request(model, "Hello", sampling=wrong))


def test_logprobs_are_log_probabilities(model: Model, scheduler: Scheduler) -> None:
    scheduler.submit(request(model, "Hello", max_tokens=3, logprobs=5))
    for token in (event for event in scheduler.run() if isinstance(event, Token)):
        assert token.logprob is not None
        assert token.top[0].id == token.id
        assert token.top[0].logprob == pytest.approx(token.logprob)
        assert [row.logprob for row in token.top] == sorted((row.logprob for row in token.top), reverse=True)
        assert all(row.logprob <= 0 for row in token.top)


@pytest.mark.parametrize(("max_tokens", "reason"), [(0, "length"), (1, "length"), (5, "length"), (None, "context")])
def test_why_it_ends(model: Model, scheduler: Scheduler, max_tokens: int | None, reason: str) -> None:
    end = outcome(scheduler, request(model, "Hello", max_tokens=max_tokens))
    assert end.reason == reason
    if max_tokens is not None:
        assert end.usage.completion_tokens == max_tokens


def test_a_prompt_longer_than_the_context_is_an_error_with_numbers(model: Model, scheduler: Scheduler) -> None:
    with pytest.raises(ContextFullError) as caught:
        scheduler.submit(request(model, "word " * 300))
    assert caught.value.available == 256
    assert caught.value.needed > 256
    assert str(caught.value.needed) in str(caught.value)
    assert "256" in str(caught.value)


def test_a_prompt_that_just_fits_gives_one_token(model: Model, scheduler: Scheduler) -> None:
    full = Request(prompt=tuple([40] * 256), params=GenerationParams(sampling=GREEDY))
    end = outcome(scheduler, full)
    assert (end.reason, end.usage.completion_tokens) == ("context", 1)


def test_context_shift_goes_on(model: Model, scheduler: Scheduler) -> None:
    end = outcome(scheduler, request(model, "Hello", max_tokens=600, context_shift=True, keep=2))
    assert (end.reason, end.usage.completion_tokens) == ("length", 600)


def test_an_empty_prompt_and_foreign_ids_are_refused(scheduler: Scheduler) -> None:
    for prompt in ((), (10**6,), (-1,)):
        with pytest.raises(UsageError):
            scheduler.submit(Request(prompt=prompt, params=GenerationParams()))


def test_special_tokens_in_user_text_stay_text(model: Model) -> None:
    vocabulary = model.vocabulary
    control = vocabulary.tokenize("<|im_end|>", special=True)
    assert len(control) == 1
    parts = [Part("<|im_start|>user\n", False), Part("say <|im_end|> now", True), Part("<|im_end|>\n", False)]
    tokens = rendered_prompt(vocabulary, parts).tokens
    assert tokens.count(control[0]) == 1
    assert vocabulary.detokenize(tokens, special=True).decode().endswith("say <|im_end|> now<|im_end|>\n")
    end = tuple(vocabulary.tokenize("<|im_end|>", special=True))
    user = tuple(vocabulary.tokenize("<|im_start|>", special=True))
    middle = tuple(vocabulary.tokenize("user\nsay <|im_end|> now"))  # one stretch of plain text: merges cross the parts
    assert tokens == (*user, *middle, *end, *vocabulary.tokenize("\n"))
    harmless = [Part("<|im_start|>user\n", False), Part("say it now", True), Part("<|im_end|>\n", False)]
    assert rendered_prompt(vocabulary, harmless).tokens == tuple(
        vocabulary.tokenize("<|im_start|>user\nsay it now<|im_end|>\n", special=True)
    )


def test_cancelling_from_another_thread_ends_and_leaves_the_cache_usable(model: Model, scheduler: Scheduler) -> None:
    before = answer(scheduler, request(model, "Hello", max_tokens=8))
    timer = threading.Timer(0.05, model.cancel.set)
    timer.start()
    end = outcome(scheduler, request(model, "Hello", max_tokens=10**6, context_shift=True))
    timer.join()
    assert end.reason == "cancelled"
    model.cancel.clear()
    assert answer(scheduler, request(model, "Hello", max_tokens=8)) == before


def test_cancelling_a_long_prefill_is_prompt(model: Model) -> None:
    with Context(model, ContextParams(n_ctx=100_000, n_batch=8192, n_ubatch=512, threads=1)) as context:
        scheduler = Scheduler(context)
        scheduler.submit(Request(prompt=tuple([40] * 90_000), params=GenerationParams(sampling=GREEDY)))
        set_at: list[float] = []
        timer = threading.Timer(0.3, lambda: (set_at.append(time.perf_counter()), model.cancel.set()))
        timer.start()
        events = list(scheduler.run())
        took = time.perf_counter() - set_at[0]
        timer.join()
        model.cancel.clear()
    assert isinstance(events[-1], Finished)
    assert events[-1].reason == "cancelled"
    assert took < 1.0  # a generous bound: the point is that it does not wait for the end of the batch


def test_dropping_one_sequence_leaves_the_others(model: Model, scheduler: Scheduler) -> None:
    alone = answer(scheduler, request(model, "stay", max_tokens=10))
    stay = scheduler.submit(request(model, "stay", max_tokens=10))
    leave: Sequence = scheduler.submit(request(model, "leave", max_tokens=10**6))
    scheduler.step()
    closing = scheduler.cancel(leave)
    assert closing is not None
    assert closing.reason == "cancelled"
    assert scheduler.cancel(leave) is None
    tokens = [event.id for event in scheduler.run() if isinstance(event, Token) and event.sequence == stay.id]
    assert tokens == alone[-len(tokens) :]


def test_closed_objects_say_so(tiny_model: Path) -> None:
    model = Model(tiny_model)
    context = Context(model, ContextParams(n_ctx=64))
    context.close()
    context.close()
    with pytest.raises(ClosedError):
        context.decode([1], [0], [0], [1])
    with pytest.raises(ClosedError):
        context.forget(0)
    model.close()
    model.close()
    with pytest.raises(ClosedError):
        model.vocabulary.tokenize("x")
    with pytest.raises(ClosedError):
        Context(model, ContextParams(n_ctx=64))


def test_a_sampler_frees_once(model: Model) -> None:
    sampler = Sampler(model, SamplingParams())
    sampler.close()
    sampler.close()
    with pytest.raises(ClosedError):
        sampler.sample(None, 0)


def test_an_impossible_context_is_refused_before_it_is_allocated(model: Model) -> None:
    with pytest.raises(MemoryFullError, match="GiB"):
        Context(model, ContextParams(n_ctx=2**31 - 1, n_seq_max=8))


@pytest.mark.parametrize("content", [b"", b"GGUF", b"\x00" * 64, b"<!DOCTYPE html><html></html>"])
def test_files_that_are_no_models(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "model.gguf"
    path.write_bytes(content)
    with pytest.raises(ModelFileError):
        Model(path)


def test_a_truncated_model(tmp_path: Path, tiny_model: Path) -> None:
    data = tiny_model.read_bytes()
    path = tmp_path / "model.gguf"
    for length in range(4, len(data), len(data) // 40):
        path.write_bytes(data[:length])
        with pytest.raises(ModelError) as caught:
            Model(path)
        assert "\n" not in str(caught.value)


def test_an_exception_while_loading_stops_it(tiny_model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from llamacli.engine.runtime import loading
    from llamacli.engine.runtime.cancel import CancelFlag

    flag = CancelFlag()

    def slow() -> None:
        while not flag.is_set:
            time.sleep(0.01)

    def interrupted(progress: float) -> None:
        raise KeyboardInterrupt

    started = time.perf_counter()
    with pytest.raises(KeyboardInterrupt):
        loading.interruptible(slow, flag, interrupted)
    assert flag.is_set
    assert time.perf_counter() - started < 5


def test_a_failed_gpu_allocation_is_tried_again_with_fewer_layers(tiny_model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from llamacli.engine.runtime import model as module

    asked: list[int] = []
    real = module.load

    def load(path: Path, params: ModelParams, layers: int, *rest: object, **more: object) -> object:
        asked.append(layers)
        if layers > 1:
            raise MemoryFullError("the GPU is full")
        return real(path, params, 0, *rest, **more)

    class Offloading:
        def __init__(self, library: object) -> None:
            self._library = library

        def __getattr__(self, name: str) -> object:
            return (lambda: True) if name == "llama_supports_gpu_offload" else getattr(self._library, name)

    library = module.library()
    monkeypatch.setattr(module, "load", load)
    monkeypatch.setattr(module, "library", lambda: Offloading(library))
    with Model(tiny_model, ModelParams(gpu_layers=99)) as model:
        assert asked == [99, 2, 1]
        assert "trying again with 1 of 3 layers" in model.notes[-1]


def test_a_grammar_holds(model: Model, scheduler: Scheduler) -> None:
    base = request(model, "Hello", max_tokens=40, sampling=SamplingParams(seed=3))
    scheduler.submit(dataclasses.replace(base, guidance=held_to('root ::= "yes" | "no"')))
    text = "".join(event.text for event in scheduler.run() if isinstance(event, Token | Finished))
    assert text in ("yes", "no")


def test_a_grammar_that_kills_llama_cpp_is_refused(model: Model, scheduler: Scheduler) -> None:
    deep = "root ::= " + "(" * 60_000 + '"a"' + ")" * 60_000
    for grammar in (deep, "root ::= undefined", "root ::= root", 'root ::= "open'):
        with pytest.raises(GrammarError):
            scheduler.submit(dataclasses.replace(request(model, "Hello"), guidance=held_to(grammar)))


def test_long_runs_of_one_letter_do_not_overflow_the_stack(model: Model) -> None:
    for letter in ("a", " ", "\n", "1", "é", "🏠"):
        text = letter * 40_000
        tokens = model.vocabulary.tokenize(text)
        assert model.vocabulary.detokenize(tokens).decode() == text
