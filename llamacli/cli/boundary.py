"""One command line, and the error boundary around it: the only place where exceptions become an exit status."""

from __future__ import annotations

import threading
import traceback
from collections.abc import Callable
from contextlib import nullcontext

from llamacli import errors
from llamacli.cli.framework.console import Console, PipeClosedError
from llamacli.cli.framework.context import AppContext
from llamacli.cli.framework.terminal.signals import Terminated

INTERRUPTED, PIPE_CLOSED, TERMINATED = 130, 141, 143

STATUS: tuple[tuple[type[errors.LlamacliError], int], ...] = (
    (errors.UsageError, 2),
    (errors.ModelError, 3),
    (errors.MediaError, 3),
    (errors.CapacityError, 4),
    (errors.GrammarError, 5),
    (errors.RowsFailedError, 6),
    (errors.EngineError, 7),
    (errors.GateError, 8),
    (errors.StorageError, 1),
    (errors.FetchError, 1),
    (errors.CancelledError, INTERRUPTED),
    (errors.LlamacliError, 1),
)
"""The exit status of each branch of the tree; the first match counts."""


def run_program(arguments: list[str], app: AppContext | None = None) -> int:
    """Run one command line and return its exit status. Without `app`, use the process's own streams and signals."""
    app = app or AppContext(console=Console.system())
    debug = "--debug" in arguments or app.console.environ.get("LLAMACLI_DEBUG", "") not in ("", "0")
    on_main_thread = threading.current_thread() is threading.main_thread()
    with app.interrupts.installed() if on_main_thread else nullcontext():
        return guarded(lambda: _invoke(arguments, app), app.console, debug=debug)


def _invoke(arguments: list[str], app: AppContext) -> int:
    from llamacli.cli.program import Program  # inside the boundary: Ctrl-C may come while Typer is being imported
    from llamacli.cli.registry import REGISTRY

    program = Program(REGISTRY)
    with program.make_context("llamacli", list(arguments), obj=app) as ctx:
        program.invoke(ctx)
    return 0


def guarded(work: Callable[[], int], console: Console, *, debug: bool) -> int:
    """Run `work` and return its exit status, or that of the exception which ended it."""
    try:
        status = work()
        console.finish()
    except PipeClosedError:
        return PIPE_CLOSED
    except KeyboardInterrupt:
        return INTERRUPTED
    except Terminated:
        return TERMINATED
    except errors.CancelledError:
        return INTERRUPTED
    except Exception as error:  # noqa: BLE001  # this is the boundary
        if debug:
            console.write_error(traceback.format_exc())
        status, message = describe(error)
        if message:
            console.fail(message)
        return status
    return status


def describe(error: Exception) -> tuple[int, str]:
    """Return the exit status of an exception, and its message, which may be empty."""
    if isinstance(error, errors.LlamacliError):
        return next(status for branch, status in STATUS if isinstance(error, branch)), str(error)
    import typer

    if isinstance(error, typer.Exit):
        return error.exit_code, ""
    if isinstance(error, typer.TyperException):
        return error.exit_code, _usage_message(error.format_message())
    return 4 if isinstance(error, MemoryError) else 1, errors.describe(error, trace="--debug shows the traceback")


def _usage_message(message: str) -> str:
    """Typer's message in our form: no capital, no full stop."""
    message = message.removesuffix(".")
    return message[:1].lower() + message[1:]
