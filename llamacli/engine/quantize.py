"""Quantization: a copy of a model with weights of fewer bits, written by `llama_model_quantize`.

llama.cpp reports progress and sizes only in its log, so its log lines are parsed here.
"""

from __future__ import annotations

import contextlib
import difflib
import logging
import os
import re
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from llamacli import gguf
from llamacli.binding import log
from llamacli.binding.arrays import reference
from llamacli.binding.enums import llama_ftype
from llamacli.binding.library import library
from llamacli.engine.runtime.cancel import CancelFlag
from llamacli.engine.runtime.loading import interruptible
from llamacli.errors import LlamacliError, ModelFileError, ModelUnsupportedError, UsageError
from llamacli.units import format_bytes

TYPES: dict[str, llama_ftype] = {
    member.name.removeprefix("LLAMA_FTYPE_").removeprefix("MOSTLY_").removeprefix("ALL_"): member
    for member in llama_ftype
    if member is not llama_ftype.LLAMA_FTYPE_GUESSED
}
"""The types that a model can be quantized to, by llama.cpp's names."""

_SYNONYMS = {"Q3_K": "Q3_K_M", "Q4_K": "Q4_K_M", "Q5_K": "Q5_K_M"}
_TENSOR = re.compile(r"\[\s*(\d+)/\s*(\d+)\]")
_SIZE = re.compile(r"(model|quant) size\s*=\s*([\d.]+) MiB")
_MEBIBYTE = 1 << 20


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


def forecast(source: Path, type_name: str, *, allow_requantize: bool = False, pure: bool = False) -> QuantizedSizes:
    """Return the sizes that `quantize` would give. Raises like `quantize`."""
    gguf.check_file(source)
    with _LogReader() as reader:
        _run(source, Path(os.devnull), type_name, allow_requantize=allow_requantize, pure=pure, dry_run=True)
    return reader.sizes()


def quantize(
    source: Path,
    target: Path,
    type_name: str,
    *,
    threads: int = 0,
    allow_requantize: bool = False,
    pure: bool = False,
    on_progress: Callable[[int, int], None] | None = None,
) -> QuantizedSizes:
    """Write `source` to `target` with another type. `target` must not exist; it appears complete and checked, or not at all.

    `on_progress` is called with the number of finished tensors and of all. `pure` gives every tensor the same type. `threads` 0
    uses all cores.

    Raises:
        UsageError: if the type is unknown, or `target` exists.
        ModelError: if the file is corrupt, or llama.cpp cannot quantize it; the message gives its reason.
        LlamacliError: if the disk is full or read-only.
    """
    if target.exists() or target.is_symlink():
        raise UsageError(f"{target} exists already", hint="choose another name, or remove the file first")
    sizes = forecast(source, type_name, allow_requantize=allow_requantize, pure=pure)
    if sizes.needs_importance:
        raise ModelUnsupportedError(
            f"{type_name} needs an importance matrix, which {source.name} does not have", hint="use IQ3_S or a larger type"
        )
    part = target.with_name(f".{target.name}.{os.getpid()}.partial")
    with _disk_errors(target):
        free = shutil.disk_usage(target.absolute().parent).free
        if free < sizes.after:
            raise LlamacliError(
                f"{target} needs {format_bytes(sizes.after)}, but only {format_bytes(free)} are free", hint="free some space"
            )
        try:
            with _LogReader(on_progress):
                _run(source, part, type_name, threads=threads, allow_requantize=allow_requantize, pure=pure)
            gguf.check_file(part)
            _publish(part, target)
        finally:
            part.unlink(missing_ok=True)
    return sizes


def _run(
    source: Path,
    target: Path,
    type_name: str,
    *,
    threads: int = 0,
    allow_requantize: bool = False,
    pure: bool = False,
    dry_run: bool = False,
) -> None:
    lib = library()
    params = lib.llama_model_quantize_default_params()
    params.ftype = TYPES[parse_type(type_name)]
    params.nthread = threads
    params.allow_requantize = allow_requantize
    params.pure = pure
    params.dry_run = dry_run
    names = [str(path).encode("utf-8", "surrogateescape") for path in (source, target)]
    with log.complaints() as complaints:
        failed = interruptible(lambda: lib.llama_model_quantize(*names, reference(params)), CancelFlag())
    if failed:
        raise _reason(source, type_name, complaints)


def _reason(source: Path, type_name: str, complaints: list[str]) -> LlamacliError:
    text = complaints[-1].partition("failed to quantize: ")[2] if complaints else ""
    if "requantizing from type" in text:
        return ModelUnsupportedError(
            f"{source.name} is quantized already, and quantizing it again loses more quality than starting from F16",
            hint="allow_requantize quantizes it anyway",
            parameter="allow_requantize",
        )
    if "imatrix" in text or "importance matrix" in text:
        return ModelUnsupportedError(f"{type_name} needs an importance matrix, which {source.name} does not have")
    if any(word in text for word in ("write", "iostream", "No space")):
        return LlamacliError(f"the result cannot be written: {text}", hint="is the disk full?")
    return ModelFileError(f"llama.cpp cannot quantize {source.name}: {text or 'no reason given'}")


class _LogReader(logging.Handler):
    """A reader of llama.cpp's log during the call. Lines reach other handlers only if the caller enabled that level."""

    def __init__(self, on_progress: Callable[[int, int], None] | None = None) -> None:
        super().__init__()
        self._on_progress = on_progress
        self._found: dict[str, float] = {}
        self._needs_importance = False
        self._before = (log.logger.level, log.logger.propagate)

    def emit(self, record: logging.LogRecord) -> None:
        """Record the progress or size in one line."""
        line = record.getMessage()
        self._needs_importance |= "will require an imatrix" in line
        if size := _SIZE.search(line):
            self._found[size[1]] = float(size[2])
        elif self._on_progress and (tensor := _TENSOR.match(line)):
            self._on_progress(int(tensor[1]) - 1, int(tensor[2]))

    def __enter__(self) -> Self:
        enabled = log.logger.isEnabledFor(logging.INFO)
        self._before = (log.logger.level, log.logger.propagate)
        log.logger.addHandler(self)
        log.logger.propagate = enabled
        log.logger.setLevel(logging.DEBUG if log.logger.isEnabledFor(logging.DEBUG) else logging.INFO)
        return self

    def __exit__(self, *_: object) -> None:
        log.logger.removeHandler(self)
        log.logger.setLevel(self._before[0])
        log.logger.propagate = self._before[1]
        log.route()

    def sizes(self) -> QuantizedSizes:
        """Return the sizes found in the log. Raises ModelFileError if there were none."""
        if len(self._found) < 2:
            raise ModelFileError("llama.cpp did not report the size of the result")
        before, after = (round(self._found[name] * _MEBIBYTE) for name in ("model", "quant"))
        return QuantizedSizes(before, after, self._needs_importance)


def _publish(part: Path, target: Path) -> None:
    """Give the finished file its name, unless another process has taken that meanwhile."""
    with part.open("rb") as file:
        os.fsync(file.fileno())
    try:
        os.link(part, target)
    except FileExistsError:
        raise UsageError(f"{target} was created by another process meanwhile", hint="choose another name") from None
    except OSError:  # a file system without hard links
        part.rename(target)


@contextlib.contextmanager
def _disk_errors(target: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise LlamacliError(f"cannot write {target}: {error.strerror or error}") from error
