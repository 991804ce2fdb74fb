"""Every exception that llamacli raises on purpose.

    LlamacliError
    ├── UsageError                 the request is invalid
    │   ├── SettingsError          a settings file, profile or environment variable is wrong
    │   ├── NotTextError           a file is neither text nor a document that is read
    │   ├── MissingPackageError    a document needs a package that is not installed
    │   └── InvalidJSONError       text from outside is not JSON; `line` and `column` (both from 1) and `offset` say where
    ├── ModelError                 the model is missing, unreadable, corrupt or unsupported
    │   ├── ModelNotFoundError     no such file, alias, repository or quantization
    │   ├── ModelFileError         the file is not a valid GGUF file; `offset` is the byte at which parsing failed
    │   ├── ModelUnsupportedError  valid, but this build or this command cannot use it
    │   ├── DownloadError          the model could not be fetched
    │   ├── TemplateError          the chat template does not parse, or rejects the messages
    │   └── StateError             a saved state is corrupt, or belongs to another model or build
    ├── MediaError                 a picture or sound is unreadable, damaged or too large
    ├── FetchError                 a web page could not be fetched
    ├── CapacityError              something does not fit
    │   ├── ContextFullError       more tokens than the context holds; `needed` and `available` in tokens
    │   └── MemoryFullError        the host or a device has too little memory
    ├── GrammarError               a grammar or schema is invalid or was not satisfied
    │   ├── GrammarSyntaxError     `line`, `column` (both from 1) and `offset` (bytes) say where
    │   ├── SchemaError            a JSON schema that cannot be turned into a grammar
    │   └── ConstraintError        the answer does not satisfy the grammar or schema
    ├── RowsFailedError            some rows of a batch failed; `failed` and `total` rows
    ├── GateError                  a limit that the user asked for was exceeded
    ├── EngineError                the engine failed
    │   ├── LibraryError           the native library is missing, or is not the one this package was built for
    │   ├── SandboxError           the engine cannot be sandboxed here, and that was required
    │   ├── DecodeError            llama.cpp could not evaluate a batch
    │   ├── EngineDiedError        the process of the engine ended; `words` are the last ones of native code
    │   ├── RemoteError            a server cannot be reached, failed, or broke off its answer
    │   └── ClosedError            the object was closed
    └── CancelledError             the caller cancelled the work

Most are built-in kinds, too, so that programs that catch those go on: UsageError, ModelError, MediaError, ContextFullError and
GrammarError are ValueErrors, ModelNotFoundError is a FileNotFoundError, MemoryFullError a MemoryError, EngineError a
RuntimeError.

A message is one line that names the likely cause, and `hint` says what to do about it. The command line maps each branch to one
exit status (`cli/boundary.py`).
"""

from __future__ import annotations


