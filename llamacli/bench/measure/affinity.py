"""The CPUs that a test's threads may run on."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from llamacli.errors import UsageError

MOST_CPUS = 512
"""GGML_MAX_N_THREADS."""

_THREADS = Path("/proc/self/task")


def cpu_flags(mask: str) -> bytes:
    """One byte for each CPU of a hexadecimal mask, the lowest bit first: 1 where threads may run. None set is no mask.

    Raises:
        UsageError: it is not hexadecimal, or too long.
    """
    digits = mask.lower().removeprefix("0x")
    if not digits or not set(digits) <= set("0123456789abcdef") or 4 * len(digits) > MOST_CPUS:
        raise UsageError(f"a CPU mask is hexadecimal, such as 0xff: {mask}")
    return bytes(int(bit) for bit in reversed(f"{int(digits, 16):b}"))


def check_cpus(mask: str, flags: bytes, *, strict: bool) -> None:
    """Refuses a mask that could not be obeyed: threads would run anywhere, and the figures would tell of something else.

    One CPU must be there for all threads together, or, if each is bound to one, every CPU.

    Raises:
        UsageError: this process may not use those CPUs.
    """
    wanted = {cpu for cpu, flag in enumerate(flags) if flag}
    if not wanted or not hasattr(os, "sched_getaffinity"):
        return
    usable = os.sched_getaffinity(0)
    if not wanted <= usable if strict else wanted.isdisjoint(usable):
        missing = ", ".join(str(cpu) for cpu in sorted(wanted - usable)[:8])
        raise UsageError(f"the CPU mask {mask} has CPUs that this process may not use: {missing}")


def thread_ids() -> set[int]:
    """The threads of this process; none where the system does not tell."""
    try:
        return {int(path.name) for path in _THREADS.iterdir()}
    except OSError:
        return set()


@contextmanager
def unbound_after(own: set[int]) -> Iterator[None]:
    """Threads that the block binds to CPUs may run where they could before, but for a test's `own`.

    ggml binds whichever threads work for it, OpenMP's and the caller's, and leaves them so: tests that take turns would inherit
    the mask of another.
    """
    if not hasattr(os, "sched_setaffinity"):
        yield
        return
    before = os.sched_getaffinity(0)
    try:
        yield
    finally:
        for thread in thread_ids() - own:
            with suppress(OSError):  # it has ended
                os.sched_setaffinity(thread, before)
