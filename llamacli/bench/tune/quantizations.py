"""An estimate of a model's speed in other quantizations on this machine.

The matrices of the model's layers are multiplied by ggml in each type, laid out as llama.cpp would, with the rounds of all
types interleaved. The time besides the products stays as measured, so that a type with products twice as fast makes the model
less than twice as fast (Amdahl, "Validity of the single processor approach", 1967). The estimate does not consider quality.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import Any

from llamacli.bench.compare.compare import Outcome, compare_rounds
from llamacli.bench.measure.setup import Phase
from llamacli.bench.roofline.ceiling import PROMPT_TOKENS
from llamacli.bench.roofline.model import BITS
from llamacli.bench.roofline.peaks import cache_size, ggml_name, product_request, seconds_of
from llamacli.bench.tune.type_speeds import Speeds, TypeReport, TypeRequest, TypeSpeed
from llamacli.binding import log
from llamacli.binding.throughput import Products
from llamacli.engine.runtime.cancel import CancelFlag
from llamacli.engine.runtime.hardware import available_memory
from llamacli.errors import CapacityError, MemoryFullError, ModelError, UsageError
from llamacli.gguf.analysis.cost import Product

CANDIDATES = ("Q4_0", "IQ4_NL", "Q4_K", "Q5_K", "Q6_K", "Q8_0")

HELPS = 1.1
"""The smallest speed-up of the whole job that makes another type worth mentioning."""

LEAST_ROUNDS, MOST_ROUNDS = 3, 12

_LOSSLESS_BITS = 8.0  # per weight: the loss is not noticeable
_FEWER_BITS = 1.0  # below those of the file: about the same quality
_TOKENS = 128
"""Columns of a prompt's products: enough for full speed."""

_PROMPT_OPERATIONS = 10e9
_CACHE_MULTIPLE = 4
_LEAST_BYTES = 256 << 20
_PASS_SECONDS = 0.05


@dataclass(slots=True)
class _Candidate:
    """A type (None: the file's own), its products by phase, and seconds for one token of the model, round by round."""

    type: str | None
    products: dict[Phase, Products] = field(default_factory=dict)
    scale: dict[Phase, float] = field(default_factory=dict)
    seconds: dict[Phase, list[float]] = field(default_factory=lambda: {"prompt": [], "generation": []})
    is_repacked: bool = False


def compare_quantizations(
    request: TypeRequest,
    cancel: CancelFlag,
    *,
    seconds: float,
    types: Sequence[str] = CANDIDATES,
    clock: Callable[[], float] = time.monotonic,
) -> Iterator[str | TypeReport]:
    """Yield the current step in words, and finally the report. Takes about `seconds`, or the time of the fewest rounds.

    Raises:
        MemoryFullError: if there is no room for the file's own matrices.
        CancelledError: if `cancel` was set.
    """
    layers = [product for product in request.cost.products if not product.is_output]
    own_types = {product.type for product in layers if product.type in BITS}
    deadline = clock() + seconds
    with ExitStack() as stack:
        candidates: list[_Candidate] = []
        for name in (None, *(name for name in types if own_types != {name})):
            yield f"{name or 'own'} matrices"
            try:
                candidates.append(_make(name, layers, request, len(types) + 1, stack))
            except (UsageError, ModelError, CapacityError):
                if name is None:
                    raise  # there is nothing to compare with
            cancel.check()
        for number in range(1, MOST_ROUNDS + 1):
            if number > LEAST_ROUNDS and clock() >= deadline:
                break
            yield f"products, round {number}"
            for candidate in candidates:
                _measure(candidate, request, cancel)
        yield _report(request, layers, candidates)


