"""The limits of a child: of the process as a whole, and of one hostile operation in it.

A template, a schema or a text may be made so that the native library computes for ever, or takes all memory. A native call
cannot be interrupted, and cannot be trusted to give back what it holds. So the way out is that the child ends itself with one
of the statuses below; the parent, which knows what it asked for, turns that into an error about the template, and starts
another child. In exchange nothing inside the native library needs to count steps.
"""

from __future__ import annotations

import contextlib
import os
import resource
import select
import signal
import sys
import threading
import time
from collections.abc import Callable, Collection, Iterator
from contextlib import AbstractContextManager
from pathlib import Path

from llamacli.engine.runtime.bounds import EXTRA_BYTES, SECONDS, TEMPLATE_MEMORY, Subject
from llamacli.engine.runtime.hardware import total_memory
from llamacli.values import dataclass

EXIT_SECONDS, EXIT_MEMORY, EXIT_ORPHAN = 91, 92, 93
"""Exit statuses of a child that ended itself: out of processor time, out of memory, or because its parent had gone."""

EXIT_TEXT_SECONDS, EXIT_TEXT_MEMORY = 94, 95
"""The same, where a text was tokenized and not a template rendered."""

EXIT_FILE_SECONDS, EXIT_FILE_MEMORY = 96, 97
"""The same, where a document, a picture or a sound was read."""

_TEXT_BYTES_PER_SECOND = 32 << 10
"""A tokenizer may be so slow: the slowest need a second for some times as much."""

_HARMLESS_BYTES = 1 << 10
"""Bytes of text that no tokenizer needs long for: the watchdog would take more time than they do."""

_TEXT_MEMORY = 2 << 10
"""Bytes that a byte of text may need while it is tokenized: half of it on the stack (`vocabulary.STACK_PER_BYTE`)."""

_POLL_SECONDS = 0.01
_TASKS = "/proc/self/task"
_ON_LINUX = sys.platform.startswith("linux")


def apply_limits(memory: int | None = None) -> int | None:
    """Limit this process: no core files, no debugger, and no more than `memory` bytes of its own. Return that number.

    The default is the memory and swap of the machine, or of its cgroup: more can only end with the system killing a process,
    and a refused allocation is an error with a number. Only private memory counts (RLIMIT_DATA): a mapped model is the
    system's to drop, and a limit of the address space would stop GPU drivers, which reserve terabytes. None: no limit is known.
    """
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    if _ON_LINUX:
        from llamacli.binding.linux import PR_SET_DUMPABLE, prctl

        prctl(PR_SET_DUMPABLE, 0)
    bound = memory if memory is not None else total_memory()
    if bound is not None:
        _, hard = resource.getrlimit(resource.RLIMIT_DATA)
        if hard != resource.RLIM_INFINITY:
            bound = min(bound, hard)
        resource.setrlimit(resource.RLIMIT_DATA, (bound, bound))
    return bound


def die_with_parent(parent: int) -> None:
    """Have the system kill this process when its parent ends. `parent` is the process that forked it. Linux only.

    Call it first, in a child that was forked by the parent's main thread: the signal comes when the thread that forked ends.
    Where that is not so, the end of the connection to the parent has to do.
    """
    if _ON_LINUX:
        from llamacli.binding.linux import PR_SET_PDEATHSIG, prctl

        prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:  # it ended before the call
        os._exit(EXIT_ORPHAN)


def outlive_parent() -> None:
    """Take `die_with_parent` back, for a child that stays."""
    if _ON_LINUX:
        from llamacli.binding.linux import PR_SET_PDEATHSIG, prctl

        prctl(PR_SET_PDEATHSIG, 0)


def end_with(process: int) -> Callable[[], None] | None:
    """Return the work of a thread that ends this process when another one ends; None where the system cannot tell.

    Unlike the signal of `die_with_parent` it does not depend on the thread that started this process.
    """
    opened = getattr(os, "pidfd_open", None)
    if opened is None:
        return None
    try:
        descriptor = opened(process)
    except ProcessLookupError:
        os._exit(EXIT_ORPHAN)
    except OSError:  # an old kernel
        return None

    def wait() -> None:
        poll = select.poll()
        poll.register(descriptor, select.POLLIN)
        poll.poll()
        os._exit(EXIT_ORPHAN)

    return wait


def close_inherited(keep: Collection[int]) -> None:
    """Close every descriptor but `keep`. Of the standard streams, those not kept become `/dev/null`.

    The parent's objects then own numbers that may be given anew: the child must end by `os._exit`, and collect none of them
    (`gc.freeze`).
    """
    null = os.open(os.devnull, os.O_RDWR)
    for stream in range(3):
        if stream not in keep:
            os.dup2(null, stream)
    start = 3
    for number in sorted(number for number in keep if number >= 3):
        os.closerange(start, number)
        start = number + 1
    os.closerange(start, _last_descriptor() + 1)


def _last_descriptor() -> int:
    try:
        return max(int(entry.name) for entry in Path("/proc/self/fd").iterdir())
    except OSError:
        limit, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
        return min(limit, 1 << 16)


# --- one operation -------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, eq=False)
class _Bound:
    """A running operation: its clock of processor time, its end on that clock, and the memory it may reach.

    `exits` are the statuses with which the process ends, out of time and out of memory.
    """

    clock: Callable[[], float]
    end: float
    memory: int
    exits: tuple[int, int]


