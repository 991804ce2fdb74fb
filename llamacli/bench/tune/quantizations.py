"""Would the same model be faster in another quantization on this machine?

The matrices of the model's layers are multiplied in each type, with ggml, as llama.cpp would lay them out, rounds of all types
taking turns. What the model takes besides its products stays as it was measured, so that a type that is multiplied twice as
fast makes the model less than twice as fast (Amdahl, "Validity of the single processor approach", 1967). The result is an
estimate of the speed; the quality is not looked at.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import Any

from llamacli.bench.compare.compare import Outcome, compare_rounds
from llamacli.bench.measure.trial import Phase
from llamacli.bench.roofline.model import BITS
from llamacli.bench.roofline.peaks import PROMPT_TOKENS, cache_size, ggml_name, product_request, seconds_of
from llamacli.binding import log
from llamacli.binding.throughput import Products
from llamacli.engine.runtime.cancel import CancelFlag
from llamacli.engine.runtime.hardware import available_memory
from llamacli.errors import CapacityError, MemoryFullError, ModelError, UsageError
from llamacli.gguf.analysis.cost import ModelCost, Product

CANDIDATES = ("Q4_0", "IQ4_NL", "Q4_K", "Q5_K", "Q6_K", "Q8_0")

HELPS = 1.1
"""How many times as fast the whole job must be in another type to be worth a word."""

LEAST_ROUNDS, MOST_ROUNDS = 3, 12

_LOSSLESS_BITS = 8.0  # per weight: nobody notices what is lost
_FEWER_BITS = 1.0  # than the file has: about the same quality
_TOKENS = 128
"""Columns of a prompt's products: enough to be as fast as with more."""

_PROMPT_OPERATIONS = 10e9
_CACHE_MULTIPLE = 4
_LEAST_BYTES = 256 << 20
_PASS_SECONDS = 0.05

