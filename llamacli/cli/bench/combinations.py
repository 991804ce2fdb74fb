"""The tests of `bench`: all combinations of the values of its options."""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping, Sequence
from typing import Any

from llamacli.bench.measure.params import BenchTest
from llamacli.cli.bench.list_options import joined
from llamacli.cli.bench.options import SetupOptions, WorkOptions
from llamacli.errors import UsageError

MOST_TESTS = 100_000
"""The largest number of tests in a run: all are created before the first is measured."""


def expand(
    work: WorkOptions, setup: SetupOptions, models: Sequence[str], projectors: Mapping[str, str] | None = None
) -> list[BenchTest]:
    """Return the tests of all combinations, in llama-bench's order: each model is loaded as few times as possible.

    `projectors` has that of each model, for tests with pictures.

    Raises:
        UsageError: if there are no tests or too many, or a value is out of range.
    """
    axes = {"model": tuple(models), **_axes(setup), "n_depth": joined(work.n_depth) or (0,)}
    axes["poll"] = joined(setup.poll) or (50,)
    axes["rpc"] = (setup.rpc,)
    axes["n_parallel"] = joined(work.parallel) or (1,)
    sizes = [(*size, image) for size in work.sizes() for image in (joined(work.image) if size[0] == "image" else ("",))]
    if not sizes:
        raise UsageError("nothing to measure", hint="-p, -n or -pg must be above 0")
    for name, is_asked in (("--end-to-end", work.end_to_end), ("--image", work.image)):
        if is_asked:
            _check_chat_turn(name, work, setup)
    if (setup.draft or setup.prompt_cache) and {size[0] for size in sizes} != {"end-to-end"}:
        raise UsageError("--draft and --prompt-cache need --end-to-end, and no --latency or --image beside it")
    count = len(sizes) * math.prod(map(len, axes.values()))
    if count > MOST_TESTS:
        raise UsageError(f"{count:,} tests are too many for one run: at most {MOST_TESTS:,} are possible")
    found = projectors or {}
    return [
        BenchTest(
            **dict(zip(axes, values, strict=True)),
            workload=workload,
            n_prompt=n_prompt,
            n_gen=n_gen,
            image=image,
            mmproj=found.get(str(values[0]), "") if image else "",
        )
        for values in itertools.product(*axes.values())
        for workload, n_prompt, n_gen, image in sizes
    ]


def _axes(setup: SetupOptions) -> dict[str, tuple[Any, ...]]:
    given = {
        "n_gpu_layers": setup.gpu_layers,
        "split_mode": setup.split_mode,
        "load_mode": setup.load_mode or tuple(tuple("mmap" if on else "none" for on in part) for part in setup.mmap),
        "main_gpu": setup.main_gpu,
        "devices": setup.device,
        "tensor_split": setup.tensor_split,
        "no_host": setup.no_host,
        "repack": setup.repack,
        "kernels": setup.kernels,
        "draft": setup.draft,
        "prompt_cache": setup.prompt_cache,
        "embeddings": setup.embeddings,
        "no_op_offload": setup.no_op_offload,
        "n_batch": setup.batch_size,
        "n_ubatch": setup.ubatch_size,
        "type_k": setup.cache_type_k,
        "type_v": setup.cache_type_v,
        "no_kv_offload": setup.no_kv_offload,
        "flash_attn": setup.flash_attn,
        "n_threads": setup.threads,
        "cpu_mask": setup.cpu_mask,
        "cpu_strict": setup.cpu_strict,
    }
    return {name: joined(values) for name, values in given.items() if values}


def _check_chat_turn(name: str, work: WorkOptions, setup: SetupOptions) -> None:
    if any(joined(work.n_depth)) or set(joined(work.parallel)) - {1}:
        raise UsageError(f"{name} cannot be used with -d or --parallel: it is one chat turn in an empty context")
    if setup.cpu_mask or setup.cpu_strict or setup.poll or setup.embeddings:
        raise UsageError(f"{name} cannot be used with -C, --cpu-strict, --poll or -embd: it uses the engine's own threads")