class _Watchdog:
    """A thread that looks at all running operations 100 times a second, and ends the process when one exceeds its bound."""

    def __init__(self) -> None:
        self.is_alone: Callable[[], bool] = lambda: True
        self._bounds: set[_Bound] = set()
        self._accompanied: set[_Bound] = set()
        self._changed = threading.Condition()
        self._thread: threading.Thread | None = None

    def add(self, bound: _Bound) -> None:
        with self._changed:
            if self._thread is None:
                self._thread = threading.Thread(target=self._watch, name="llamacli-watchdog", daemon=True)
                self._thread.start()
            self._bounds.add(bound)
            self._changed.notify()

    def remove(self, bound: _Bound) -> None:
        with self._changed:
            self._bounds.discard(bound)
            self._accompanied.discard(bound)

    def _watch(self) -> None:
        while True:
            with self._changed:
                while not self._bounds:
                    self._changed.wait()
                if not self.is_alone():
                    self._accompanied |= self._bounds
                status = max(_excess(bound, counts_memory=bound not in self._accompanied) for bound in self._bounds)
            if status:
                os._exit(status)
            time.sleep(_POLL_SECONDS)


_watchdog = _Watchdog()


def count_memory_while(is_alone: Callable[[], bool]) -> None:
    """Count the growth of memory only for operations beside which nothing else ran: a context may be made meanwhile."""
    _watchdog.is_alone = is_alone


_thread = threading.local()


def bound_native_work(subject: Subject, size: int) -> AbstractContextManager[None]:
    """Return the limits of native work in a child (`bounds.Bound`)."""
    if subject == "template":
        return limited(extra_bytes=EXTRA_BYTES + size * TEMPLATE_MEMORY, with_native_threads=True)
    if size <= _HARMLESS_BYTES:
        return contextlib.nullcontext()
    seconds = SECONDS + size / _TEXT_BYTES_PER_SECOND
    exits = (EXIT_TEXT_SECONDS, EXIT_TEXT_MEMORY)
    return limited(seconds=seconds, extra_bytes=EXTRA_BYTES + size * _TEXT_MEMORY, exits=exits)


@contextlib.contextmanager
def limited(
    *,
    seconds: float = SECONDS,
    extra_bytes: int = EXTRA_BYTES,
    exits: tuple[int, int] = (EXIT_SECONDS, EXIT_MEMORY),
    with_native_threads: bool = False,
) -> Iterator[None]:
    """Bound what the block does in this thread: end the process if it exceeds one of the limits. Only for a child.

    `seconds` is processor time of the thread, so that a busy machine does no harm. `extra_bytes` is growth of the memory of the
    whole process (a thread's own is not known), see `count_memory_while`. A block that ends in time costs some
    microseconds. The watchdog needs Python's lock now and then, which ctypes gives up for the time of a native call. A block
    inside another one has the limits of the outer one. `with_native_threads` counts the time of threads that native code starts
    meanwhile too (on Linux): templates are rendered on one with a large stack.
    """
    if getattr(_thread, "is_limited", False):
        yield
        return
    clock = _clock_with_native_threads() if with_native_threads and _ON_LINUX else _own_clock()
    bound = _Bound(clock, clock() + seconds, private_memory() + extra_bytes, exits)
    _watchdog.add(bound)
    _thread.is_limited = True
    try:
        yield
    finally:
        _thread.is_limited = False
        _watchdog.remove(bound)


def _excess(bound: _Bound, *, counts_memory: bool) -> int:
    """Return the status with which the process has to end, 0 if it goes on."""
    if bound.clock() > bound.end:
        return bound.exits[0]
    return bound.exits[1] if counts_memory and private_memory() > bound.memory else 0


def _own_clock() -> Callable[[], float]:
    """Return the clock of this thread's processor time, or of the process' where other threads cannot read that."""
    number = time.CLOCK_PROCESS_CPUTIME_ID
    if hasattr(time, "pthread_getcpuclockid"):
        number = time.pthread_getcpuclockid(threading.get_ident())
    return lambda: time.clock_gettime(number)


def _clock_with_native_threads() -> Callable[[], float]:
    """Return the clock of this thread's processor time and of that of threads which are not there yet, and not Python's."""
    own, before = _own_clock(), _threads()

    def read() -> float:
        others = before | {str(thread.native_id) for thread in threading.enumerate()}
        return own() + sum(_seconds_of(thread) for thread in _threads() - others)

    return read


def _threads() -> set[str]:
    return {entry.name for entry in Path(_TASKS).iterdir()}


def _seconds_of(thread: str) -> float:
    """Return the processor time of a thread of this process, 0 if it has ended."""
    try:
        fields = Path(_TASKS, thread, "stat").read_bytes().rpartition(b")")[2].split()
    except OSError:
        return 0.0
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def private_memory() -> int:
    """Return the bytes of memory in use that belong to this process alone; files mapped are not among them."""
    if _ON_LINUX:
        with open("/proc/self/statm", "rb", buffering=0) as file:  # noqa: PTH123 - 100 times a second
            fields = file.read().split()
        return (int(fields[1]) - int(fields[2])) * resource.getpagesize()
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss  # in bytes on macOS, and it only grows
