"""The sandbox of a child: after `apply_sandbox` it reads its model, computes, and can do little else.

On Linux, without privileges: no_new_privs, Landlock (files, TCP, signals, abstract sockets) and a seccomp filter (programs,
processes, sockets, and what changes the system). Elsewhere there is none, and the report says so. The exceptions are
`network` and `folder` for RPC, and `devices` for GPU drivers; `paths` lists what they open.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from llamacli.backend.child.wire.frames import Network
from llamacli.errors import SandboxError

_LATEST_LANDLOCK = 7
"""The newest version of Landlock's interface that this package knows."""


@dataclass(frozen=True, slots=True)
class SandboxReport:
    """The parts of a sandbox: what the kernel has, or what holds a process. `landlock` is the interface's version, 0 for none.

    `missing` has a sentence for each part that is not there.
    """

    no_new_privileges: bool
    landlock: int
    seccomp: bool
    missing: tuple[str, ...]

    def require_complete(self) -> None:
        """Check that nothing is missing.

        Raises:
            SandboxError: if a part is missing; the message has the reasons.
        """
        if self.missing:
            raise SandboxError(
                f"the engine cannot be sandboxed: {'; '.join(self.missing)}",
                hint="without `require` it runs with what there is",
                parameter="sandbox",
            )


def describe_sandbox() -> SandboxReport:
    """Return what a sandbox would have on this system; nothing is changed."""
    if not sys.platform.startswith("linux"):
        return _none_here()
    from llamacli.backend.child.sandbox import seccomp
    from llamacli.binding.linux import PR_GET_NO_NEW_PRIVS, landlock_version, prctl

    try:
        privileges = prctl(PR_GET_NO_NEW_PRIVS) >= 0
    except OSError:
        privileges = False
    return _report(privileges, min(landlock_version(), _LATEST_LANDLOCK), seccomp.is_available(), [])


def apply_sandbox(
    reads: Sequence[Path],
    *,
    writes: Sequence[Path] = (),
    network: Network = "none",
    devices: Sequence[Path] = (),
    accepts: bool = False,
    folder: Path | None = None,
) -> SandboxReport:
    """Hold this process to a sandbox, for good, and return what holds it.

    Call it in a child before it starts a thread, loads a native library or reads what is not trusted, and after
    `die_with_parent` and `apply_limits`, which the filter no longer allows.

    `reads` are the model's files, or folders with all that they contain; what the interpreter imports is added. `writes` are
    files that exist and may be written. `network`: "connect" lets TCP out, "listen" lets it in (for RPC). `devices` are those
    that a GPU's driver opens (`paths.gpu_devices`); with them come the folders where drivers look. `accepts`: connections to a
    socket that listens already may be accepted (a resident child). `folder` is one where files may be made and written (the
    cache of an RPC node).
    """
    if not sys.platform.startswith("linux"):
        return _none_here()
    from llamacli.backend.child.sandbox import landlock, paths, seccomp
    from llamacli.binding.linux import PR_SET_NO_NEW_PRIVS, landlock_version, prctl

    reasons: list[str] = []
    try:
        prctl(PR_SET_NO_NEW_PRIVS, 1)
    except OSError as error:
        return _report(False, 0, False, [f"no_new_privs is refused ({error.strerror})"])
    version = min(landlock_version(), _LATEST_LANDLOCK)
    if version and (threads := len(list(Path("/proc/self/task").iterdir()))) > 1:
        # The rules would not bind the threads that run already, and they share all memory.
        version, reasons = 0, [f"Landlock comes too late, {threads} threads run already"]
    if version:
        opened = (
            *reads,
            *paths.interpreter_paths(),
            *(paths.NETWORK if network == "connect" else ()),
            *(paths.GPU if devices else ()),
        )
        try:
            landlock.apply(version, reads=opened, writes=writes, devices=devices, network=network, folder=folder)
        except OSError as error:
            version, reasons = 0, [f"Landlock is refused ({error.strerror})"]
    filtered = True
    try:
        opens = bool(writes or devices or folder)
        seccomp.apply(seccomp.rules(network=network, writes=opens, accepts=accepts))
    except OSError as error:
        filtered = False
        reasons.append(f"seccomp is refused ({error.strerror})")
    return _report(True, version, filtered, reasons)


def _report(privileges: bool, landlock: int, seccomp: bool, reasons: list[str]) -> SandboxReport:
    missing = list(reasons)
    if not landlock and not any("Landlock" in reason for reason in reasons):
        missing.append("this kernel has no Landlock")
    if not seccomp and not any("seccomp" in reason for reason in reasons):
        missing.append("this kernel has no seccomp filters")
    if not privileges and not reasons:
        missing.append("this kernel has no no_new_privs")
    return SandboxReport(privileges, landlock, seccomp, tuple(missing))


def _none_here() -> SandboxReport:
    return SandboxReport(False, 0, False, (f"there is no sandbox for {sys.platform}",))
