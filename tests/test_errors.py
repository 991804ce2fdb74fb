"""The one line about any exception."""

import pickle

import pytest

from llamacli.errors import (
    ContextFullError,
    EngineDiedError,
    MemoryFullError,
    ModelNotFoundError,
    RowsFailedError,
    UsageError,
    describe,
)


@pytest.mark.parametrize(
    ("error", "line"),
    [
        (UsageError("no prompt", hint="give one"), "no prompt (give one)"),
        (MemoryError(), "out of memory"),
        (FileNotFoundError(2, "No such file or directory", "x.gguf"), "x.gguf: No such file or directory"),
        (OSError(28, "No space left on device"), "No space left on device"),
        (KeyError("n"), "unexpected KeyError: 'n' (this is a bug; -v shows where)"),
        (ValueError("first\nsecond"), "unexpected ValueError: first (this is a bug; -v shows where)"),
        (ValueError(), "unexpected ValueError (this is a bug; -v shows where)"),
    ],
)
def test_any_exception_is_one_line(error, line):
    assert describe(error, trace="-v shows where") == line


@pytest.mark.parametrize(
    "error",
    [
        UsageError("a", hint="b", parameter="c"), ContextFullError("full", needed=3, available=2, hint="h"),
        RowsFailedError("some", failed=1, total=2), ModelNotFoundError("gone", hint="h"), MemoryFullError("full"),
        EngineDiedError("dead", words="last"),
    ],
)  # fmt: skip
def test_errors_go_to_other_processes(error):
    again = pickle.loads(pickle.dumps(error))
    assert type(again) is type(error)
    assert (vars(again), again.args, str(again)) == (vars(error), error.args, str(error))
