"""Start of a child: forked while this process is still small and has one thread, spawned later and elsewhere.

The child gets one end of a socket pair and a file for what native code writes to standard error; nothing else of this process.
"""

from __future__ import annotations

import fcntl
import os
import socket
import sys
from collections.abc import Callable, Sequence
from typing import IO, NoReturn

from llamacli.errors import EngineError
from llamacli.values import dataclass

_LAST_STREAM = 2

_SPAWNED = """
import sys
sys.path[:] = {path!r}
from llamacli.backend.child.work.main import main
main({descriptor}, {services!r}, parent={parent})
"""


@dataclass(frozen=True, slots=True)
class Launched:
    """A started child: its process id, our end of the connection, and the file that its standard error goes to.

    `wait` waits for its end and returns the signal that ended it as a negative number, else its exit status. `held` is a file
    that is open as long as the connection.
    """

    pid: int
    connection: socket.socket
    stderr: IO[bytes]
    wait: Callable[[], int]
    held: IO[bytes] | None = None


def fork_child(services: Sequence[str]) -> Launched:
    """Fork a child that imports and offers these services. Only for a process with one thread.

    Raises:
        EngineError: if the system refuses another process.
    """
    ours, theirs = _socket_pair()
    stderr = _stderr_file()
    parent = os.getpid()
    try:
        pid = os.fork()
    except OSError as error:
        for opened in (ours, theirs, stderr):
            opened.close()
        raise EngineError(f"cannot start the engine's process: {error.strerror}") from error
    if pid == 0:
        ours.close()
        _become_child(theirs, stderr, services, parent)
    theirs.close()
    return Launched(pid, ours, stderr, lambda: _wait(pid))


def spawn_child(services: Sequence[str]) -> Launched:
    """Start a new interpreter as the child.

    Raises:
        EngineError: if the system refuses another process, or this Python has no interpreter of its own.
    """
    import subprocess

    from llamacli.backend.child.sandbox.environment import child_environment

    if not sys.executable:
        raise EngineError("cannot start the engine's process: this Python does not know its own program")
    ours, theirs = _socket_pair()
    stderr = _stderr_file()
    script = _SPAWNED.format(path=sys.path, descriptor=theirs.fileno(), services=list(services), parent=os.getpid())
    try:
        process = subprocess.Popen(
            [sys.executable, "-I", "-c", script],
            stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=stderr,
            pass_fds=[theirs.fileno()], env=child_environment(os.environ), start_new_session=True,
        )  # fmt: skip
    except OSError as error:
        for opened in (ours, theirs, stderr):
            opened.close()
        raise EngineError(f"cannot start the engine's process: {error.strerror}") from error
    theirs.close()
    return Launched(process.pid, ours, stderr, process.wait)


def _become_child(connection: socket.socket, stderr: IO[bytes], services: Sequence[str], parent: int) -> NoReturn:
    """Turn this forked process into the child. Never returns into the code that forked."""
    try:
        os.setsid()  # the terminal's signals are for the parent
        null = os.open(os.devnull, os.O_RDWR)
        for number, source in ((0, null), (1, null), (2, stderr.fileno())):
            os.dup2(source, number)
        from llamacli.backend.child.work.main import main

        main(os.dup(connection.fileno()), services, parent=parent, is_forked=True)
    except BaseException:  # noqa: BLE001 - a forked copy of the caller must not continue as the caller
        sys.excepthook(*sys.exc_info())
    finally:
        os._exit(1)


def _socket_pair() -> tuple[socket.socket, socket.socket]:
    """Return connected sockets. Where a standard stream is closed, none of them takes its number."""
    first, second = socket.socketpair()
    return _moved(first), _moved(second)


def _moved(end: socket.socket) -> socket.socket:
    if end.fileno() > _LAST_STREAM:
        return end
    with end:
        return socket.socket(fileno=fcntl.fcntl(end.fileno(), fcntl.F_DUPFD_CLOEXEC, _LAST_STREAM + 1))


def _stderr_file() -> IO[bytes]:
    """A file without a name: its end is read when the child has died."""
    create = getattr(os, "memfd_create", None)
    if create is not None:
        number = create("llamacli-engine-stderr")
        if number <= _LAST_STREAM:
            number, taken = fcntl.fcntl(number, fcntl.F_DUPFD_CLOEXEC, _LAST_STREAM + 1), number
            os.close(taken)
        return os.fdopen(number, "w+b", buffering=0)
    import tempfile

    return tempfile.TemporaryFile(buffering=0)


def _wait(pid: int) -> int:
    try:
        _, status = os.waitpid(pid, 0)
    except ChildProcessError:  # somebody else waited for all children
        return 0
    return os.waitstatus_to_exitcode(status)
