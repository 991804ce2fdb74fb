"""The command line. This module imports nothing, so that `--version` answers at once; the rest is loaded when it is needed."""

from __future__ import annotations

import sys


def main(argv: list[str] | None = None) -> int:
    """Runs one command line (`sys.argv` if None) and returns its exit status."""
    arguments = sys.argv[1:] if argv is None else argv
    if arguments == ["--version"]:
        from llamacli.cli.version import print_version

        return print_version()
    try:
        from llamacli.cli.app import run_program

        return run_program(arguments)
    except KeyboardInterrupt:  # before the boundary's own handlers were there, or after
        return 130
