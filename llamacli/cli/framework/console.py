"""The only owner of standard input, output and error. Commands get it from their context; tests replace it whole.

Output is not buffered: nothing can fail at exit or be lost if the process is killed. It is always UTF-8; other bytes of file
names are written unchanged.
"""

from __future__ import annotations

import errno
import io
import os
import select
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Literal

from llamacli.cli.framework.terminal.look import ColorMode, Look
from llamacli.cli.framework.terminal.streams import Stream, columns_of, descriptor_of, encode, open_standard, write_all
from llamacli.documents.text import MAX_INPUT_BYTES, decode
from llamacli.errors import CapacityError, LlamacliError, UsageError
from llamacli.render.text import escape, escape_line, harmless
from llamacli.render.wrap import wrap, wrap_parts
from llamacli.values import dataclass

Style = Literal["bold", "dim", "red", "green", "yellow", "cyan"]

_CODES: dict[Style, str] = {"bold": "1", "dim": "2", "red": "31", "green": "32", "yellow": "33", "cyan": "36"}
_CHUNK = 1 << 20

_NAME = "llamacli: "
_CLEAR_LINE = "\r\x1b[K"
_PATIENCE_SECONDS = 1.0
"""Time to wait for standard input in silence."""


class PipeClosedError(Exception):
    """The reader of standard output has closed the pipe. This is not an error, so it is not in the tree of `errors`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Terminals:
    """The streams that are terminals."""

    stdin: bool = False
    stdout: bool = False
    stderr: bool = False


class Console:
    """Standard input, output and error, with their terminals and colours."""

    def __init__(
        self,
        *,
        stdin: Stream | None,
        stdout: Stream | None,
        stderr: Stream | None,
        terminals: Terminals,
        environ: Mapping[str, str],
        width: int | None = None,
    ) -> None:
        self._stdin = stdin
        self._reader: io.BufferedIOBase | None = None
        self._stdout = stdout
        self._stderr = stderr
        self.terminals = terminals
        self.environ = environ
        self.color: ColorMode = "auto"
        self.ignores_input = False
        self.input_is_used = False
        self._width = width
        self._status_shown = False
        self._patience = _PATIENCE_SECONDS
        self.look = Look(environ)

    @classmethod
    def system(cls) -> Console:
        """The process's own streams. One that was closed from the start is None."""
        stdin, stdout, stderr = open_standard(0, "rb"), open_standard(1, "wb"), open_standard(2, "wb")
        terminals = Terminals(
            stdin=stdin is not None and os.isatty(0),
            stdout=stdout is not None and os.isatty(1),
            stderr=stderr is not None and os.isatty(2),
        )
        return cls(stdin=stdin, stdout=stdout, stderr=stderr, terminals=terminals, environ=os.environ)

    # --- standard input --------------------------------------------------------------------------------------------------

    @property
    def has_piped_input(self) -> bool:
        """True if standard input is open and not a terminal. A terminal is read only for `-`."""
        return self._stdin is not None and not (self.terminals.stdin or self.ignores_input or self.input_is_used)

    @property
    def input_belongs_to_a_loop(self) -> bool:
        """True if the rest of standard input is for a loop of the calling shell: see `standard_input`."""
        from llamacli.cli.framework.inputs.standard_input import belongs_to_a_loop

        descriptor = descriptor_of(self._stdin)
        return descriptor is not None and belongs_to_a_loop(descriptor)

    def input_stays_idle(self) -> bool:
        """Return whether standard input has no data within a second, and only those who started us hold its other end."""
        from llamacli.cli.framework.inputs.standard_input import may_be_fed

        descriptor = descriptor_of(self._stdin)
        if descriptor is None or select.select([descriptor], [], [], self._patience)[0]:
            return False
        self._patience = 0.0
        return not may_be_fed(descriptor)

    def read_input(self, *, requested: bool = True) -> str:
        """Read all of standard input as text. Raises as `read_data`, and UsageError if it is not text."""
        return decode(self.read_data(requested=requested), "standard input")

    def read_data(self, *, requested: bool = True) -> bytes:
        """Read all of standard input; `requested` is False if the user did not ask for it with `-`.

        Raises UsageError if it is closed or cannot be read, CapacityError if it is too large.
        """
        stdin = self._open_input()
        data = bytearray()
        try:
            self._note_waiting(stdin, "" if requested else " (--no-stdin ignores it)")
            while chunk := stdin.read(_CHUNK):
                data += chunk
                if len(data) > MAX_INPUT_BYTES:
                    limit = f"{MAX_INPUT_BYTES >> 20} MiB"
                    raise CapacityError(f"standard input is larger than {limit}", hint="no context holds as much")
        except OSError as error:
            raise UsageError(f"cannot read standard input: {error.strerror or error}") from error
        return bytes(data)

    def input_stream(self) -> io.BufferedIOBase:
        """Standard input as a stream: always the same reader, since it reads ahead. Raises UsageError if it is closed."""
        stdin = self._open_input()
        if self._reader is None:
            self._reader = io.BufferedReader(stdin) if isinstance(stdin, io.RawIOBase) else stdin
        return self._reader

    def _open_input(self) -> Stream:
        if self.ignores_input:
            raise UsageError("standard input cannot be read with --no-stdin")
        if self.input_is_used:
            raise UsageError("standard input can be read only once", hint="write - once")
        if self._stdin is None:
            raise UsageError("standard input is closed")
        return self._stdin

    def _note_waiting(self, stdin: Stream, hint: str) -> None:
        """Wait for the first byte, and print a note if a pipe stays idle: its other end may just have been left open."""
        descriptor = descriptor_of(stdin)
        if descriptor is None or self.terminals.stdin:
            return
        if not select.select([descriptor], [], [], self._patience)[0]:
            self.note(f"waiting for standard input{hint}")

    # --- standard output and error ---------------------------------------------------------------------------------------

    def write(self, text: str) -> None:
        """Write `text` to standard output: unchanged into a pipe or a file, and harmless on a terminal.

        Raises PipeClosedError, or LlamacliError if the disk is full.
        """
        self.write_bytes(encode(self._for_terminal(text) if self.terminals.stdout else text))

    def write_bytes(self, data: bytes) -> None:
        """Write `data` to standard output. Raises like `write`."""
        if self._stdout is None:
            raise LlamacliError("standard output is closed")
        if self.terminals.stdout:
            self.show_status("")
        try:
            write_all(self._stdout, data)
        except BrokenPipeError as error:
            raise PipeClosedError from error
        except OSError as error:
            raise LlamacliError(f"cannot write to standard output: {error.strerror or error}") from error

    def show(self, text: str) -> None:
        """Write text from outside: unchanged into a pipe or a file, with control characters marked on a terminal."""
        self.write(escape(text) if self.terminals.stdout else text)

    def note(self, message: str) -> None:
        """Print one line of information on standard error."""
        self._print("", message)

    def note_parts(self, parts: Sequence[str], separator: str) -> None:
        """Print one line of information on standard error; a terminal that is too narrow gets a break between parts."""
        lines = wrap_parts([escape_line(part) for part in parts], separator, self.error_width, first=_NAME)
        self.write_error("\n".join(lines) + "\n")

    def warn(self, message: str) -> None:
        """Print a warning of one line on standard error."""
        self._print(self.styled("warning:", "yellow") + " ", message)

    def fail(self, message: str) -> None:
        """Print the error that ends the program."""
        self._print(self.styled("error:", "red") + " ", message)

    def _print(self, kind: str, message: str) -> None:
        """Write a message on one line; on a terminal wrapped by words, with the rest indented."""
        lines = wrap(escape_line(message), self.error_width, first=f"{_NAME}{kind}", rest=" " * len(_NAME))
        self.write_error("\n".join(lines) + "\n")

    def show_status(self, text: str) -> None:
        """Show a line on standard error, a terminal, until anything else is written. An empty text removes it."""
        shown, self._status_shown = self._status_shown, False
        if shown or text:
            self.write_error(_CLEAR_LINE + text)
        self._status_shown = bool(text)

    def write_error(self, text: str) -> None:
        """Write `text` to standard error, harmless on a terminal. Failures are ignored: there is nowhere to report them."""
        if self._status_shown:
            self.show_status("")
        if self._stderr is not None:
            try:
                write_all(self._stderr, encode(self._for_terminal(text) if self.terminals.stderr else text))
            except OSError:
                self._stderr = None

    def writes_to(self, path: Path) -> bool:
        """Return whether standard output is this file, so that reading it would read what was just written."""
        try:
            return self._stdout is not None and os.path.samestat(path.stat(), os.fstat(self._stdout.fileno()))
        except (OSError, io.UnsupportedOperation):  # it is gone, or the output is bytes in memory
            return False

    def finish(self) -> None:
        """Check that the file system has accepted all output: some report a full disk only on close."""
        if self._stdout is None:
            return
        try:
            os.close(os.dup(self._stdout.fileno()))
        except io.UnsupportedOperation:  # bytes in memory
            return
        except OSError as error:
            if error.errno != errno.EBADF:
                raise LlamacliError(f"cannot write to standard output: {error.strerror or error}") from error

    # --- how it looks ----------------------------------------------------------------------------------------------------

    @property
    def stdout_color(self) -> bool:
        """True if standard output may be coloured."""
        return self.look.may_color(self.color, is_terminal=self.terminals.stdout)

    @property
    def stderr_color(self) -> bool:
        """True if standard error may be coloured."""
        return self.look.may_color(self.color, is_terminal=self.terminals.stderr)

    @property
    def shows_progress(self) -> bool:
        """True if a line on standard error can be redrawn."""
        return self.terminals.stderr and self.environ.get("TERM") != "dumb"

    @property
    def width(self) -> int:
        """Columns of the terminal, or 80."""
        if self._width is not None:
            return self._width
        columns = self.environ.get("COLUMNS", "")
        if columns.isascii() and columns.isdigit() and int(columns) > 0:
            return int(columns)
        terminals = self.terminals
        outputs_first = ((1, terminals.stdout), (2, terminals.stderr), (0, terminals.stdin))
        return columns_of(descriptor for descriptor, is_terminal in outputs_first if is_terminal) or 80

    @property
    def line_width(self) -> int | None:
        """Columns of a line on standard output, None if it is not a terminal: lines for other programs are not wrapped."""
        return self.width if self.terminals.stdout else None

    @property
    def redraws(self) -> bool:
        """True if standard output is a terminal on which text can be erased."""
        return self.terminals.stdout and self.environ.get("TERM") != "dumb"

    @property
    def error_width(self) -> int | None:
        """Columns of a line on standard error, None if it is not a terminal."""
        return self.width if self.terminals.stderr else None

    def styled(self, text: str, style: Style, *, stdout: bool = False) -> str:
        """`text` in a style, if standard error (or standard output) may be coloured."""
        allowed = self.stdout_color if stdout else self.stderr_color
        return f"\x1b[{_CODES[style]}m{text}\x1b[0m" if allowed else text

    def adapt_theme(self) -> None:
        """Ask the terminal for its background, for commands that show a lot of colours; only where someone sits before it."""
        if self.terminals.stdin and self.terminals.stdout and self.stdout_color and self._width is None:
            self.look.ask()

    def _for_terminal(self, text: str) -> str:
        return self.look.shown(harmless(text))
