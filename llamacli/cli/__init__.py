"""The command line.

This module imports nothing of ours, so that `--version` and `--complete` answer at once; the rest is loaded when it is needed.
"""

from __future__ import annotations

import _signal  # type: ignore[import-not-found]  # built in: signal imports enum, in which Ctrl-C could end in a traceback
import gc
import os
import sys

GC_THRESHOLD = 50_000
"""Number of new objects before a garbage collection: imports make many objects and no garbage."""

_SERVICES = {
    "run": "llamacli.backend.child.services.engine",
    "chat": "llamacli.backend.child.services.engine",
    "do": "llamacli.backend.child.services.engine",
    "embed": "llamacli.backend.child.services.embedder",
    "bench": "llamacli.bench.child.service",
    "tokenize": "llamacli.backend.child.services.tokenizer",
}
"""What the engine's process does for a command."""

_INSPECTIONS = {"--fit", "--system", "--check", "--values"}
"""The options of `info` for which the engine's process is needed."""

_HELP = {"-h", "--help", "--help-all"}
_KEEP_ALIVE = "--keep-alive"

_MEDIA_OPTIONS = ("--image", "--audio")
_MEDIA_SUFFIXES = (".png", ".jpg", ".jpeg", ".webp", ".gif", ".bmp", ".tif", ".tiff", ".wav", ".mp3", ".flac", ".ogg")
"""What shows that a command line names a picture or a sound. Without it the decoder starts with the first one, a bit later."""

_ENGINELESS = ("--url", "--dask", "--merge", "--show-text")
"""The options with which others compute, or nobody."""

_OF_STORED_RUNS = {"history", "show", "export", "rm", "compare"}
"""The commands of `bench` that measure nothing."""


def main(argv: list[str] | None = None) -> int:
    """Run one command line (`sys.argv` if None) and return its exit status."""
    if argv is None and _signal.getsignal(_signal.SIGINT) is _signal.default_int_handler:
        # Raising KeyboardInterrupt while Python imports can end in a traceback, or be swallowed.
        _signal.signal(_signal.SIGINT, _end)
    arguments = sys.argv[1:] if argv is None else argv
    if arguments == ["--version"]:
        from llamacli.cli.version import print_version

        return print_version()
    if arguments[:1] == ["--complete"]:
        from llamacli.cli.complete import print_candidates

        return print_candidates(arguments[1:])
    gc.set_threshold(GC_THRESHOLD)
    if argv is None:
        _prepare_engine(arguments)
    try:
        from llamacli.cli.boundary import run_program

        status = run_program(arguments)
    except KeyboardInterrupt:  # before or after the boundary
        status = 130
    if argv is None:
        # At once: no output is buffered, taking the interpreter and the libraries apart is 0.05 s of work for nothing, and a
        # thread may still be inside a library that would be torn down.
        os._exit(status)
    return status


def _prepare_engine(arguments: list[str]) -> None:
    """Fork the engine's process for a command that will need one: now this process is small, and has one thread."""
    service = _service(arguments)
    if service is None or not _HELP.isdisjoint(arguments) or os.getenv("LLAMACLI_URL"):
        return
    if any(_is_given(option, arguments) for option in _ENGINELESS):
        return
    from llamacli.backend.child.process.start import prepare

    prepare(service, may_join=_is_given(_KEEP_ALIVE, arguments) or os.getenv("LLAMACLI_KEEP_ALIVE") is not None)
    if arguments[0] in ("run", "chat") and _names_media(arguments):
        prepare("llamacli.backend.child.services.decoder")


def _names_media(arguments: list[str]) -> bool:
    return any(_is_given(option, arguments) for option in _MEDIA_OPTIONS) or any(
        word.lower().endswith(_MEDIA_SUFFIXES) for word in arguments
    )


def _is_given(option: str, arguments: list[str]) -> bool:
    return any(word == option or word.startswith(f"{option}=") for word in arguments)


def _service(arguments: list[str]) -> str | None:
    """Return what the engine's process will do for a command line, None if there will be none."""
    if arguments[:1] == ["info"] and not _INSPECTIONS.isdisjoint(arguments):
        return "llamacli.backend.child.services.inspection"
    if arguments[:2] == ["models", "quantize"]:
        return "llamacli.backend.child.services.quantizer"
    if arguments[:1] == ["bench"] and not _OF_STORED_RUNS.isdisjoint(arguments[1:2]):
        return None
    return _SERVICES.get(arguments[0]) if arguments else None


def _end(_number: int, _frame: object) -> None:
    """End the process at once: nothing has been started that needs an orderly end."""
    os._exit(130)
