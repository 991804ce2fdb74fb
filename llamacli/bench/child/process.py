"""A child that measures, in the eyes of its parent. One that has died is replaced at the next call."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import Any, Protocol, Self

from llamacli.backend.child.params import ChildParams
from llamacli.backend.child.process.child import Child
from llamacli.backend.child.process.start import start_child
from llamacli.backend.child.wire.method import Method
from llamacli.bench.child import contract
from llamacli.bench.child.contract import LoadProgress
from llamacli.engine.params import LoraAdapter
from llamacli.engine.runtime.canceller import Canceller
from llamacli.engine.system import NativeBuild
from llamacli.gguf.split import part_names

SERVICE = "llamacli.bench.child.service"

COUNTERS = tuple(map(Path, ("/proc/pressure", "/sys/class/powercap", "/sys/devices/virtual/powercap")))
"""What a measurement reads besides the model: waiting for processors, and energy."""


class StartChild(Protocol):
    """Starts a child: `start_child`, or a stand-in in tests."""

    def __call__(
        self,
        service: str,
        reads: Sequence[Path],
        params: ChildParams,
        *,
        model: Path | None = None,
        writes: Sequence[Path] = (),
    ) -> Child:
        """Return a child that offers a service and may read the given files and folders, and write the given files."""


class BenchProcess:
    """The process in which models are measured. `close()` ends it; a context manager.

    It may read the files of `models`, the adapters `loras` and the files `reads`, and write the files `writes`. `cancel` ends
    what it measures, for good. `on_load` may be set, and receives the loaded share of a model, from 0 to 1.
    """

    def __init__(
        self,
        models: Sequence[Path],
        cancel: Canceller,
        *,
        loras: Sequence[LoraAdapter] = (),
        reads: Sequence[Path] = (),
        writes: Sequence[Path] = (),
        params: ChildParams | None = None,
        start: StartChild = start_child,
    ) -> None:
        self.cancel = cancel
        self.on_load: Callable[[float], None] | None = None
        parts = [path.with_name(name) for path in models for name in part_names(path.name)]
        self._reads = [*parts, *(Path(lora.path) for lora in loras), *reads, *COUNTERS]
        self._writes = writes
        self._params = params or ChildParams()
        self._model = models[0] if len(set(models)) == 1 else None
        self._start = start
        self._child: Child | None = None

    @property
    def child(self) -> Child:
        """The child that lives: a new one if there is none, or if it has died. Raises EngineError if it cannot be started."""
        if self._child is None or not self._child.is_alive:
            self.close()
            self._child = self._start(SERVICE, self._reads, self._params, model=self._model, writes=self._writes)
            self.cancel.then(partial(self._child.tell, contract.STOP))
        return self._child

    @property
    def has_died(self) -> bool:
        """True from the death of a child to the start of the next."""
        return self._child is not None and not self._child.is_alive

    def call(self, method: Method, arguments: Any = None) -> Any:
        """Make a call and return its result.

        Raises:
            EngineDiedError, MemoryFullError: if the child dies.
            LlamacliError: what the method raises.
        """
        return self.child.call(method, arguments, on_item=self._on_load)

    def follow(self, method: Method, arguments: Any = None) -> Iterator[Any]:
        """Make a call and yield its items, each computed when the one before has been dealt with. Raises as `call`."""
        stream = self.child.stream(method, arguments)
        go_on: bool | None = None
        try:
            while True:
                item = stream.send(go_on)
                if isinstance(item, LoadProgress):
                    self._on_load(item)
                    go_on = None
                else:
                    yield item
                    go_on = True
        except StopIteration:
            return
        finally:
            stream.close()

    def _on_load(self, progress: LoadProgress) -> None:
        if self.on_load is not None:
            self.on_load(progress.share)

    def build(self) -> NativeBuild:
        """Return the build and its devices. Raises LibraryError if the native library is missing."""
        build: NativeBuild = self.call(contract.BUILD)
        return build

    def close(self) -> None:
        """End the child. May be called twice."""
        child, self._child = self._child, None
        if child is not None:
            child.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()
