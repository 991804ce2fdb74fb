"""The outside world of a command: one object, made by `cli.main` and replaced whole by tests."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from llamacli.cli.framework.console import Console
from llamacli.cli.framework.terminal.signals import Interrupts
from llamacli.engine.params import ContextParams, ModelParams
from llamacli.render.progress import NoProgress, ProgressLine
from llamacli.units import format_bytes
from llamacli.values import dataclass

if TYPE_CHECKING:
    from collections.abc import Iterator

    from llamacli.backend.child.params import ChildParams
    from llamacli.backend.protocol import Backend
    from llamacli.bench.child.process import BenchProcess
    from llamacli.cli.framework.parameters import Option
    from llamacli.engine.params import LoraAdapter
    from llamacli.engine.runtime.canceller import Canceller
    from llamacli.store.files.progress import OnProgress, Progress


class OpenEngine(Protocol):
    """Makes an engine: `open_engine`, or a fake in tests."""

    def __call__(
        self,
        path: Path,
        model: ModelParams,
        context: ContextParams,
        *,
        child: ChildParams | None = None,
        on_load: Callable[[float], None] | None = None,
    ) -> Backend:
        """Load the model and return its engine. `on_load` receives the progress from 0.0 to 1.0."""


class OpenBench(Protocol):
    """Makes a process that measures: `open_bench`, or a stand-in in tests."""

    def __call__(
        self,
        models: Sequence[Path],
        cancel: Canceller,
        *,
        loras: Sequence[LoraAdapter] = (),
        reads: Sequence[Path] = (),
        writes: Sequence[Path] = (),
        child: ChildParams | None = None,
    ) -> BenchProcess:
        """Return a process that may read these models, adapters and files, and write those of `writes`.

        It ends what it measures when `cancel` is set.
        """


class FindModel(Protocol):
    """Finds the file of a model: `find_model`, or a fake in tests."""

    def __call__(self, app: AppContext, reference: str | None, *, offline: bool) -> Path:
        """Return the file, downloaded first if necessary, with a progress bar on a terminal."""


class FindProjector(Protocol):
    """Finds the projector of a model: `find_projector`, or a fake in tests."""

    def __call__(
        self, app: AppContext, path: Path, reference: str | None, *, mmproj: str | None, offline: bool, wanted: bool = False
    ) -> Path | None:
        """Return the projector of the model at `path`, which `reference` names, or the one that `mmproj` names.

        None if it has none. If it is `wanted`, the model's repository is asked for it.
        """


class ReadDefaults(Protocol):
    """Reads the settings: the layer between the environment and the built-in defaults."""

    def __call__(self, environ: Mapping[str, str], options: Sequence[Option], given: Mapping[str, Any]) -> Mapping[str, object]:
        """Return values of the options by name (`ctx_size`), as text or as TOML values.

        `given` are the unconverted values on the command line; they may name a profile or a model.
        """


def open_engine(
    path: Path,
    model: ModelParams,
    context: ContextParams,
    *,
    child: ChildParams | None = None,
    on_load: Callable[[float], None] | None = None,
) -> Backend:
    """Load the model in a child process."""
    from llamacli.backend.child import engine

    return engine.open_engine(path, model, context, child=child, on_load=on_load)


def open_bench(
    models: Sequence[Path],
    cancel: Canceller,
    *,
    loras: Sequence[LoraAdapter] = (),
    reads: Sequence[Path] = (),
    writes: Sequence[Path] = (),
    child: ChildParams | None = None,
) -> BenchProcess:
    """Measure in a child process."""
    from llamacli.bench.child.process import BenchProcess

    return BenchProcess(models, cancel, loras=loras, reads=reads, writes=writes, params=child)


def find_model(app: AppContext, reference: str | None, *, offline: bool) -> Path:
    """Find or download a model."""
    from llamacli.cli.framework.settings import settings
    from llamacli.store.models import resolve as models

    with app.downloading() as on_progress:
        return models.resolve(reference, aliases=settings.current().aliases(), offline=offline, on_progress=on_progress)


def find_projector(
    app: AppContext, path: Path, reference: str | None, *, mmproj: str | None, offline: bool, wanted: bool = False
) -> Path | None:
    """Find or download the projector of a model. One that is named is checked to fit it."""
    from llamacli.cli.framework.settings import settings
    from llamacli.engine.media.compatibility import check_projector
    from llamacli.gguf.model import read_file_header
    from llamacli.store.models import projectors

    aliases = settings.current().aliases()
    with app.downloading() as on_progress:
        if mmproj is None:
            return projectors.find(path, reference, aliases=aliases, offline=offline, on_progress=on_progress, wanted=wanted)
        found = projectors.resolve(mmproj, aliases=aliases, offline=offline, on_progress=on_progress)
    check_projector(found, read_file_header(path))
    return found


def read_defaults(environ: Mapping[str, str], options: Sequence[Option], given: Mapping[str, Any]) -> Mapping[str, object]:
    """Read the settings files."""
    from llamacli.cli.framework.settings import settings

    return settings.read_defaults(environ, options, given)


@dataclass(frozen=True, slots=True, kw_only=True)
class AppContext:
    """The streams, the signals, and the access to models and settings."""

    console: Console
    interrupts: Interrupts = field(default_factory=Interrupts)
    open_engine: OpenEngine = open_engine
    open_bench: OpenBench = open_bench
    find_model: FindModel = find_model
    find_projector: FindProjector = find_projector
    read_defaults: ReadDefaults = read_defaults

    @contextmanager
    def downloading(self) -> Iterator[OnProgress]:
        """A progress bar for what is fetched; where none can be shown, one line on standard error for each file."""
        noted: set[str] = set()
        with self.progress() as bar:

            def show(progress: Progress) -> None:
                bar.update(progress.label, progress.done, progress.total, unit="B")
                if self.console.shows_progress or progress.label in noted or not progress.label.startswith("downloading "):
                    return
                noted.add(progress.label)
                size = f" ({format_bytes(progress.total)})" if progress.total else ""
                folder = f" into {progress.folder}" if progress.folder is not None else ""
                self.console.note(f"{progress.label}{size}{folder}")

            yield show

    @contextmanager
    def progress(self, *, delay: float = 0.0) -> Iterator[NoProgress]:
        """A progress bar on standard error that appears after `delay` seconds, on a terminal only."""
        console = self.console
        line = ProgressLine(console.show_status, width=console.width, delay=delay) if console.shows_progress else NoProgress()
        try:
            yield line
        finally:
            line.finish()
