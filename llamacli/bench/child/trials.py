"""Trials of setups in a child process. A setup with which the child dies is an impossible one, and the others go on."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any, TypeVar

from llamacli.backend.child.process.child import Child
from llamacli.backend.child.wire.method import Method
from llamacli.bench.child import contract
from llamacli.bench.child.contract import LoadedModel, OpenTrials, TrialRequest, TrialTime
from llamacli.bench.child.process import BenchProcess
from llamacli.bench.measure.setup import Phase, Setup, TrialSize
from llamacli.engine.params import ModelParams
from llamacli.errors import EngineDiedError, LlamacliError, MemoryFullError

T = TypeVar("T")


class ChildTrials:
    """Repetitions of a model's prompts and generations with any setups, in any order (see `Trials`). They end with the process.

    A trial in which the child dies is tried once more in a new child, where it has all memory for itself.
    """

    def __init__(self, process: BenchProcess, path: Path, size: TrialSize) -> None:
        self.size = size
        self._process = process
        self._path = path
        self._opened_in: Child | None = None
        self._warnings: dict[Child | None, tuple[str, ...]] = {}

    def load(self, params: ModelParams) -> LoadedModel:
        """Load the model with these parameters.

        Raises:
            ModelError, MemoryFullError: if it cannot be loaded with them.
            CancelledError: if the process was cancelled.
        """
        loaded: LoadedModel = self._twice(lambda: self._call(contract.LOAD, params))
        return loaded

    def seconds(self, setup: Setup, phase: Phase) -> float:
        """Run one repetition and return its seconds; a new setup is warmed up first.

        Raises:
            ModelError, CapacityError: if the setup is impossible for this model.
            EngineDiedError, MemoryFullError: if the child died with it twice.
            CancelledError: if the process was cancelled.
        """
        time: TrialTime = self._twice(lambda: self._call(contract.TRY, TrialRequest(setup, phase)))
        self._warnings[self._opened_in] = time.warnings
        return time.seconds

    def resize(self, size: TrialSize) -> None:
        """Use other numbers of tokens from now on."""
        self.size = size
        self._twice(lambda: self._call(contract.RESIZE_TRIALS, size))

    def warnings(self) -> tuple[str, ...]:
        """Return the disturbances during the repetitions."""
        return tuple(dict.fromkeys(warning for warnings in self._warnings.values() for warning in warnings))

    def _twice(self, work: Callable[[], T]) -> T:
        try:
            return work()
        except LlamacliError:
            if not self._process.has_died or self._process.cancel.is_set:
                raise
        return work()

    def _call(self, method: Method, arguments: Any = None) -> Any:
        """Make a call; in a new child, after opening the trials there."""
        self._process.cancel.check()
        child = self._process.child
        if child is not self._opened_in:
            self._process.call(contract.OPEN_TRIALS, OpenTrials(str(self._path), self.size))
            self._opened_in = child
        return self._process.call(method, arguments)

    def close(self) -> None:
        """Free all contexts and models, if the child lives."""
        if self._opened_in is not None and self._opened_in.is_alive:
            with suppress(EngineDiedError, MemoryFullError):
                self._process.call(contract.CLOSE_TRIALS)
        self._opened_in = None
