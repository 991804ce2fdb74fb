"""What a benchmark is asked for and what it finds. Names are those of llama-bench (`tools/llama-bench`) where it has one."""

from __future__ import annotations

import math
import statistics
from dataclasses import dataclass, field
from typing import Literal

from llamacli.bench.statistics import percentile
from llamacli.engine.params import CacheType, FlashAttention, LoadMode, SplitMode
from llamacli.engine.runtime.hardware import default_threads
from llamacli.errors import LlamacliError, UsageError

Workload = Literal["speed", "latency", "end-to-end"]
"""`speed`: what llama-bench measures; `latency`: the same with the time of each token; `end-to-end`: a chat turn with
everything that belongs to it, through the engine."""

Stage = Literal["load", "warm-up", "measure"]


@dataclass(frozen=True, slots=True, kw_only=True)
class BenchTest:
    """One test: a model file, how it is loaded and evaluated, and how many tokens.

    `n_prompt` tokens are evaluated, then `n_gen` one by one, both after `n_depth` tokens that are not timed; all this for each
    of `n_parallel` sequences. `n_gpu_layers` -1 is all. `devices` empty is llama.cpp's choice, ("none",) the CPU. `cpu_mask` is
    hexadecimal, 0x0 is no mask. `poll` is how eagerly threads wait, from 0 to 100.
    """

    model: str
    workload: Workload = "speed"
    n_prompt: int = 0
    n_gen: int = 0
    n_depth: int = 0
    n_parallel: int = 1
    n_batch: int = 2048
    n_ubatch: int = 512
    n_threads: int = field(default_factory=default_threads)
    cpu_mask: str = "0x0"
    cpu_strict: bool = False
    poll: int = 50
    type_k: CacheType = "f16"
    type_v: CacheType = "f16"
    n_gpu_layers: int = -1
    split_mode: SplitMode = "layer"
    main_gpu: int = 0
    no_kv_offload: bool = False
    flash_attn: FlashAttention = "auto"
    devices: tuple[str, ...] = ()
    tensor_split: tuple[float, ...] = ()
    load_mode: LoadMode = "auto"
    embeddings: bool = False
    no_op_offload: bool = False
    no_host: bool = False
    repack: bool = True

    def __post_init__(self) -> None:
        _require(min(self.n_prompt, self.n_gen, self.n_depth) >= 0, "-p, -n and -d take numbers from 0")
        _require(self.n_prompt + self.n_gen > 0, "a test needs tokens: -p or -n must be more than 0")
        _require(self.n_prompt + self.n_gen + self.n_depth < 2**31, "a test has at most 2147483647 tokens")
        _require(1 <= self.n_parallel <= 256, "--parallel takes numbers from 1 to 256")
        for option, size in (("-b", self.n_batch), ("-ub", self.n_ubatch)):
            _require(size > 0, f"{option} must be at least 1")
            _require(size < 2**31, f"{option} must be at most 2147483647")
        _require(self.n_batch >= self.n_parallel, "-b must be at least as much as --parallel")
        _require(1 <= self.n_threads <= 512, "-t takes numbers from 1 to 512")
        _require(0 <= self.poll <= 100, "--poll takes numbers from 0 to 100")
        _require(-1 <= self.n_gpu_layers < 2**31, "-ngl takes numbers from -1 to 2147483647")
        _require(0 <= self.main_gpu < 2**31, "-mg takes numbers from 0 to 2147483647")

    @property
    def name(self) -> str:
        """`pp512`, `tg128`, `pp512+tg128 @ d4096`, `tg128 x4`, as llama-bench's tables have it."""
        parts = [f"pp{self.n_prompt}"] * (self.n_prompt > 0) + [f"tg{self.n_gen}"] * (self.n_gen > 0)
        name = "+".join(parts)
        name = {"speed": name, "latency": f"{name} latency", "end-to-end": f"{name} end to end"}[self.workload]
        if self.n_parallel > 1:
            name += f" x{self.n_parallel}"
        return f"{name} @ d{self.n_depth}" if self.n_depth else name

    @property
    def tokens(self) -> int:
        """How many tokens are timed: those of all sequences."""
        return (self.n_prompt + self.n_gen) * self.n_parallel


@dataclass(frozen=True, slots=True, kw_only=True)
class MeasurePlan:
    """How often tests are repeated. Repetitions take turns over the tests that fit in memory together.

    `until_stable`: go on until the median is known to plus or minus so many percent (half of its 95 % interval), for
    `max_repetitions` at most.
    `delay`: seconds of rest before each repetition.
    """

    repetitions: int = 5
    warmup: bool = True
    delay: float = 0.0
    until_stable: float | None = None
    max_repetitions: int = 100

    def __post_init__(self) -> None:
        _require(1 <= self.repetitions <= 100_000, "-r takes numbers from 1 to 100000")
        _require(0 <= self.delay <= 86_400, "--delay takes seconds from 0 to 86400")
        _require(self.until_stable is None or 0 < self.until_stable <= 100, "--until-stable takes a percentage above 0")


