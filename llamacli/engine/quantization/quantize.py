"""Quantization: a copy of a model with weights of fewer bits, written by `llama_model_quantize`.

llama.cpp reports progress and sizes only in its log, so its log lines are parsed here.
"""

from __future__ import annotations

import logging
import os
import re
from collections.abc import Callable
from pathlib import Path
from typing import Self

from llamacli.binding import log
from llamacli.binding.arrays import ImportanceArray, metadata_overrides, reference, tensor_overrides
from llamacli.binding.library import library
from llamacli.engine.quantization.importance import Importance, read_importance
from llamacli.engine.quantization.types import (
    MAKE_IMPORTANCE,
    TENSOR_TYPE_NAMES,
    TYPES,
    Quantization,
    QuantizedSizes,
    parse_tensor_type,
    parse_type,
)  # fmt: skip
from llamacli.engine.runtime.cancel import CancelFlag
from llamacli.engine.runtime.loading import interruptible
from llamacli.errors import LlamacliError, ModelFileError, ModelUnsupportedError
from llamacli.gguf.check.loadable import check_file

_TENSOR = re.compile(r"\[\s*(\d+)/\s*(\d+)\]")
_SIZE = re.compile(r"(model|quant) size\s*=\s*([\d.]+) MiB")
_MEBIBYTE = 1 << 20


def forecast(asked: Quantization) -> QuantizedSizes:
    """Return the sizes that `write` would give. Raises like `write`, ModelError also if the file is corrupt."""
    check_file(Path(asked.source))
    with _LogReader() as reader:
        _run(asked, Path(os.devnull), dry_run=True)
    return reader.sizes()


def write(asked: Quantization, target: Path, *, on_progress: Callable[[int, int], None] | None = None) -> None:
    """Write a model to `target` with another type. `on_progress` is called with the number of finished tensors and of all.

    Raises:
        UsageError: if a type is unknown, or the importance matrix cannot be read.
        ModelError: if llama.cpp cannot quantize the file; the message gives its reason.
        LlamacliError: if the disk is full.
    """
    with _LogReader(on_progress):
        _run(asked, target)


def _run(asked: Quantization, target: Path, *, dry_run: bool = False) -> None:
    lib, kept = library(), []
    params = lib.llama_model_quantize_default_params()
    params.ftype = TYPES[parse_type(asked.type_name)]
    params.nthread = asked.threads
    params.allow_requantize = asked.allow_requantize
    params.pure = asked.pure
    params.dry_run = dry_run
    if asked.output_type:
        params.output_tensor_type = TENSOR_TYPE_NAMES[parse_tensor_type(asked.output_type)]
    if asked.embedding_type:
        params.token_embedding_type = TENSOR_TYPE_NAMES[parse_tensor_type(asked.embedding_type)]
    if asked.tensor_types:
        rules = [(pattern, TENSOR_TYPE_NAMES[parse_tensor_type(name)]) for pattern, name in asked.tensor_types]
        params.tt_overrides = tensor_overrides(rules)
    if asked.importance_file:
        importance = read_importance(Path(asked.importance_file))
        matrix = ImportanceArray(importance.weights())
        overrides = metadata_overrides(_origin(importance, asked.importance_file))
        params.imatrix, params.kv_overrides = matrix.array, overrides
        kept += [matrix, overrides]  # C reads them during the call
    source = Path(asked.source)
    names = [str(path).encode("utf-8", "surrogateescape") for path in (source, target)]
    with log.complaints() as complaints:
        failed = interruptible(lambda: lib.llama_model_quantize(*names, reference(params)), CancelFlag())
    kept.clear()
    if failed:
        raise _reason(source, asked.type_name, complaints)


def _origin(importance: Importance, path: str) -> dict[str, str | int]:
    """Return the metadata that llama-quantize writes about an importance matrix, in at most 127 bytes each."""
    origin: dict[str, str | int] = {"quantize.imatrix.file": _short(path)}
    if importance.datasets:
        origin["quantize.imatrix.dataset"] = _short(importance.datasets[0])
    origin["quantize.imatrix.entries_count"] = len(importance.entries)
    if importance.chunks:
        origin["quantize.imatrix.chunks_count"] = importance.chunks
    return origin


def _short(path: str) -> str:
    return Path(path).name.encode("utf-8", "replace")[-127:].decode("utf-8", "ignore")


def _reason(source: Path, type_name: str, complaints: list[str]) -> LlamacliError:
    text = complaints[-1].partition("failed to quantize: ")[2] if complaints else ""
    if "requantizing from type" in text:
        return ModelUnsupportedError(
            f"{source.name} is quantized already, and quantizing it again loses more quality than starting from F16",
            hint="allow_requantize quantizes it anyway",
            parameter="allow_requantize",
        )
    if "imatrix" in text or "importance matrix" in text:
        if "size" in text or "non-finite" in text:
            return ModelUnsupportedError(f"the importance matrix does not fit {source.name}: {text}")
        return ModelUnsupportedError(
            f"{type_name} needs an importance matrix", hint=MAKE_IMPORTANCE, parameter="importance_file"
        )
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
