"""The quantizer of a child."""

from __future__ import annotations

import os
from pathlib import Path

from llamacli.backend.child import quantizer
from llamacli.backend.child.wire.method import Method
from llamacli.backend.child.work.connection import Handler
from llamacli.backend.child.work.task import Task
from llamacli.binding.library import library
from llamacli.engine.quantization import quantize
from llamacli.engine.quantization.collector import collect
from llamacli.engine.quantization.types import Quantization, QuantizedSizes
from llamacli.engine.runtime.cancel import CancelFlag


def service() -> dict[Method, Handler]:
    """Return the handlers, with the native library loaded."""
    library()
    stop = CancelFlag()
    return {
        quantizer.FORECAST: _forecast,
        quantizer.QUANTIZE: _quantize,
        quantizer.COLLECT: lambda request, task: task.run(collect(request, stop)),
        quantizer.STOP_COLLECTING: lambda _, task: stop.set(),
    }


def _forecast(asked: Quantization, task: Task) -> QuantizedSizes:
    task.cancel.then(_end)
    return quantize.forecast(asked)


def _quantize(arguments: tuple[Quantization, str], task: Task) -> None:
    asked, target = arguments
    task.cancel.then(_end)
    quantize.write(asked, Path(target), on_progress=lambda done, total: task.emit((done, total)))


def _end() -> None:
    """End this process: llama.cpp's quantizer cannot be cancelled."""
    os._exit(0)
