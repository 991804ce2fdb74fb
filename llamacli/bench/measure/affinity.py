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
    """Return one byte for each CPU of a hexadecimal mask, the lowest bit first: 1 where threads may run. All zero: no mask.

    Raises:
        UsageError: if the mask is not hexadecimal, or too long.
    """
    digits = mask.lower().removeprefix("0x")
    if not digits or not set(digits) <= set("0123456789abcdef") or 4 * len(digits) > MOST_CPUS:
        raise UsageError(f"invalid CPU mask {mask!r}: use a hexadecimal number such as 0xff", parameter="cpu_mask")
    return bytes(int(bit) for bit in reversed(f"{int(digits, 16):b}"))


def check_cpus(mask: str, flags: bytes, *, strict: bool) -> None:
    """Refuse a mask that cannot be applied: threads would run anywhere, and the figures would be of another test.

    At least one of the CPUs must be usable or, if each thread is bound to one (`strict`), all of them.

    Raises:
        UsageError: if this process may not use those CPUs.
    """
    wanted = {cpu for cpu, flag in enumerate(flags) if flag}
    if not wanted or not hasattr(os, "sched_getaffinity"):
        return
    usable = os.sched_getaffinity(0)
    if not wanted <= usable if strict else wanted.isdisjoint(usable):
        missing = ", ".join(str(cpu) for cpu in sorted(wanted - usable)[:8])
        raise UsageError(f"the CPU mask {mask} has CPUs that this process may not use: {missing}", parameter="cpu_mask")


def thread_ids() -> set[int]:
    """Return the ids of the threads of this process; none if the system does not list them."""
    try:
        return {int(path.name) for path in _THREADS.iterdir()}
    except OSError:
        return set()


@contextmanager
def unbound_after(own: set[int]) -> Iterator[None]:
    """Undo at the end of the block the binding of all threads to CPUs, except the test's `own`.

    ggml binds whichever threads work for it, OpenMP's and the caller's, and leaves them bound: interleaved tests would inherit
    each other's mask.
    """
    if not hasattr(os, "sched_setaffinity"):
        yield
        return
    before = os.sched_getaffinity(0)
    try:
        yield
    finally:
        for thread in thread_ids() - own:
            with suppress(OSError):  # the thread has ended
                os.sched_setaffinity(thread, before)
