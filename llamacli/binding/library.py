"""Loading of the native libraries, with a prototype for every declared function.

    from llamacli.binding.library import library
    lib = library()
    lib.llama_time_us()

The first call of `library()` loads them. A function gets its prototype at its first use; C errors become exceptions
(`errcheck`), so that callers never test return codes.
"""

from __future__ import annotations

import ctypes
import functools
import os
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any

from llamacli.binding import abi_check
from llamacli.binding.enums import ggml_log_level
from llamacli.binding.location import REINSTALL, find_folder, library_name, read_build_info
from llamacli.binding.prototypes import Function
from llamacli.errors import CancelledError, ConstraintError, ContextFullError, DecodeError, LibraryError, MemoryFullError

_SPINS = "1000"
_WAITS = ("GOMP_SPINCOUNT", "OMP_WAIT_POLICY")
"""Variables with which users decide how threads wait."""

_load_lock = threading.Lock()
_loaded: Library | None = None
_process: int | None = None

SPAWN = 'start processes with multiprocessing.get_context("spawn")'
"""What helps against a fork."""

declarations = abi_check.parse()
structs = declarations.structs
"""The ctypes structures by their C names."""


class Library:
    """The loaded native libraries. Each declared C function is an attribute; anything else is an AttributeError."""

    def __init__(self, folder: Path, *, waits_shortly: bool = True) -> None:
        self.folder = folder
        self._media_handle: Any = None
        self.build = read_build_info(folder)
        self._functions = {function.name: function for function in declarations.functions}
        waits_shortly = waits_shortly and not any(name in os.environ for name in _WAITS)
        with _short_waits() if waits_shortly else nullcontext():
            self._load(folder)
        self.llamacli_follow_load(waits_shortly)
        self.llama_backend_init()

    def _load(self, folder: Path) -> None:
        # The shim depends on all the others but libmtmd, so its handle finds their symbols too.
        self._handle = _load_library(folder, "llamacli-shim")
        stamped = self.llamacli_llama_cpp_commit().decode()
        if stamped != self.build["commit"]:
            raise LibraryError(
                f"the native library is built from llama.cpp {stamped}, this package from {self.build['commit']}",
                hint=REINSTALL,
            )
        # Backends log while they load; the lines are dropped until the log is routed.
        self.llamacli_log_filter(declarations.type("ggml_log_callback")(), ggml_log_level.GGML_LOG_LEVEL_ERROR)
        if self.build["dynamic_backends"]:
            # Only from our own folder: the default search also looks in the current directory.
            self.ggml_backend_load_all_from_path(str(folder).encode())

    def _media(self) -> Any:
        """Return the handle of libmtmd, which is loaded when its first function is used, and logs where the others do."""
        if self._media_handle is None:
            self._media_handle = _load_library(self.folder, "mtmd")
            log = declarations.type("ggml_log_callback")(address_of(self.llamacli_log_callback))
            self.mtmd_log_set(log, None)
        return self._media_handle

    def __getattr__(self, name: str) -> Any:
        declared = self.__dict__.get("_functions", {}).get(name)
        if declared is None:
            raise AttributeError(f"{name} is not declared in llamacli.binding.declarations")
        function = self.bind(declared)
        check = ERROR_CHECKS.get(name)
        if check is not None:
            function.errcheck = check
        setattr(self, name, function)
        return function

    @functools.cached_property
    def _rpc(self) -> ctypes.CDLL:
        """The library of llama.cpp's RPC, loaded by whoever uses it."""
        return _load_library(self.folder, "llamacli-rpc")

    def _handle_of(self, name: str) -> Any:
        """Return the handle of the library that has a function."""
        if name.startswith("ggml_backend_rpc_"):
            return self._rpc
        return self._media() if name.startswith("mtmd_") else self._handle

    def bind(self, declared: Function) -> Any:
        """Return a new object for a C function, with its prototype and without a check of its result.

        Raises:
            LibraryError: if the library lacks it.
        """
        try:
            function = self._handle_of(declared.name)[declared.name]
        except AttributeError:
            raise LibraryError(f"the native library has no function {declared.name}", hint=REINSTALL) from None
        function.restype = declared.result
        function.argtypes = declared.arguments
        return function


