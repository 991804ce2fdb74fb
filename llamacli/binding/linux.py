"""Calls of Linux that Python's standard library lacks: prctl, Landlock, seccomp, and the wiping of the environment.

Nothing here loads the native libraries: the functions are the C library's own. Each raises OSError with the system's reason.
Numbers and structures are those of `<linux/prctl.h>`, `<linux/landlock.h>` and `<linux/seccomp.h>`.
"""

from __future__ import annotations

import ctypes
import errno
import functools
import os
import struct
from collections.abc import Collection
from typing import Any

PR_SET_PDEATHSIG = 1
PR_SET_DUMPABLE = 4
PR_SET_NO_NEW_PRIVS = 38
PR_GET_NO_NEW_PRIVS = 39

_LANDLOCK_CREATE_RULESET, _LANDLOCK_ADD_RULE, _LANDLOCK_RESTRICT_SELF = 444, 445, 446  # the same on every architecture
_LANDLOCK_VERSION = 1
_LANDLOCK_PATH_BENEATH = 1
_SECCOMP_SET_MODE_FILTER, _SECCOMP_GET_ACTION_AVAIL = 1, 2
_SECCOMP_FILTER_FLAG_TSYNC = 1
_SECCOMP_FILTER_FLAG_SPEC_ALLOW = 4  # before Linux 5.16 a filter slows the processor down without it

_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3  # of mallopt


@functools.cache
def _libc() -> ctypes.CDLL:
    libc = ctypes.CDLL(None, use_errno=True)
    libc.syscall.restype = ctypes.c_long
    libc.syscall.argtypes = (ctypes.c_long, *[ctypes.c_void_p] * 4)
    libc.prctl.argtypes = (ctypes.c_int, *[ctypes.c_ulong] * 4)
    return libc


def prctl(option: int, value: int = 0) -> int:
    """Change or read an attribute of this process. Raises OSError."""
    return _checked(_libc().prctl(option, value, 0, 0, 0))


def landlock_version() -> int:
    """Return the version of Landlock's interface (ABI) that this kernel offers, 0 for none."""
    try:
        return _system_call(_LANDLOCK_CREATE_RULESET, None, 0, _LANDLOCK_VERSION)
    except OSError:  # not built in, not enabled, or forbidden here
        return 0


def landlock_create_ruleset(attributes: bytes) -> int:
    """Return the descriptor of a ruleset. `attributes` is a `landlock_ruleset_attr`. Raises OSError."""
    return _system_call(_LANDLOCK_CREATE_RULESET, attributes, len(attributes), 0)


def landlock_allow(ruleset: int, path: int, access: int) -> None:
    """Allow `access` to the file or folder that the descriptor `path` is of, and to all below. Raises OSError."""
    _system_call(_LANDLOCK_ADD_RULE, ruleset, _LANDLOCK_PATH_BENEATH, struct.pack("=Qi", access, path))


def landlock_restrict_self(ruleset: int) -> None:
    """Hold the calling thread, and the threads that it starts from now on, to a ruleset. Raises OSError."""
    _system_call(_LANDLOCK_RESTRICT_SELF, ruleset, 0)


def seccomp_kills(number: int, action: int) -> bool:
    """Return whether this kernel takes seccomp filters with that action. `number` is that of the call seccomp(2)."""
    try:
        _system_call(number, _SECCOMP_GET_ACTION_AVAIL, 0, struct.pack("=I", action))
    except OSError:
        return False
    return True


def seccomp_filter(number: int, program: bytes) -> None:
    """Hold all threads of this process to a BPF program. `number` is that of the call seccomp(2). Raises OSError."""
    code = ctypes.create_string_buffer(program, len(program))
    sock_fprog = struct.pack("@HP", len(program) // 8, ctypes.addressof(code))
    flags = _SECCOMP_FILTER_FLAG_TSYNC | _SECCOMP_FILTER_FLAG_SPEC_ALLOW
    if _system_call(number, _SECCOMP_SET_MODE_FILTER, flags, sock_fprog):  # a thread has another filter
        raise OSError(errno.EBUSY, os.strerror(errno.EBUSY))


def wipe_environment(kept: Collection[bytes]) -> None:
    """Overwrite the values of all environment variables but `kept` where they lie in memory, and in `/proc/self/environ`.

    Deleting a variable only takes its address out of a list. Python's own copies are strings like any other.
    """
    environ = ctypes.POINTER(ctypes.c_void_p).in_dll(_libc(), "environ")
    number = 0
    while address := environ[number]:
        name, _, value = ctypes.string_at(address).partition(b"=")
        if name not in kept:
            ctypes.memset(address + len(name) + 1, 0, len(value))
        number += 1


def keep_freed_memory(size: int) -> None:
    """Have the C library keep up to `size` bytes of freed memory, instead of fetching each of its pages again from the system.

    A C library without this setting ignores the call.
    """
    mallopt = getattr(_libc(), "mallopt", None)
    if mallopt is not None:
        mallopt(_M_MMAP_THRESHOLD, size // 2)
        mallopt(_M_TRIM_THRESHOLD, size)


def _system_call(number: int, *arguments: Any) -> int:
    padded = [*arguments, *[0] * (4 - len(arguments))]
    return _checked(_libc().syscall(number, *padded))


def _checked(result: int) -> int:
    if result < 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))
    return result
