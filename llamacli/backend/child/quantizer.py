"""Quantization in a child: it may write one file, which gets its name here when it is complete and checked."""

from __future__ import annotations

import contextlib
import shutil
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Final

from llamacli.backend.child.params import ChildParams
from llamacli.backend.child.process.child import Child
from llamacli.backend.child.process.start import ChildOwner, start_child
from llamacli.backend.child.wire.codec import Variants
from llamacli.backend.child.wire.method import Method
from llamacli.engine.quantization.importance import ImportanceEntry
from llamacli.engine.quantization.types import MAKE_IMPORTANCE, ChunkCollected, CollectRequest, Quantization, QuantizedSizes
from llamacli.errors import LlamacliError, ModelUnsupportedError
from llamacli.gguf.check.loadable import check_file
from llamacli.gguf.split import part_names
from llamacli.store.files.new_file import new_file
from llamacli.units import format_bytes

SERVICE: Final = "llamacli.backend.child.services.quantizer"


FORECAST: Final = Method("forecast", Quantization, QuantizedSizes)
QUANTIZE: Final = Method("quantize", tuple[Quantization, str], items=tuple[int, int])
STOP_COLLECTING: Final = Method("stop_collecting", None)
COLLECT: Final = Method("collect", CollectRequest, items=Variants(ChunkCollected, ImportanceEntry))


def forecast(asked: Quantization, params: ChildParams | None = None) -> QuantizedSizes:
    """Return the sizes that `quantize` would give. Raises like `quantize`."""
    with contextlib.closing(_start(asked, (), params)) as child:
        sizes: QuantizedSizes = child.call(FORECAST, asked)
        return sizes


def quantize(
    asked: Quantization,
    target: Path,
    params: ChildParams | None = None,
    *,
    on_progress: Callable[[int, int], None] | None = None,
) -> QuantizedSizes:
    """Write a model to `target` with another type. `target` must not exist; it appears complete and checked, or not at all.

    `on_progress` is called with the number of finished tensors and of all.

    Raises:
        UsageError: if the type is unknown, or `target` exists.
        ModelError: if the file is corrupt, or llama.cpp cannot quantize it; the message gives its reason.
        LlamacliError: if the disk is full or read-only.
        EngineDiedError: if the child dies.
    """
    with new_file(target) as part:  # it is there: the child may only write to files that exist
        with contextlib.closing(_start(asked, (part,), params)) as child:
            sizes = _checked_forecast(child, asked, target)
            child.call(QUANTIZE, (asked, str(part)), on_item=_spread(on_progress))
        check_file(part)
    return sizes


class Collection(ChildOwner):
    """The collection of an importance matrix in a child.

    Raises (in `events`):
        UsageError: if the text is too short.
        ModelError, CapacityError: if the model cannot be evaluated.
        EngineDiedError: if the child dies.
    """

    def __init__(self, request: CollectRequest, params: ChildParams | None = None) -> None:
        source = Path(request.path)
        reads = [source.with_name(name) for name in part_names(source.name)]
        reads += [Path(lora.path) for lora in request.model.loras]
        self._request = request
        self._child = start_child(SERVICE, reads, params or ChildParams(), model=source)

    def events(self) -> Iterator[ChunkCollected | ImportanceEntry]:
        """Yield the chunks of the text as they are evaluated, then the entries of the matrix."""
        yield from self._child.stream(COLLECT, self._request)

    def stop(self) -> None:
        """End the evaluation, from any thread: what was collected so far comes next."""
        self._child.tell(STOP_COLLECTING)


def _start(asked: Quantization, writes: Sequence[Path], params: ChildParams | None) -> Child:
    source = Path(asked.source)
    reads = [source.with_name(name) for name in part_names(source.name)]
    reads += [Path(asked.importance_file)] if asked.importance_file else []
    return start_child(SERVICE, reads, params or ChildParams(), model=source, writes=writes)


def _checked_forecast(child: Child, asked: Quantization, target: Path) -> QuantizedSizes:
    """Return the sizes, checked to be possible. Raises ModelUnsupportedError, LlamacliError."""
    sizes: QuantizedSizes = child.call(FORECAST, asked)
    if sizes.needs_importance:
        raise ModelUnsupportedError(
            f"{asked.type_name} needs an importance matrix, which {Path(asked.source).name} does not have",
            hint=MAKE_IMPORTANCE,
            parameter="importance_file",
        )
    free = shutil.disk_usage(target.absolute().parent).free
    if free < sizes.after:
        raise LlamacliError(
            f"{target} needs {format_bytes(sizes.after)}, but only {format_bytes(free)} are free", hint="free some space"
        )
    return sizes


def _spread(on_progress: Callable[[int, int], None] | None) -> Callable[[tuple[int, int]], None] | None:
    return None if on_progress is None else lambda item: on_progress(*item)