Speeds = Mapping[Phase, float]
"""Tokens per second."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TypeSpeed:
    """What the model would probably do with its layers in a type. `size` in bytes of the whole model, `bits` of a weight of the
    layers; speeds in tokens per second, `outcomes` against the file as it is. `is_rearranged`: for this CPU, when loaded.
    """

    type: str
    size: int
    bits: float
    speeds: Speeds
    outcomes: Mapping[Phase, Outcome]
    is_rearranged: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class TypeReport:
    """The file as it is, and in other types. `better` are those that are worth having, the fastest first: about as good in
    quality as the file, and surely faster at the whole job.
    """

    own: TypeSpeed
    others: tuple[TypeSpeed, ...]
    better: tuple[TypeSpeed, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class TypeQuestion:
    """What is compared: a model with the speeds that it has, on a device, with so many threads for each phase.

    `n_prompt` and `n_gen` are the tokens of the job that is to be fast as a whole.
    """

    cost: ModelCost
    speeds: Speeds
    device: str
    threads: Mapping[Phase, int]
    n_prompt: int
    n_gen: int


@dataclass(slots=True)
class _Candidate:
    """A type (None: the file's own), its products by phase, and seconds for one token of the model, round by round."""

    type: str | None
    products: dict[Phase, Products] = field(default_factory=dict)
    scale: dict[Phase, float] = field(default_factory=dict)
    seconds: dict[Phase, list[float]] = field(default_factory=lambda: {"prompt": [], "generation": []})
    is_rearranged: bool = False


def compare_types(
    question: TypeQuestion,
    cancel: CancelFlag,
    *,
    seconds: float,
    types: Sequence[str] = CANDIDATES,
    clock: Callable[[], float] = time.monotonic,
) -> Iterator[str | TypeReport]:
    """What is being done, and at the end the report. Takes about `seconds`, but for the fewest rounds.

    Raises:
        MemoryFullError: there is no room even for the file's own matrices.
        CancelledError: `cancel` was set.
    """
    layers = [product for product in question.cost.products if not product.is_output]
    own_types = {product.type for product in layers if product.type in BITS}
    deadline = clock() + seconds
    with ExitStack() as stack:
        candidates: list[_Candidate] = []
        for name in (None, *(name for name in types if own_types != {name})):
            yield f"{name or 'own'} matrices"
            try:
                candidates.append(_make(name, layers, question.device, len(types) + 1, stack))
            except (UsageError, ModelError, CapacityError):
                if name is None:
                    raise  # without the file's own there is nothing to compare with
            cancel.check()
        for number in range(1, MOST_ROUNDS + 1):
            if number > LEAST_ROUNDS and clock() >= deadline:
                break
            yield f"products, round {number}"
            for candidate in candidates:
                _measure(candidate, question, cancel)
        yield _report(question, layers, candidates)


def _make(name: str | None, layers: Sequence[Product], device: str, sharers: int, stack: ExitStack) -> _Candidate:
    """The products of a type, laid out on the device. Raises MemoryFullError if they would take too much of what is free."""
    made = _Candidate(name)
    free = available_memory() or _LEAST_BYTES * 4 * sharers
    room = min(max(_LEAST_BYTES, _CACHE_MULTIPLE * cache_size()), free // (4 * sharers))
    operations = sum(product.operations for product in layers)
    parts: dict[Phase, tuple[int, list[dict[str, Any]]]] = {
        "generation": (1, _for_generation(layers, name, room / sum(product.size for product in layers))),
        "prompt": (_TOKENS, _for_prompt(layers, name, _PROMPT_OPERATIONS / (_TOKENS * operations), room)),
    }
    for phase, (tokens, requests) in parts.items():
        if sum(_request_size(request) for request in requests) > free // 4:
            raise MemoryFullError(f"too little memory to multiply in {name}")
        with log.complaints():
            products = stack.enter_context(Products(device, requests, tokens))
        made.products[phase] = products
        made.scale[phase] = operations / float(products.description["operations"])
        made.is_rearranged |= any("REPACK" in buffer for buffer in products.description["buffers"].values())
    return made


def _for_generation(layers: Sequence[Product], type_name: str | None, share: float) -> list[dict[str, Any]]:
    """A part of the matrices that a token reads. Of a mixture those experts that it uses: each time others, in a real model."""
    requests = []
    for product in layers:
        count = product.count * (product.used or 1)
        part = max(1, min(count, round(count * share)))
        requests.append(product_request(_type_of(product, layers, type_name), product.columns, product.rows, part))
    return requests


def _for_prompt(layers: Sequence[Product], type_name: str | None, share: float, room: int) -> list[dict[str, Any]]:
    """A part of the matrices that a prompt goes through; of a mixture so few experts that each has as many tokens as usual."""
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
    """What a matrix would be in: those that are left in F32 beside quantized ones stay what they are."""
    kept = product.type == "F32" and any(other.type != "F32" for other in layers)
    return product.type if type_name is None or kept else type_name


def _request_size(request: Mapping[str, Any]) -> float:
    elements = request["columns"] * request["rows"] * request["count"] * (request.get("experts") or 1)
    return float(elements * BITS[next(name for name in BITS if ggml_name(name) == request["type"])] / 8)


def _measure(candidate: _Candidate, question: TypeQuestion, cancel: CancelFlag) -> None:
    """One round."""
    for phase, products in candidate.products.items():
        passes = seconds_of(products, question.threads[phase], _PASS_SECONDS, cancel)
        candidate.seconds[phase].append(statistics.median(passes) * candidate.scale[phase])


def _report(question: TypeQuestion, layers: Sequence[Product], candidates: Sequence[_Candidate]) -> TypeReport:
    own, *others = [_speed(question, layers, candidate, candidates[0]) for candidate in candidates]
    better = sorted(
        (one for one in others if _is_better(question, own, one)), key=lambda one: _job_seconds(question, one.speeds)
    )
    return TypeReport(own=own, others=tuple(others), better=tuple(better))


def _speed(question: TypeQuestion, layers: Sequence[Product], candidate: _Candidate, own: _Candidate) -> TypeSpeed:
    speeds: dict[Phase, float] = {}
    outcomes: dict[Phase, Outcome] = {}
    for phase, measured in question.speeds.items():
        before, after = (model_speeds(measured, own.seconds[phase], one.seconds[phase]) for one in (own, candidate))
        speeds[phase] = statistics.median(after)
        outcomes[phase] = compare_rounds(before, after)
    changed = [one for one in layers if _type_of(one, layers, "") == ""]  # not what stays in F32
    elements = sum(one.columns * one.rows * one.count * (one.experts or 1) for one in changed)
    in_file = sum(_whole_size(one) for one in changed)
    bits = BITS[candidate.type] if candidate.type else 8 * in_file / elements
    whole = sum(_whole_size(one) for one in question.cost.products) + question.cost.other
    return TypeSpeed(
        type=candidate.type or _most_used(layers),
        size=round(whole - in_file + elements * bits / 8),
        bits=bits,
        speeds=speeds,
        outcomes=outcomes,
        is_rearranged=candidate.is_rearranged,
    )


def model_speeds(measured: float, own: Sequence[float], other: Sequence[float]) -> list[float]:
    """The model's speed in each round if its products took as long as `other` and not as long as `own`, in seconds a token.

    `measured` is its speed as it is. If its products take longer than the whole model took (noise), they are all of it.
    """
    typical = statistics.median(own)
    rest = max(0.0, 1 / measured - typical)
    scale = min(1.0, 1 / measured / typical)
    return [1 / (rest + scale * seconds) for seconds in other]


def _whole_size(product: Product) -> int:
    """Bytes of all its matrices, of experts that are not used as well."""
    return product.row_size * product.rows * product.count * (product.experts or 1)


def _most_used(layers: Sequence[Product]) -> str:
    return max(layers, key=lambda product: sum(one.operations for one in layers if one.type == product.type)).type


def _is_better(question: TypeQuestion, own: TypeSpeed, other: TypeSpeed) -> bool:
    if other.bits < min(own.bits - _FEWER_BITS, _LOSSLESS_BITS):
        return False
    verdicts = [outcome.verdict for outcome in other.outcomes.values()]
    times = _job_seconds(question, own.speeds) / _job_seconds(question, other.speeds)
    return times >= HELPS and "faster" in verdicts


def _job_seconds(question: TypeQuestion, speeds: Speeds) -> float:
    return question.n_prompt / speeds["prompt"] + question.n_gen / speeds["generation"]
