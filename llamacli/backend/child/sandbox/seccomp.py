"""The seccomp filter: which system calls fail, written as a BPF program.

A list of what is refused, not of what is allowed: C libraries, drivers and Python differ in what they call, and what reads or
writes files is Landlock's. Calls that are newer than this list do not exist for the child, so that a new kernel opens no door.
See `Documentation/userspace-api/seccomp_filter.rst` of the kernel.
"""

from __future__ import annotations

import errno
import os
import struct
import sys
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from llamacli.backend.child.sandbox.system_calls import ARCHITECTURES, LAST_KNOWN, system_calls
from llamacli.backend.child.wire.frames import Network
from llamacli.binding.linux import PR_SET_DUMPABLE, PR_SET_PDEATHSIG, seccomp_filter, seccomp_kills

_KILL_PROCESS, _ERRNO, _ALLOW = 0x80000000, 0x00050000, 0x7FFF0000
_LOAD, _AND, _JUMP_EQUAL, _JUMP_ABOVE, _RETURN = 0x20, 0x54, 0x15, 0x25, 0x06  # of 32-bit words
_NUMBER_AT, _ARCHITECTURE_AT, _ARGUMENTS_AT = 0, 4, 16

_CLONE_VM, _CLONE_THREAD, _CLONE_NAMESPACES = 0x100, 0x10000, 0x7E020000
_AF_INET, _AF_INET6 = 2, 10
_MFD_EXEC = 0x10
_PR_SET_PTRACER = 0x59616D61
_TIOCSTI, _TIOCLINUX = 0x5412, 0x541C  # they type into a terminal

_PROGRAMS = "execve execveat fork vfork"
_OTHER_PROCESSES = (
    "ptrace process_vm_readv process_vm_writev process_madvise process_mrelease pidfd_getfd pidfd_send_signal kcmp "
    "migrate_pages shmget semget msgget mq_open mq_unlink"
)
_SOCKETS = "socketpair"
_LISTENS = "bind listen"
_ACCEPTS = "accept accept4"
_KERNEL = (
    "mount umount2 pivot_root chroot move_mount open_tree open_tree_attr fsopen fsconfig fsmount fspick mount_setattr bpf "
    "perf_event_open userfaultfd keyctl add_key request_key io_uring_setup io_uring_enter io_uring_register unshare setns "
    "fanotify_init kexec_load kexec_file_load init_module finit_module delete_module open_by_handle_at name_to_handle_at "
    "reboot swapon swapoff settimeofday clock_settime clock_adjtime adjtimex sethostname setdomainname acct quotactl "
    "quotactl_fd iopl ioperm modify_ldt syslog vhangup uselib personality seccomp setuid setgid setreuid setregid setresuid "
    "setresgid setgroups setfsuid setfsgid capset"
)
_FILES = (  # modes, owners, times and attributes are beyond Landlock; the rest holds where there is no Landlock
    "mknod mknodat mkdir mkdirat rmdir unlink unlinkat rename renameat renameat2 link linkat symlink symlinkat truncate creat "
    "chmod fchmod fchmodat fchmodat2 chown fchown lchown fchownat setxattr lsetxattr fsetxattr setxattrat removexattr "
    "lremovexattr fremovexattr removexattrat utime utimes futimesat utimensat file_setattr"
)


@dataclass(frozen=True, slots=True)
class Rule:
    """A system call that fails with `error`. With an `argument` (its number), what that is decides.

    The call then fails if the argument's lower 32 bits, of which `mask` selects some, are not one of `allowed`, or are one of
    `refused`.
    """

    name: str
    error: int = errno.EPERM
    argument: int | None = None
    mask: int = 0xFFFFFFFF
    allowed: tuple[int, ...] = ()
    refused: tuple[int, ...] = ()


