"""What a child says about models and the machine without loading weights: memory, templates, and the native build."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from llamacli.backend.child.params import ChildParams
from llamacli.backend.child.process.start import ChildOwner, start_child
from llamacli.backend.child.wire.codec import Variants
from llamacli.backend.child.wire.method import Method
from llamacli.engine.fit.report import FitReport
from llamacli.engine.params import ContextParams, ModelParams
from llamacli.engine.quantization.types import TensorDifference, WeightsCompared
from llamacli.engine.system import NativeBuild
from llamacli.gguf.split import part_names

SERVICE: Final = "llamacli.backend.child.services.inspection"


@dataclass(frozen=True, slots=True)
class FitRequest:
    """Arguments of `FIT`."""

    path: str
    model: ModelParams
    context: ContextParams


BUILD: Final = Method("build", None, NativeBuild)
FIT: Final = Method("fit", FitRequest, FitReport)
CHECK_TEMPLATE: Final = Method("check_template", str)
COMPARE_WEIGHTS: Final = Method("compare_weights", tuple[str, str], items=Variants(WeightsCompared, TensorDifference))
TRY_LOAD: Final = Method("try_load", str)


class Inspector(ChildOwner):
    """A child that inspects, and may read the given model files. `close()` ends it. A context manager.

    All methods raise EngineDiedError if the child dies; `is_alive` is then False.
    """

    def __init__(self, params: ChildParams | None = None, models: Sequence[Path] = ()) -> None:
        reads = [path.with_name(name) for path in models for name in part_names(path.name)]
        params = dataclasses.replace(params or ChildParams(), keep_alive=None)  # there is nothing to keep
        self._child = start_child(SERVICE, reads, params, model=models[0] if models else None)

    def build(self) -> NativeBuild:
        """Return what the native library says of itself. Raises LibraryError if it is missing."""
        build: NativeBuild = self._child.call(BUILD)
        return build

    def fit(self, path: Path, model: ModelParams, context: ContextParams) -> FitReport:
        """Check whether a model fits on this machine. Raises ModelError if llama.cpp cannot read it."""
        report: FitReport = self._child.call(FIT, FitRequest(str(path), model, context))
        return report

    def check_template(self, source: str) -> None:
        """Check that a chat template parses. Raises TemplateError."""
        self._child.call(CHECK_TEMPLATE, source)

    def compare_weights(self, old: Path, new: Path) -> Iterator[TensorDifference | WeightsCompared]:
        """Yield how far the tensors of two models are apart, and how many values were compared. Raises ModelError."""
        yield from self._child.stream(COMPARE_WEIGHTS, (str(old), str(new)))

    def try_load(self, path: Path) -> None:
        """Have llama.cpp read a model file without its weights. Raises ModelError if it refuses the file."""
        self._child.call(TRY_LOAD, str(path))