class LlamacliError(Exception):
    """The root of the tree. `message` is one line; `hint` says how to fix it, or is None.

    `parameter` is the parameter at fault, by its name in `engine.params` (`n_ctx`), or None. Each interface words it in its own
    terms: the command line as a flag, the Python API as an argument, the server as a JSON key.
    """

    def __init__(self, message: str, *, hint: str | None = None, parameter: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint
        self.parameter = parameter

    def __str__(self) -> str:
        return f"{self.message} ({self.hint})" if self.hint else self.message

    def __reduce__(self) -> tuple[object, ...]:
        """Pickle as it is, without its constructor: other processes may raise it again."""
        return _restored, (type(self), self.args, dict(vars(self)))


def _restored(kind: type[LlamacliError], arguments: tuple[object, ...], state: dict[str, object]) -> LlamacliError:
    for base in kind.__mro__:
        if base.__module__ == "builtins":
            try:
                error: LlamacliError = base.__new__(kind)  # type: ignore[call-overload]  # object's, by its base
            except TypeError:  # of several built-in exceptions one has the memory of all
                continue
            error.args = arguments
            vars(error).update(state)
            return error
    raise TypeError(f"{kind.__name__} is not an exception")


class UsageError(LlamacliError, ValueError):
    """The request is invalid."""


class SettingsError(UsageError):
    """A settings file, a profile or an environment variable is wrong."""


class NotTextError(UsageError):
    """A file is neither text nor a document that is read."""


class MissingPackageError(UsageError):
    """A document needs a package that is not installed."""


class InvalidJSONError(UsageError):
    """Text from outside is not JSON, or exceeds a bound of the reader (`llamacli.json_text`).

    `reason` says why. `line` and `column` count from 1 and `offset` from 0, the last two in characters.
    """

    def __init__(self, reason: str, *, source: str | None = None, line: int = 1, column: int = 1, offset: int = 0) -> None:
        subject = f"{source}: " if source is not None else ""
        super().__init__(f"{subject}invalid JSON at line {line}, column {column}: {reason}")
        self.reason = reason
        self.line = line
        self.column = column
        self.offset = offset


class ModelError(LlamacliError, ValueError):
    """The model is missing, unreadable, corrupt or unsupported."""


class ModelNotFoundError(ModelError, FileNotFoundError):
    """No such file, alias, repository or quantization."""


class ModelFileError(ModelError):
    """The file is not a valid GGUF file. `offset` is the byte at which parsing failed, or None."""

    def __init__(
        self, message: str, *, hint: str | None = None, parameter: str | None = None, offset: int | None = None
    ) -> None:
        super().__init__(message, hint=hint, parameter=parameter)
        self.offset = offset


class ModelUnsupportedError(ModelError):
    """The file is valid, but this build or this command cannot use it."""


class DownloadError(ModelError):
    """The model could not be fetched."""


class TemplateError(ModelError):
    """The chat template does not parse, or rejects the messages."""


class StateError(ModelError):
    """A saved state is corrupt, or belongs to another model, context or build."""


class MediaError(LlamacliError, ValueError):
    """A picture or sound is unreadable, damaged or too large."""


class FetchError(LlamacliError):
    """A web page could not be fetched."""


class CapacityError(LlamacliError):
    """Something does not fit."""


class ContextFullError(CapacityError, ValueError):
    """More tokens are needed than the context holds."""

    def __init__(
        self, message: str, *, needed: int, available: int, hint: str | None = None, parameter: str | None = None
    ) -> None:
        super().__init__(message, hint=hint, parameter=parameter)
        self.needed = needed
        self.available = available


class MemoryFullError(CapacityError, MemoryError):
    """The host or a device has too little memory."""


class GrammarError(LlamacliError, ValueError):
    """A grammar or schema is invalid, or was not satisfied."""


class GrammarSyntaxError(GrammarError):
    """A grammar that does not parse. `line` and `column` count from 1 (columns in characters), `offset` in bytes from 0."""

    def __init__(self, message: str, *, line: int = 1, column: int = 1, offset: int = 0, hint: str | None = None) -> None:
        super().__init__(message, hint=hint)
        self.line = line
        self.column = column
        self.offset = offset

    def named(self, source: str) -> GrammarSyntaxError:
        """Return the same error with its location written as `source:line:column`."""
        detail = self.message.removeprefix(f"grammar, line {self.line}, column {self.column}: ")
        message = f"{source}:{self.line}:{self.column}: {detail}"
        return GrammarSyntaxError(message, line=self.line, column=self.column, offset=self.offset, hint=self.hint)


class SchemaError(GrammarError):
    """A JSON schema that cannot be turned into a grammar. `place` is the index of the fault in its text, or None."""

    def __init__(
        self, message: str, *, hint: str | None = None, parameter: str | None = None, place: int | None = None
    ) -> None:
        super().__init__(message, hint=hint, parameter=parameter)
        self.place = place


class ConstraintError(GrammarError):
    """The answer does not satisfy its grammar or schema."""


class StorageError(LlamacliError):
    """A file cannot be written: the disk is full, or read-only."""


class RowsFailedError(LlamacliError):
    """Some rows of a batch failed."""

    def __init__(self, message: str, *, failed: int, total: int, hint: str | None = None, parameter: str | None = None) -> None:
        super().__init__(message, hint=hint, parameter=parameter)
        self.failed = failed
        self.total = total


class GateError(LlamacliError):
    """A limit that the user asked for was exceeded."""


class EngineError(LlamacliError, RuntimeError):
    """The engine failed."""


class LibraryError(EngineError):
    """The native library is missing, or is not the one this package was built for."""


class SandboxError(EngineError):
    """The engine cannot be sandboxed on this system, and that was required."""


class DecodeError(EngineError):
    """llama.cpp could not evaluate a batch."""


class EngineDiedError(EngineError):
    """The process of the engine ended. `words` is the end of what native code wrote to standard error."""

    def __init__(self, message: str, *, words: str = "", hint: str | None = None, parameter: str | None = None) -> None:
        super().__init__(message, hint=hint, parameter=parameter)
        self.words = words


class RemoteError(EngineError):
    """The server at an address cannot be reached, failed, or broke off its answer."""


class ClosedError(EngineError):
    """The object was closed."""


class CancelledError(LlamacliError):
    """The caller cancelled the work."""


def describe(error: Exception, *, trace: str) -> str:
    """Return one line about any exception. `trace` says how the user gets the traceback of one that is a bug.

    >>> describe(UsageError("no prompt", hint="give one"), trace="--debug shows where")
    'no prompt (give one)'
    >>> describe(KeyError("n"), trace="--debug shows where")
    "unexpected KeyError: 'n' (this is a bug; --debug shows where)"
    """
    if isinstance(error, LlamacliError):
        return str(error)
    if isinstance(error, MemoryError):
        return "out of memory"
    if isinstance(error, OSError) and error.strerror:
        return f"{error.filename}: {error.strerror}" if error.filename is not None else error.strerror
    detail = str(error).strip().splitlines()
    reason = f": {detail[0]}" if detail else ""
    return f"unexpected {type(error).__name__}{reason} (this is a bug; {trace})"