def _load_library(folder: Path, name: str) -> ctypes.CDLL:
    try:
        return ctypes.CDLL(str(folder / library_name(name)))
    except OSError as error:
        raise LibraryError(f"cannot load the native library: {error}", hint=REINSTALL) from error


@contextmanager
def _short_waits() -> Iterator[None]:
    """Let GNU's OpenMP, if the block loads it, spin shortly before a waiting thread sleeps.

    By default it spins for milliseconds. Beside other programs this takes the processor from the thread that is waited for, and
    is up to ten times as slow. The library reads the environment once, when it is loaded.
    """
    os.environ["GOMP_SPINCOUNT"] = _SPINS
    try:
        yield
    finally:
        del os.environ["GOMP_SPINCOUNT"]


def library(*, waits_shortly: bool = True) -> Library:
    """Return the native libraries, loading them at the first call, which decides whether waiting threads soon sleep.

    Raises:
        LibraryError: if they are missing, cannot be loaded, or were built for another version of this package.
    """
    global _loaded, _process
    with _load_lock:
        if _loaded is None:
            _process = os.getpid()
            _loaded = Library(find_folder(), waits_shortly=waits_shortly)
        return _loaded


def require_own_library() -> None:
    """Raise LibraryError in a process forked from one that had loaded the libraries: their threads are missing there."""
    if _process not in (None, os.getpid()):
        raise LibraryError("the native library was loaded before this process was forked", hint=SPAWN)


def address_of(function: Any) -> int:
    """Return the address of a C function, to pass to C as a callback."""
    return ctypes.cast(function, ctypes.c_void_p).value or 0


def _check_evaluation(result: int, function: Any, arguments: Any) -> int:
    """Raise the exception for a result of `llama_decode`.

    0 is success, 1 a full cache, 2 an abort, -1 an invalid batch, anything below a failed computation.
    """
    if result == 0:
        return result
    if result == 1:
        raise ContextFullError("the KV cache has no room for this batch", needed=0, available=0)
    if result == 2:
        raise CancelledError("the evaluation was cancelled")
    if result == -2:
        raise MemoryFullError(
            "out of memory while evaluating the batch", hint="use a smaller n_ubatch or n_ctx", parameter="n_ubatch"
        )
    if result == -1:
        raise DecodeError("llama.cpp rejected the batch as invalid")
    raise DecodeError(f"llama.cpp could not evaluate the batch (status {result})")


def check_sampling(result: int, function: Any = None, arguments: Any = None) -> int:
    """Raise the exception for a result of `llamacli_sample`: 0 is success, 1 that no token is allowed, 2 or more a failure."""
    if result == 1:
        raise ConstraintError("the grammar allows no token of this model's vocabulary at this position")
    if result == 2:
        raise DecodeError(
            "the model's logits are not finite",
            hint="the file may be corrupt: try check_tensors, or flash_attention=off",
            parameter="flash_attention",
        )
    if result > 2:
        raise DecodeError("sampling failed inside llama.cpp")
    return result


def _not_null(subject: str) -> Callable[[Any, Any, Any], Any]:
    def check(result: Any, function: Any, arguments: Any) -> Any:
        if not result:
            raise MemoryFullError(f"out of memory for {subject}")
        return result

    return check


ERROR_CHECKS: dict[str, Callable[[Any, Any, Any], Any]] = {
    "llama_decode": _check_evaluation,
    "llamacli_sample": check_sampling,
    "llamacli_burst": _check_evaluation,
    "llamacli_heads_follow": _check_evaluation,
    "llamacli_heads_draft": _check_evaluation,
    "llamacli_heads_new": _not_null("the heads of the model"),
    "llamacli_measure_tokens": _check_evaluation,
    "llamacli_workers_new": _not_null("threads"),
    "llamacli_abort_new": _not_null("a cancel flag"),
    "llamacli_imatrix_new": _not_null("an importance matrix"),
    "llama_sampler_chain_init": _not_null("a sampler chain"),
}
"""Checks of results by function. The engine reads from the log why a model or a context could not be loaded."""
