"""What a command reaches the world through. One object, made by `cli.app` and swapped whole by tests."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from llamacli.cli.framework.console import Console
from llamacli.cli.framework.signals import Interrupts
from llamacli.engine.params import ContextParams, ModelParams
from llamacli.render.progress import NoProgress, ProgressLine

if TYPE_CHECKING:
    from collections.abc import Iterator

    from llamacli.cli.framework.command import Command
    from llamacli.engine.engine import Engine


class OpenEngine(Protocol):
    """Makes an engine: `Engine` itself, or a fake in tests."""

    def __call__(
        self, path: Path, model: ModelParams, context: ContextParams, *, on_load: Callable[[float], None] | None = None
    ) -> Engine:
        """An engine that has loaded the model. `on_load` is told how far loading is, from 0.0 to 1.0."""


class FindModel(Protocol):
    """From a model's reference to its file: `store.models.resolve`, or a fake in tests."""

    def __call__(self, app: AppContext, reference: str | None, *, offline: bool) -> Path:
        """The file, fetched first if it must be, with a progress bar on a terminal."""


class ReadDefaults(Protocol):
    """What the settings say about a command's options: the layer between the environment and the built-in defaults."""

    def __call__(self, app: AppContext, command: Command, arguments: Sequence[str]) -> Mapping[str, object]:
        """Values by parameter name (`ctx_size`), as text or as what TOML holds."""


def open_engine(
    path: Path, model: ModelParams, context: ContextParams, *, on_load: Callable[[float], None] | None = None
) -> Engine:
    """Loads the real engine, and with it the native library."""
    from llamacli.engine.engine import Engine

    return Engine(path, model, context, on_load=on_load)


def find_model(app: AppContext, reference: str | None, *, offline: bool) -> Path:
    """Finds or fetches a model."""
    from llamacli.cli.framework import settings
    from llamacli.store.models import resolve as models

    with app.progress() as bar:
        return models.resolve(
            reference,
            aliases=settings.current().aliases(),
            offline=offline,
            on_progress=lambda progress: bar.update(progress.what, progress.done, progress.total, unit="B"),
        )


def read_defaults(app: AppContext, command: Command, arguments: Sequence[str]) -> Mapping[str, object]:
    """Reads the settings files."""
    from llamacli.cli.framework import settings

    return settings.read_defaults(app, command, arguments)


@dataclass(frozen=True, slots=True, kw_only=True)
class AppContext:
    """The streams, the signals, and the ways to models and settings."""

    console: Console
    interrupts: Interrupts = field(default_factory=Interrupts)
    open_engine: OpenEngine = open_engine
    find_model: FindModel = find_model
    read_defaults: ReadDefaults = read_defaults

    @contextmanager
    def progress(self, *, delay: float = 0.0) -> Iterator[NoProgress]:
        """A progress bar on standard error that shows after `delay` seconds; off a terminal it says nothing."""
        console = self.console
        line = ProgressLine(console.show_status, width=console.width, delay=delay) if console.shows_progress else NoProgress()
        try:
            yield line
        finally:
            line.finish()
