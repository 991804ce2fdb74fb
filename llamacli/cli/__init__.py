"""The command line.

This module imports nothing, so that `--version` and `--complete` answer at once; the rest is loaded when it is needed.
"""

from __future__ import annotations

import os
import sys

_SIGNALLED = 128
"""Exit statuses above say that a signal ended the program."""


def main(argv: list[str] | None = None) -> int:
    """Runs one command line (`sys.argv` if None) and returns its exit status."""
    arguments = sys.argv[1:] if argv is None else argv
    if arguments == ["--version"]:
        from llamacli.cli.version import print_version

        return print_version()
    if arguments[:1] == ["--complete"]:
        from llamacli.cli.complete import print_candidates

        return print_candidates(arguments[1:])
    try:
        from llamacli.cli.app import run_program

        status = run_program(arguments)
    except KeyboardInterrupt:  # before the boundary's own handlers were there, or after
        status = 130
    if argv is None and status > _SIGNALLED:
        os._exit(status)  # at once: no output is buffered, and a thread may still be inside a library that would be torn down
    return status
