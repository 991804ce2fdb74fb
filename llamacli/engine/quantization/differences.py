"""How far the weights of two files are apart: tensors are read in strips, converted to floats and added up on all cores."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass
from itertools import islice
from typing import Any

from llamacli.binding.arrays import byte_array, new_struct, reference
from llamacli.binding.enums import ggml_type
from llamacli.binding.library import library
from llamacli.engine.quantization.types import TensorDifference
from llamacli.engine.runtime.hardware import logical_cpus
from llamacli.errors import ModelFileError
from llamacli.gguf.header import TensorInfo
from llamacli.gguf.model import ModelFiles, read_files
from llamacli.gguf.source import FileSource

_STRIP = 1 << 20
"""Values in one strip, about."""


@dataclass(frozen=True, slots=True)
class _Side:
    """The files of a model, open."""

    sources: Sequence[FileSource]

    def rows(self, tensor: TensorInfo, begin: int, count: int) -> Any:
        """Return the bytes of `count` rows from `begin` on. Raises ModelFileError if the file has become shorter."""
        row = tensor.shape[0] // tensor.type.block * tensor.type.size
        data = self.sources[tensor.part].read(tensor.offset + begin * row, count * row)
        if len(data) != count * row:
            raise ModelFileError(f"{self.sources[tensor.part].name} ends in tensor {tensor.name}")
        return byte_array(data)


def compare_weights(old: str, new: str, on_progress: Callable[[int, int], None] | None = None) -> Iterator[TensorDifference]:
    """Yield the differences of tensors that both models have with the same shape, in the order of the first.

    `on_progress` is called with the values compared and their total. Tensors whose type is not one of weights are left out.

    Raises:
        ModelError: if a file cannot be read.
    """
    first, second = read_files(old), read_files(new)
    others = {tensor.name: tensor for tensor in second.tensors}
    pairs = [(one, others[one.name]) for one in first.tensors if one.name in others and one.shape == others[one.name].shape]
    total, done = sum(one.elements for one, _ in pairs), 0
    with ExitStack() as stack, ThreadPoolExecutor(logical_cpus()) as pool:
        sides = _opened(first, stack), _opened(second, stack)
        for pair in pairs:
            found = new_struct("llamacli_difference")
            for part in _in_order(pool, sides, pair):
                if part is None:
                    break
                _add(found, part)
                done += part.n_values
                if on_progress is not None:
                    on_progress(done, total)
            else:
                yield _difference(pair, found)


def _opened(files: ModelFiles, stack: ExitStack) -> _Side:
    if any(part.byte_order == ">" for part in files.parts):
        raise ModelFileError(f"{files.header.name} is big-endian: its values cannot be compared here")
    return _Side([stack.enter_context(FileSource(location)) for location in files.locations])


def _in_order(pool: ThreadPoolExecutor, sides: tuple[_Side, _Side], pair: tuple[TensorInfo, TensorInfo]) -> Iterator[Any]:
    """Yield the sums of strips of rows, some of which are computed ahead; None for types without values."""
    columns = pair[0].shape[0]
    rows, step = pair[0].elements // columns, max(1, _STRIP // columns)
    strips = iter(range(0, rows, step))

    def submitted(most: int) -> list[Future[Any]]:
        return [pool.submit(_compare_strip, sides, pair, begin, min(step, rows - begin)) for begin in islice(strips, most)]

    ahead = submitted(2 * logical_cpus())
    while ahead:
        yield ahead.pop(0).result()
        ahead += submitted(1)


def _compare_strip(sides: tuple[_Side, _Side], pair: tuple[TensorInfo, TensorInfo], begin: int, count: int) -> Any:
    kinds = [ggml_type[f"GGML_TYPE_{tensor.type.name}"] for tensor in pair]
    data = [side.rows(tensor, begin, count) for side, tensor in zip(sides, pair, strict=True)]
    sums = new_struct("llamacli_difference")
    known = library().llamacli_compare_values(kinds[0], data[0], kinds[1], data[1], count * pair[0].shape[0], reference(sums))
    return sums if known else None


def _add(total: Any, part: Any) -> None:
    for name in ("squared_error", "squared_a", "squared_b", "product", "n_values", "n_not_finite"):
        setattr(total, name, getattr(total, name) + getattr(part, name))
    total.largest = max(total.largest, part.largest)


def _difference(pair: tuple[TensorInfo, TensorInfo], sums: Any) -> TensorDifference:
    count = max(1, sums.n_values - sums.n_not_finite)
    norms = math.sqrt(sums.squared_a * sums.squared_b)
    equal = sums.squared_error == 0
    return TensorDifference(
        name=pair[0].name,
        old_type=pair[0].type.name,
        new_type=pair[1].type.name,
        values=sums.n_values,
        rms=math.sqrt(sums.squared_error / count),
        old_rms=math.sqrt(sums.squared_a / count),
        relative=math.sqrt(sums.squared_error / sums.squared_a) if sums.squared_a else 0.0 if equal else None,
        largest=sums.largest,
        cosine=min(1.0, sums.product / norms) if norms else 1.0 if equal else None,
        not_finite=sums.n_not_finite,
    )