def rules(*, network: Network, writes: bool, accepts: bool = False) -> Iterator[Rule]:
    """Yield the rules for this process. `writes`: some files may be opened for writing, which are Landlock's matter.

    `accepts`: connections to a socket that listens already may be accepted.
    """
    for names in (_PROGRAMS, _OTHER_PROCESSES, _SOCKETS, _KERNEL, _FILES):
        yield from map(Rule, names.split())
    if not accepts and network != "listen":
        yield from map(Rule, _ACCEPTS.split())
    if network != "listen":
        yield from map(Rule, _LISTENS.split())
    if network != "connect":
        yield Rule("connect")
    yield Rule("socket") if network == "none" else Rule("socket", argument=0, allowed=(_AF_INET, _AF_INET6))
    threads = _CLONE_VM | _CLONE_THREAD
    yield Rule("clone", argument=0, mask=threads | _CLONE_NAMESPACES, allowed=(threads,))
    yield Rule("clone3", error=errno.ENOSYS)  # its flags lie in memory; C libraries then use clone
    yield Rule("openat2", error=errno.ENOSYS)
    own = os.getpid()
    for name in ("kill", "tkill", "tgkill", "rt_sigqueueinfo", "rt_tgsigqueueinfo"):  # abort() signals its own process
        yield Rule(name, argument=0, allowed=(own,))
    yield Rule("prlimit64", argument=0, allowed=(0, own))
    yield Rule("prctl", argument=0, refused=(PR_SET_PDEATHSIG, PR_SET_DUMPABLE, _PR_SET_PTRACER))
    yield Rule("ioctl", argument=1, refused=(_TIOCSTI, _TIOCLINUX))
    yield Rule("memfd_create", argument=1, mask=_MFD_EXEC, allowed=(0,))
    if not writes:
        flags = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC
        yield Rule("open", argument=1, mask=flags, allowed=(0,))
        yield Rule("openat", argument=2, mask=flags, allowed=(0,))


def machine() -> str | None:
    """Return the machine's name if there are numbers for it, else None."""
    name = os.uname().machine
    return name if name in ARCHITECTURES and sys.maxsize > 2**32 and sys.byteorder == "little" else None


def is_available() -> bool:
    """Return whether this kernel and this machine can have the filter."""
    name = machine()
    return name is not None and seccomp_kills(system_calls(name)["seccomp"], _KILL_PROCESS)


def apply(wanted: Iterable[Rule]) -> None:
    """Hold all threads of this process to the rules, for good. Needs no_new_privs. Raises OSError."""
    name = machine()
    if name is None:
        raise OSError(errno.ENOSYS, f"no numbers of system calls for {os.uname().machine}")
    numbers = system_calls(name)
    seccomp_filter(numbers["seccomp"], program(wanted, numbers, ARCHITECTURES[name]))


def program(wanted: Iterable[Rule], numbers: dict[str, int], architecture: int) -> bytes:
    """Return the BPF program of the rules. A rule for a call without a number has no effect."""
    code = [
        _instruction(_LOAD, _ARCHITECTURE_AT),
        _instruction(_JUMP_EQUAL, architecture, 1, 0),
        _instruction(_RETURN, _KILL_PROCESS),
        _instruction(_LOAD, _NUMBER_AT),
        _instruction(_JUMP_ABOVE, LAST_KNOWN, 0, 1),
        _instruction(_RETURN, _ERRNO | errno.ENOSYS),
    ]
    for rule in wanted:
        if (number := numbers.get(rule.name)) is not None:
            body = list(_verdict(rule))
            code += [_instruction(_JUMP_EQUAL, number, 0, len(body)), *body]
    return b"".join([*code, _instruction(_RETURN, _ALLOW)])


def _verdict(rule: Rule) -> Iterator[bytes]:
    fail, allow = _instruction(_RETURN, _ERRNO | rule.error), _instruction(_RETURN, _ALLOW)
    if rule.argument is None:
        yield fail
        return
    yield _instruction(_LOAD, _ARGUMENTS_AT + 8 * rule.argument)
    yield _instruction(_AND, rule.mask)
    for value in rule.allowed or rule.refused:
        yield _instruction(_JUMP_EQUAL, value, 0, 1)
        yield allow if rule.allowed else fail
    yield fail if rule.allowed else allow


def _instruction(code: int, value: int, if_true: int = 0, if_false: int = 0) -> bytes:
    return struct.pack("=HBBI", code, if_true, if_false, value)
