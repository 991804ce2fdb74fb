"""Parameters and results of a benchmark. Names are llama-bench's (`tools/llama-bench`) where it has one."""

from __future__ import annotations

import math
import re
import statistics
from dataclasses import dataclass, field
from typing import Literal

from llamacli.bench.statistics import percentile
from llamacli.engine.params import CacheType, FlashAttention, Kernels, LoadMode, SplitMode
from llamacli.engine.runtime.hardware import default_threads
from llamacli.errors import UsageError
from llamacli.media.picture import MAX_PIXELS, MAX_RATIO

Workload = Literal["speed", "latency", "end-to-end", "image", "quality"]
"""`speed`: the tests of llama-bench; `latency`: the same with the time of each token; `end-to-end`: a complete chat turn
through the engine; `image`: such a turn with a picture; `quality`: windows of a text, whose tokens are judged."""

TIMED = ("latency", "end-to-end", "image")
"""The workloads in which each token is timed."""

CHAT_TURNS = ("end-to-end", "image")
"""The workloads that run through an engine of their own."""

_INT_MAX = 2**31 - 1
_SIZE = re.compile(r"(\d{1,9})x(\d{1,9})")


@dataclass(frozen=True, slots=True, kw_only=True)
class BenchTest:
    """One test: a model file, the parameters of loading and evaluation, and the numbers of tokens.

    `n_prompt` tokens are evaluated, then `n_gen` one by one, both after `n_depth` tokens that are not timed; all this for each
    of `n_parallel` sequences. `n_gpu_layers` -1 means all. Empty `devices` leave the choice to llama.cpp, ("none",) is the CPU.
    `cpu_mask` is hexadecimal, 0x0 means no mask. `poll` is the polling level of waiting threads, from 0 (sleep) to 100. `image`
    is the size of a picture, `512x384`, that comes before the prompt and is encoded by the projector `mmproj`; its tokens are
    not counted in `n_prompt`.

    Raises:
        UsageError: if a number is out of range; `parameter` is its name.
    """

    model: str
    workload: Workload = "speed"
    n_prompt: int = 0
    n_gen: int = 0
    n_depth: int = 0
    image: str = ""
    mmproj: str = ""
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
    kernels: Kernels = "own"
    rpc: tuple[str, ...] = ()
    draft: int | None = 0
    prompt_cache: bool = False

    def __post_init__(self) -> None:
        for parameter, value, least, most in (
            ("n_prompt", self.n_prompt, 0, _INT_MAX),
            ("n_gen", self.n_gen, 0, _INT_MAX),
            ("n_depth", self.n_depth, 0, _INT_MAX),
            ("parallel", self.n_parallel, 1, 256),
            ("n_batch", self.n_batch, 1, _INT_MAX),
            ("n_ubatch", self.n_ubatch, 1, _INT_MAX),
            ("threads", self.n_threads, 1, 512),
            ("poll", self.poll, 0, 100),
            ("gpu_layers", self.n_gpu_layers, -1, _INT_MAX),
            ("main_gpu", self.main_gpu, 0, _INT_MAX),
        ):
            _require(least <= value <= most, f"{parameter} must be from {least} to {most}", parameter)
        _require(self.n_prompt + self.n_gen > 0, "a test needs at least one token to evaluate or to generate")
        _require(self.n_prompt + self.n_gen + self.n_depth <= _INT_MAX, f"a test can have at most {_INT_MAX} tokens")
        if self.image or self.workload == "image":
            _check_size(self.image)
        _require(self.draft is None or self.draft >= 0, "draft must be at least 0", "draft")
        _require(self.n_batch >= self.n_parallel, "n_batch must be at least the number of sequences", "n_batch")

    @property
    def name(self) -> str:
        """The name as in llama-bench's tables: `pp512`, `tg128`, `pp512+tg128 @ d4096`, `tg128 x4`, `512x384+pp64+tg16`."""
        parts = [f"pp{self.n_prompt}"] * (self.n_prompt > 0) + [f"tg{self.n_gen}"] * (self.n_gen > 0)
        name = "+".join(parts)
        name = {
            "speed": name,
            "latency": f"{name} latency",
            "end-to-end": f"{name} end to end",
            "image": f"{self.image}+{name}",
            "quality": f"ppl{self.n_prompt}",
        }[self.workload]
        if self.n_parallel > 1:
            name += f" x{self.n_parallel}"
        return f"{name} @ d{self.n_depth}" if self.n_depth else name

    @property
    def tokens(self) -> int:
        """The number of timed tokens, of all sequences: of text, so that projectors can be compared."""
        return (self.n_prompt + self.n_gen) * self.n_parallel


