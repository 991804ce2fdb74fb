"""The quantizer of a child."""

from __future__ import annotations

import os
from pathlib import Path

from llamacli.backend.child import quantizer
from llamacli.backend.child.quantizer import Quantization
from llamacli.backend.child.wire.method import Method
from llamacli.backend.child.work.connection import Handler
from llamacli.backend.child.work.task import Task
from llamacli.binding.library import library
from llamacli.engine.quantization import quantize
from llamacli.engine.quantization.types import QuantizedSizes


def service() -> dict[Method, Handler]:
    """Return the handlers, with the native library loaded."""
    library()
    return {quantizer.FORECAST: _forecast, quantizer.QUANTIZE: _quantize}


def _forecast(asked: Quantization, task: Task) -> QuantizedSizes:
    task.cancel.then(_end)
    return quantize.forecast(Path(asked.source), asked.type_name, allow_requantize=asked.allow_requantize, pure=asked.pure)


def _quantize(arguments: tuple[Quantization, str], task: Task) -> None:
    asked, target = arguments
    task.cancel.then(_end)
    quantize.write(
        Path(asked.source),
        Path(target),
        asked.type_name,
        threads=asked.threads,
        allow_requantize=asked.allow_requantize,
        pure=asked.pure,
        on_progress=lambda done, total: task.emit((done, total)),
    )


def _end() -> None:
    """End this process: llama.cpp's quantizer cannot be cancelled."""
    os._exit(0)