def _make(name: str | None, layers: Sequence[Product], wanted: TypeRequest, sharers: int, stack: ExitStack) -> _Candidate:
    """Return the products of a type on the device. Raises MemoryFullError if they need too much of the free memory."""
    made = _Candidate(name)
    free = available_memory() or _LEAST_BYTES * 4 * sharers
    room = min(max(_LEAST_BYTES, _CACHE_MULTIPLE * cache_size()), free // (4 * sharers))
    operations = sum(product.operations for product in layers)
    parts: dict[Phase, tuple[int, list[dict[str, Any]]]] = {
        "generation": (1, _for_generation(layers, name, room / sum(product.size for product in layers))),
        "prompt": (_TOKENS, _for_prompt(layers, name, _PROMPT_OPERATIONS / (_TOKENS * operations), room)),
    }
    for phase, (tokens, requests) in parts.items():
        if sum(_request_size(item) for item in requests) > free // 4:
            raise MemoryFullError(f"too little memory to multiply in {name}")
        with log.complaints():
            products = stack.enter_context(Products(wanted.device, requests, tokens, kernels=wanted.kernels))
        made.products[phase] = products
        made.scale[phase] = operations / float(products.description["operations"])
        made.is_repacked |= any("REPACK" in buffer for buffer in products.description["buffers"].values())
    return made


def _for_generation(layers: Sequence[Product], type_name: str | None, share: float) -> list[dict[str, Any]]:
    """Return a part of the matrices that a token reads; of a mixture only the experts that it uses."""
    requests = []
    for product in layers:
        count = product.count * (product.used or 1)
        part = max(1, min(count, round(count * share)))
        requests.append(product_request(_type_of(product, layers, type_name), product.columns, product.rows, part))
    return requests


def _for_prompt(layers: Sequence[Product], type_name: str | None, share: float, room: int) -> list[dict[str, Any]]:
    """Return a part of the matrices of a prompt; of a mixture so few experts that each gets its usual number of tokens."""
    requests = []
    for product in layers:
        kind = _type_of(product, layers, type_name)
        request = product_request(kind, product.columns, product.rows, max(1, round(product.count * share)))
        if product.experts:
            held = product.row_size * product.rows * product.experts * _TOKENS / PROMPT_TOKENS
            shrunk = min(1.0, room / held)
            used = max(1, round(product.used * shrunk))
            request["used"] = used
            request["experts"] = max(used, round(product.experts * shrunk * _TOKENS / PROMPT_TOKENS))
        requests.append(request)
    return requests


def _type_of(product: Product, layers: Sequence[Product], type_name: str | None) -> str:
    """Return the type of a matrix in another quantization: F32 matrices beside quantized ones stay F32."""
    kept = product.type == "F32" and any(other.type != "F32" for other in layers)
    return product.type if type_name is None or kept else type_name


def _request_size(request: Mapping[str, Any]) -> float:
    elements = request["columns"] * request["rows"] * request["count"] * (request.get("experts") or 1)
    return float(elements * BITS[next(name for name in BITS if ggml_name(name) == request["type"])] / 8)


def _measure(candidate: _Candidate, request: TypeRequest, cancel: CancelFlag) -> None:
    """Measure one round."""
    for phase, products in candidate.products.items():
        passes = seconds_of(products, request.threads[phase], _PASS_SECONDS, cancel)
        candidate.seconds[phase].append(statistics.median(passes) * candidate.scale[phase])


def _report(request: TypeRequest, layers: Sequence[Product], candidates: Sequence[_Candidate]) -> TypeReport:
    own, *others = [_speed(request, layers, candidate, candidates[0]) for candidate in candidates]
    better = sorted((one for one in others if _is_better(request, own, one)), key=lambda one: _job_seconds(request, one.speeds))
    return TypeReport(own=own, others=tuple(others), better=tuple(better))


def _speed(request: TypeRequest, layers: Sequence[Product], candidate: _Candidate, own: _Candidate) -> TypeSpeed:
    speeds: dict[Phase, float] = {}
    outcomes: dict[Phase, Outcome] = {}
    for phase, measured in request.speeds.items():
        before, after = (model_speeds(measured, own.seconds[phase], one.seconds[phase]) for one in (own, candidate))
        speeds[phase] = statistics.median(after)
        outcomes[phase] = compare_rounds(before, after)
    changed = [one for one in layers if _type_of(one, layers, "") == ""]  # without those that stay in F32
    elements = sum(one.columns * one.rows * one.count * (one.experts or 1) for one in changed)
    in_file = sum(_whole_size(one) for one in changed)
    bits = BITS[candidate.type] if candidate.type else 8 * in_file / elements
    whole = sum(_whole_size(one) for one in request.cost.products) + request.cost.other
    return TypeSpeed(
        type=candidate.type or _most_used(layers),
        size=round(whole - in_file + elements * bits / 8),
        bits=bits,
        speeds=speeds,
        outcomes=outcomes,
        is_repacked=candidate.is_repacked,
    )


def model_speeds(measured: float, own: Sequence[float], other: Sequence[float]) -> list[float]:
    """Return the model's speed in each round if its products took `other` instead of `own`, in seconds per token.

    `measured` is its actual speed. If its products alone take longer than the whole model did (noise), they count as all of it.
    """
    typical = statistics.median(own)
    rest = max(0.0, 1 / measured - typical)
    scale = min(1.0, 1 / measured / typical)
    return [1 / (rest + scale * seconds) for seconds in other]


def _whole_size(product: Product) -> int:
    """Return the bytes of all its matrices, including unused experts."""
    return product.row_size * product.rows * product.count * (product.experts or 1)


def _most_used(layers: Sequence[Product]) -> str:
    return max(layers, key=lambda product: sum(one.operations for one in layers if one.type == product.type)).type


def _is_better(request: TypeRequest, own: TypeSpeed, other: TypeSpeed) -> bool:
    if other.bits < min(own.bits - _FEWER_BITS, _LOSSLESS_BITS):
        return False
    verdicts = [outcome.verdict for outcome in other.outcomes.values()]
    times = _job_seconds(request, own.speeds) / _job_seconds(request, other.speeds)
    return times >= HELPS and "faster" in verdicts


def _job_seconds(request: TypeRequest, speeds: Speeds) -> float:
    return request.n_prompt / speeds["prompt"] + request.n_gen / speeds["generation"]
