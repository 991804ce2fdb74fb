"""The types that a model can be quantized to."""

from __future__ import annotations

import difflib
import re
from dataclasses import dataclass

from llamacli.binding.enums import ggml_type, llama_ftype
from llamacli.engine.params import ContextParams, ModelParams
from llamacli.errors import UsageError
from llamacli.gguf.layout import TENSOR_TYPES

TYPES: dict[str, llama_ftype] = {
    member.name.removeprefix("LLAMA_FTYPE_").removeprefix("MOSTLY_").removeprefix("ALL_"): member
    for member in llama_ftype
    if member is not llama_ftype.LLAMA_FTYPE_GUESSED
}
"""The types that a model can be quantized to, by llama.cpp's names."""

MAKE_IMPORTANCE = "make one with `llamacli models imatrix`, and give it with importance_file; or use IQ3_S or a larger type"
"""The hint where an importance matrix is missing."""

_LONGEST_PATTERN = 256
_EXTENSION = re.compile(r"(?<!\\)\(\?(?![:=!]).?")
"""Groups of Python that ECMAScript's expressions, in which llama.cpp searches, do not have."""

_SYNONYMS = {"Q3_K": "Q3_K_M", "Q4_K": "Q4_K_M", "Q5_K": "Q5_K_M"}


TENSOR_TYPE_NAMES: dict[str, ggml_type] = {
    kind.name: ggml_type[f"GGML_TYPE_{kind.name}"]
    for kind in TENSOR_TYPES.values()
    if kind.name not in ("I8", "I16", "I32", "I64", "F64", "Q8_1", "Q8_K")
}
"""The types that one tensor can be quantized to."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Quantization:
    """What is quantized, and how. `pure` gives every tensor the same type; `threads` 0 uses all cores.

    `tensor_types` are types by regular expressions of tensors' names, the first that is found in a name counts; `output_type`
    and `embedding_type` are those of the output matrix and of the token embeddings. `importance_file` is that of an importance
    matrix.
    """

    source: str
    type_name: str
    threads: int = 0
    allow_requantize: bool = False
    pure: bool = False
    tensor_types: tuple[tuple[str, str], ...] = ()
    output_type: str = ""
    embedding_type: str = ""
    importance_file: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class CollectRequest:
    """What is collected: the model with its parameters, the text, and its chunks of `n_ctx` tokens, at most `chunks`.

    `with_output` also collects for the matrix that gives the logits.
    """

    path: str
    model: ModelParams
    context: ContextParams
    text: bytes
    n_ctx: int = 512
    chunks: int | None = None
    with_output: bool = False


@dataclass(frozen=True, slots=True)
class ChunkCollected:
    """A chunk was evaluated: number `done` of `total`."""

    done: int
    total: int


@dataclass(frozen=True, slots=True, kw_only=True)
class TensorDifference:
    """How far a tensor is from the one of the same name in another file, value by value.

    `rms` is the root of the mean squared difference, `old_rms` that of the old values, `relative` the one divided by the other,
    `largest` the largest difference and `cosine` that of both as vectors; `relative` and `cosine` are None where only zeros are
    compared with others. Pairs with a value that is not finite are only counted.
    """

    name: str
    old_type: str
    new_type: str
    values: int
    rms: float
    old_rms: float
    relative: float | None
    largest: float
    cosine: float | None
    not_finite: int = 0


@dataclass(frozen=True, slots=True)
class WeightsCompared:
    """The values compared so far, and their total."""

    done: int
    total: int


@dataclass(frozen=True, slots=True)
class QuantizedSizes:
    """Bytes of all tensors before and after, to about 0.01 MiB. `needs_importance`: llama.cpp requires an importance matrix."""

    before: int
    after: int
    needs_importance: bool = False


def parse_type(name: str) -> str:
    """Return llama.cpp's name for a quantization written in any case.

    Raises:
        UsageError: if the type is unknown; the hint has the nearest name, or all names.
    """
    known = _SYNONYMS.get(name.upper(), name.upper())
    if known not in TYPES:
        near = difflib.get_close_matches(known, TYPES, n=1, cutoff=0.75)
        hint = f"did you mean {near[0]}?" if near else f"known types are {', '.join(sorted(TYPES))}"
        raise UsageError(f"unknown quantization {name}", hint=hint)
    return known


def parse_tensor_type(name: str) -> str:
    """Return llama.cpp's name for the type of one tensor, written in any case.

    Raises:
        UsageError: if no tensor can be quantized to it.
    """
    known = name.upper()
    if known not in TENSOR_TYPE_NAMES:
        near = difflib.get_close_matches(known, TENSOR_TYPE_NAMES, n=1, cutoff=0.75)
        hint = f"did you mean {near[0]}?" if near else f"known types are {', '.join(TENSOR_TYPE_NAMES)}"
        raise UsageError(f"unknown type of a tensor {name}", hint=hint)
    return known


def parse_tensor_rule(text: str) -> tuple[str, str]:
    """Return the pattern and the type of `PATTERN=TYPE`.

    Raises:
        UsageError: if there is no pattern, it is not a regular expression, or the type is unknown.
    """
    pattern, equals, name = text.strip().rpartition("=")
    if not equals or not pattern or not name:
        raise UsageError(f"{text!r} is not PATTERN=TYPE, such as ffn_down=Q6_K")
    if len(pattern) > _LONGEST_PATTERN:
        raise UsageError(f"invalid regular expression: it has more than {_LONGEST_PATTERN} characters")
    if extension := _EXTENSION.search(pattern):
        raise UsageError(f"invalid regular expression {pattern!r}: llama.cpp does not know {extension[0]}")
    try:
        re.compile(pattern)
    except (re.error, OverflowError) as error:
        raise UsageError(f"invalid regular expression {pattern!r}: {error}") from None
    return pattern, parse_tensor_type(name)


def parse_recipe(text: str, name: str) -> tuple[tuple[str, str], ...]:
    """Return the rules of a file, one on each line; empty lines and those after # are left out. Raises UsageError."""
    rules = []
    for number, line in enumerate(text.splitlines(), start=1):
        rule = line.partition("#")[0].strip()
        if rule:
            try:
                rules.append(parse_tensor_rule(rule))
            except UsageError as error:
                raise UsageError(f"{name}, line {number}: {error.message}", hint=error.hint) from None
    if not rules:
        raise UsageError(f"{name} has no rules", hint="a line is PATTERN=TYPE")
    return tuple(rules)