@dataclass(frozen=True, slots=True, kw_only=True)
class MeasurePlan:
    """The number of repetitions. Those of tests that fit in memory together are interleaved.

    `until_stable`: continue until half of the median's 95 % interval is at most this percentage of it, for at most
    `max_repetitions`. `delay`: seconds of rest before each repetition.

    Raises:
        UsageError: if a number is out of range; `parameter` is its name.
    """

    repetitions: int = 5
    warmup: bool = True
    delay: float = 0.0
    until_stable: float | None = None
    max_repetitions: int = 100

    def __post_init__(self) -> None:
        _require(1 <= self.repetitions <= 100_000, "repetitions must be from 1 to 100000", "repetitions")
        _require(0 <= self.delay <= 86_400, "delay must be from 0 to 86400 seconds", "delay")
        stable = self.until_stable is None or 0 < self.until_stable <= 100
        _require(stable, "until_stable must be a percentage above 0, and at most 100", "until_stable")


@dataclass(frozen=True, slots=True, kw_only=True)
class Repetition:
    """The times of one repetition in nanoseconds. `prompt_ns` and `steps_ns` (one for each generated token) serve latency.

    For a chat turn `prompt_ns` is the time from the messages to the first piece of text, of which `encode_ns` was spent on the
    picture, which has `image_tokens`.
    """

    total_ns: int
    prompt_ns: int = 0
    steps_ns: tuple[int, ...] = ()
    encode_ns: int = 0
    image_tokens: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelFacts:
    """The model of a test. `size` is in bytes of tensors, `kind` is llama.cpp's description."""

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
class BenchResult:
    """The result of one test. With an `error` there may be fewer samples than requested, or none.

    `test_time` is RFC 3339 in UTC. `load_ms` is the time to load the model, `peak_memory` the peak memory of the process in
    bytes as if this test had run alone, `device_memory` the bytes on GPUs. `energy_j`: joules for each repetition, of the
    counters that `energy_source` names (empty without counters). `warmups`: the number of warm-up runs. `interval_ns`: the 95 %
    interval of the median.
    """

    test: BenchTest
    test_time: str
    model: ModelFacts | None = None
    samples: tuple[Repetition, ...] = ()
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
        """Tokens per second of each repetition, prompt and generation together."""
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
        """The mean of the speeds, as in llama-bench (not the speed of the mean)."""
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


@dataclass(frozen=True, slots=True)
class Latency:
    """Percentiles over all repetitions, in milliseconds: time to first token (median), and times between tokens."""

    ttft_ms: float
    p50_ms: float
    p90_ms: float
    p99_ms: float
    max_ms: float


def latency(result: BenchResult) -> Latency | None:
    """Return the latency of a result whose samples have the time of each token, else None.

    The times between tokens are nan if there was only one token.
    """
    timed = [sample for sample in result.samples if sample.steps_ns or sample.prompt_ns]
    if not timed or result.test.workload not in TIMED:
        return None
    gaps = [step for sample in timed for step in sample.steps_ns]
    first = statistics.median(sample.prompt_ns for sample in timed) / 1e6
    if not gaps:
        return Latency(first, math.nan, math.nan, math.nan, math.nan)
    p50, p90, p99 = (percentile(gaps, share) / 1e6 for share in (0.5, 0.9, 0.99))
    return Latency(first, p50, p90, p99, max(gaps) / 1e6)


def _check_size(text: str) -> None:
    """Raise UsageError unless this is the size of a picture that `run` takes."""
    match = _SIZE.fullmatch(text)
    _require(match is not None, f"invalid image size {text!r}: use a width and a height in pixels, such as 512x384", "image")
    width, height = (int(side) for side in match.groups()) if match else (0, 0)
    _require(min(width, height) > 0, f"an image of {text} pixels has no pixels", "image")
    most = f"more than {MAX_PIXELS // 1_000_000} megapixels"
    _require(width * height <= MAX_PIXELS, f"an image of {text} pixels has {most}", "image")
    most = f"one side is more than {MAX_RATIO} times the other"
    _require(max(width, height) <= MAX_RATIO * min(width, height), f"an image of {text} pixels cannot be used: {most}", "image")


def _require(condition: bool, message: str, parameter: str | None = None) -> None:
    if not condition:
        raise UsageError(message, parameter=parameter)
