"""The error boundary: the one place where exceptions become a line on standard error and an exit status."""

from __future__ import annotations

import traceback
from collections.abc import Callable

from llamacli import errors
from llamacli.cli.framework.console import Console, PipeClosedError
from llamacli.cli.framework.signals import Terminated

INTERRUPTED, PIPE_CLOSED, TERMINATED = 130, 141, 143

STATUS: tuple[tuple[type[errors.LlamacliError], int], ...] = (
    (errors.UsageError, 2),
    (errors.ModelError, 3),
    (errors.CapacityError, 4),
    (errors.GrammarError, 5),
    (errors.RowsFailedError, 6),
    (errors.EngineError, 7),
    (errors.GateError, 8),
    (errors.CancelledError, INTERRUPTED),
    (errors.LlamacliError, 1),
)
"""The exit status of each branch of the tree; the first that fits."""


def guarded(work: Callable[[], int], console: Console, *, debug: bool) -> int:
    """Runs `work` and returns its exit status, or that of the exception which ended it."""
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
    """The exit status for an exception, and what to say (nothing if empty)."""
    if isinstance(error, errors.LlamacliError):
        return next(status for branch, status in STATUS if isinstance(error, branch)), str(error)
    if isinstance(error, MemoryError):
        return 4, "out of memory"
    import typer

    if isinstance(error, typer.Exit):
        return error.exit_code, ""
    if isinstance(error, typer.TyperException):
        return error.exit_code, _usage_message(error.format_message())
    if isinstance(error, OSError) and error.strerror:
        subject = f"{error.filename}: " if error.filename is not None else ""
        return 1, f"{subject}{error.strerror} (--debug shows where)"
    detail = str(error).strip().splitlines()
    reason = f": {detail[0]}" if detail else ""
    return 1, f"unexpected {type(error).__name__}{reason} (this is a bug; --debug shows where)"


def _usage_message(message: str) -> str:
    """Typer's message in the form of ours: no capital, no full stop."""
    message = message.removesuffix(".")
    return message[:1].lower() + message[1:]