@dataclass(frozen=True, slots=True, kw_only=True)
class Sample:
    """One repetition, in nanoseconds. `prompt_ns` and `steps_ns` (one for each generated token) are kept for latency.

    For an end-to-end test `prompt_ns` goes from the messages to the first piece of text.
    """

    total_ns: int
    prompt_ns: int = 0
    steps_ns: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelFacts:
    """The model of a test. `size` in bytes of tensors, `kind` is llama.cpp's description."""

    kind: str
    size: int
    n_params: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Machine:
    """The build and the machine of a run, as llama-bench names them."""

    build_commit: str
    build_number: int
    cpu_info: str
    gpu_info: str
    backends: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Result:
    """What one test found. With an `error` there may be fewer samples than asked for, or none.

    `test_time` is RFC 3339 in UTC. `load_ms` is the time to load the model, `peak_memory` the bytes of the process's memory
    that this test needed at most, as if it had run alone, `device_memory` those on GPUs. `energy_j`: joules for each
    repetition, of whatever `energy_source` names (empty where the machine does not tell). `warmups`: how many runs went before.
    `interval_ns`: the 95 % interval of the median.
    """

    test: BenchTest
    test_time: str
    model: ModelFacts | None = None
    samples: tuple[Sample, ...] = ()
    interval_ns: tuple[float, float] | None = None
    warmups: int = 0
    load_ms: float | None = None
    peak_memory: int | None = None
    device_memory: int | None = None
    energy_j: float | None = None
    energy_source: str = ""
    warnings: tuple[str, ...] = ()
    error: str | None = None

    @property
    def samples_ns(self) -> tuple[int, ...]:
        """The duration of each repetition."""
        return tuple(sample.total_ns for sample in self.samples)

    @property
    def samples_ts(self) -> tuple[float, ...]:
        """Tokens per second of each repetition: those of prompt and generation together."""
        return tuple(1e9 * self.test.tokens / max(1, ns) for ns in self.samples_ns)

    @property
    def avg_ns(self) -> float:
        """The mean duration, 0 without samples."""
        return statistics.fmean(self.samples_ns) if self.samples else 0.0

    @property
    def stddev_ns(self) -> float:
        """The standard deviation of the durations, 0 for fewer than two."""
        return statistics.stdev(self.samples_ns) if len(self.samples) > 1 else 0.0

    @property
    def avg_ts(self) -> float:
        """The mean of the speeds, as llama-bench has it (not the speed of the mean)."""
        return statistics.fmean(self.samples_ts) if self.samples else 0.0

    @property
    def stddev_ts(self) -> float:
        """The standard deviation of the speeds."""
        return statistics.stdev(self.samples_ts) if len(self.samples) > 1 else 0.0

    @property
    def median_ns(self) -> float:
        """The median duration, 0 without samples."""
        return statistics.median(self.samples_ns) if self.samples else 0.0

    @property
    def median_ts(self) -> float:
        """The median speed."""
        return statistics.median(self.samples_ts) if self.samples else 0.0

    @property
    def interval_ts(self) -> tuple[float, float] | None:
        """The 95 % interval of the median speed, the lower bound first."""
        if self.interval_ns is None:
            return None
        low, high = self.interval_ns
        return 1e9 * self.test.tokens / high, 1e9 * self.test.tokens / low

    @property
    def is_whole(self) -> bool:
        """Whether the test ran to its end."""
        return self.error is None and bool(self.samples)


@dataclass(frozen=True, slots=True)
class Latency:
    """Percentiles over all repetitions, in milliseconds: time to first token (median), and times between tokens."""

    ttft_ms: float
    p50_ms: float
    p90_ms: float
    p99_ms: float
    max_ms: float


def latency(result: Result) -> Latency | None:
    """The latency of a result whose samples have the time of each token, else None.

    With one token there are no times between tokens: these are nan then.
    """
    timed = [sample for sample in result.samples if sample.steps_ns or sample.prompt_ns]
    if not timed or result.test.workload == "speed":
        return None
    gaps = [step for sample in timed for step in sample.steps_ns]
    first = statistics.median(sample.prompt_ns for sample in timed) / 1e6
    if not gaps:
        return Latency(first, math.nan, math.nan, math.nan, math.nan)
    p50, p90, p99 = (percentile(gaps, share) / 1e6 for share in (0.5, 0.9, 0.99))
    return Latency(first, p50, p90, p99, max(gaps) / 1e6)


@dataclass(frozen=True, slots=True)
class Working:
    """A stage of a test, or a repetition begins; `number` of `count` (None where nobody knows beforehand)."""

    index: int
    test: BenchTest
    stage: Stage
    number: int
    count: int | None


@dataclass(frozen=True, slots=True)
class Measured:
    """A test has ended, well or not: `failure` is what `result.error` tells. `index` is its place in the list of tests."""

    index: int
    result: Result
    failure: LlamacliError | None = None


BenchEvent = Working | Measured


def _require(condition: bool, message: str) -> None:
    if not condition:
        raise UsageError(message)
