"""The Landlock rules: which files can be opened, and that neither TCP nor signals nor abstract sockets lead outwards.

See `Documentation/userspace-api/landlock.rst` of the kernel. Each version of the interface handles more kinds of access; what
this kernel does not know is left out.
"""

from __future__ import annotations

import os
import stat
import struct
from collections.abc import Iterable
from pathlib import Path

from llamacli.backend.child.wire.frames import Network
from llamacli.binding.linux import landlock_allow, landlock_create_ruleset, landlock_restrict_self

_PROC = Path("/proc/self")
_EXECUTE, _WRITE_FILE, _READ_FILE, _READ_DIR = 1 << 0, 1 << 1, 1 << 2, 1 << 3
_OF_VERSION_1 = (1 << 13) - 1  # those, and removing and making files of each kind
_REFER, _TRUNCATE, _IOCTL_DEV = 1 << 13, 1 << 14, 1 << 15
_MAKE_FILE = 1 << 8
_BIND_TCP, _CONNECT_TCP = 1 << 0, 1 << 1
_ABSTRACT_SOCKETS, _SIGNALS = 1 << 0, 1 << 1


def handled_access(version: int, *, network: Network) -> tuple[int, int, int]:
    """Return what a kernel with that version of the interface can be asked to refuse: files, network, other processes."""
    files = _OF_VERSION_1
    for least, access in ((2, _REFER), (3, _TRUNCATE), (5, _IOCTL_DEV)):
        files |= access if version >= least else 0
    allowed = {"none": 0, "connect": _CONNECT_TCP, "listen": _BIND_TCP}[network]
    tcp = (_BIND_TCP | _CONNECT_TCP) & ~allowed if version >= 4 else 0
    return files, tcp, _ABSTRACT_SOCKETS | _SIGNALS if version >= 6 else 0


def apply(
    version: int,
    *,
    reads: Iterable[Path],
    writes: Iterable[Path],
    devices: Iterable[Path],
    network: Network,
    folder: Path | None = None,
) -> None:
    """Refuse this thread, and those that it starts, every file but these, for good. Needs no_new_privs.

    Folders are allowed with all that they contain. In `folder` files may be made, too. A path that does not exist, or may not
    be opened anyway, is left out.

    Raises:
        OSError: if the kernel refuses the rules.
    """
    files, tcp, outside = handled_access(version, network=network)
    size = 8 if version < 4 else 16 if version < 6 else 24
    ruleset = landlock_create_ruleset(struct.pack("=QQQ", files, tcp, outside)[:size])
    try:
        for paths, access in (
            (reads, _READ_FILE | _READ_DIR),
            (writes, _READ_FILE | _WRITE_FILE | _TRUNCATE),
            ((folder,) if folder is not None else (), _READ_FILE | _READ_DIR | _WRITE_FILE | _TRUNCATE | _MAKE_FILE),
            (devices, _READ_FILE | _READ_DIR | _WRITE_FILE | _IOCTL_DEV),
        ):
            for path in paths:
                _allow(ruleset, path, access & files)
        landlock_restrict_self(ruleset)
    finally:
        os.close(ruleset)


def _allow(ruleset: int, path: Path, access: int) -> None:
    """Add a rule for a path that can be opened.

    A file of procfs stays open for good: rules are for files as the kernel has them in memory, and of those it makes new ones
    when memory was short.
    """
    try:
        descriptor = os.open(path, os.O_PATH | os.O_CLOEXEC)
    except OSError:
        return
    about = os.fstat(descriptor)
    landlock_allow(ruleset, descriptor, access if stat.S_ISDIR(about.st_mode) else access & ~_READ_DIR)
    if about.st_dev != _PROC.stat().st_dev:
        os.close(descriptor)
